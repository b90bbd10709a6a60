"""The OpenID Connect provider: authorization code with PKCE (S256), RS256 identity tokens, user info."""

from __future__ import annotations

import hmac
import json
import os
import time
from typing import Any

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, AuthorizationServer, ClientMixin, OAuth2Request
from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode
from joserfc.jwk import RSAKey
from starlette.responses import Response

from skydesk_hub.identity.store import Store, User, digest
from skydesk_hub.supervisor.table import Platform

__all__ = ["Provider", "Request", "user_claims"]

# Behind the proxy every request is plain http on a private socket.
os.environ.setdefault("AUTHLIB_INSECURE_TRANSPORT", "1")

CODE_LIFE_S = 120
TOKEN_LIFE_S = 3600
AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


class Request(OAuth2Request):
    """A request as Authlib wants it: query and form together.

    Parameters
    ----------
    method, uri
        The request line.
    data
        Query parameters and form fields.
    headers
        The headers.
    """

    def __init__(self, method: str, uri: str, data: dict[str, str], headers: dict[str, str]) -> None:
        super().__init__(method, uri, headers=headers)
        self.data_given = data
        self.payload = BasicOAuth2Payload(data)

    @property
    def args(self) -> dict[str, str]:
        """The parameters."""
        return self.data_given

    @property
    def form(self) -> dict[str, str]:
        """The parameters."""
        return self.data_given


class Client(ClientMixin):
    """The hub as a client of the provider.

    Parameters
    ----------
    client_id, secret
        Its credentials.
    redirect_uri
        The only address codes are sent to.
    """

    id_token_signed_response_alg = "RS256"  # noqa: S105  # the name of an algorithm

    def __init__(self, client_id: str, secret: str, redirect_uri: str) -> None:
        self.client_id, self.secret, self.redirect_uri = client_id, secret, redirect_uri

    def get_client_id(self) -> str:
        """Return the client's name."""
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        """Return where codes are sent."""
        return self.redirect_uri

    def get_allowed_scope(self, scope: str) -> str:
        """Return the known scopes among those asked for."""
        return " ".join(word for word in scope.split() if word in ("openid", "profile", "email", "groups"))

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Say whether codes may be sent there."""
        return redirect_uri == self.redirect_uri

    def check_client_secret(self, client_secret: str) -> bool:
        """Compare the secret in constant time."""
        return hmac.compare_digest(self.secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Say whether the client may authenticate this way."""
        return method in AUTH_METHODS

    def check_response_type(self, response_type: str) -> bool:
        """Say whether the flow is allowed."""
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """Say whether the grant is allowed."""
        return grant_type == "authorization_code"


class Code(AuthorizationCodeMixin):
    """An authorization code and what it was given for.

    Parameters
    ----------
    user
        Who signed in.
    data
        redirect_uri, scope, nonce, auth_time, code_challenge, code_challenge_method.
    """

    def __init__(self, user: User, data: dict[str, Any]) -> None:
        self.user, self.data = user, data
        self.code_challenge = data["code_challenge"]
        self.code_challenge_method = data["code_challenge_method"]

    def get_redirect_uri(self) -> str:
        """Return the address the code was sent to."""
        return str(self.data["redirect_uri"])

    def get_scope(self) -> str:
        """Return the scopes asked for."""
        return str(self.data["scope"])

    def get_nonce(self) -> str | None:
        """Return the client's nonce."""
        return self.data["nonce"]

    def get_auth_time(self) -> int:
        """Return when the person signed in, Unix time in seconds."""
        return int(self.data["auth_time"])

    def get_acr(self) -> None:
        """Return no authentication context class."""

    def get_amr(self) -> None:
        """Return no list of methods."""


def user_claims(user: User, scope: str) -> dict[str, Any]:
    """Return what the provider says about a person.

    Parameters
    ----------
    user
        The person.
    scope
        Scopes separated by blanks.
    """
    claims: dict[str, Any] = {"sub": user.name}
    if "profile" in scope:
        claims |= {"preferred_username": user.name, "name": user.name}
    if "groups" in scope:
        claims["groups"] = user.groups
    return claims


class Provider(AuthorizationServer):
    """The provider.

    Parameters
    ----------
    platform
        What is known.
    store
        Users, codes and keys.
    """

    def __init__(self, platform: Platform, store: Store) -> None:
        super().__init__()
        self.issuer = f"{platform.url}/auth/oidc"
        self.internal = f"{platform.internal_url}/auth/oidc"
        self.store = store
        callback = f"{platform.url}/nb/hub/oauth_callback"
        self.clients = {"jupyterhub": Client("jupyterhub", platform.keys.oidc_secret, callback)}
        fresh = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True).as_dict(private=True)
        self.key = RSAKey.import_key(json.loads(store.get_setting("oidc_key", json.dumps(fresh))))
        tokens = BearerTokenGenerator(
            lambda **_: os.urandom(32).hex(), expires_generator=lambda *_: TOKEN_LIFE_S
        )
        self.register_token_generator("default", tokens)
        self.register_grant(CodeGrant, [IdentityToken(require_nonce=False), CodeChallenge(required=True)])

    def query_client(self, client_id: str) -> Client | None:
        """Return a client by name."""
        return self.clients.get(client_id)

    def save_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        """Keep the hash of an access token."""
        self.store.keep_secret(
            "access", token["access_token"], request.user.name, TOKEN_LIFE_S, scope=token["scope"]
        )

    def create_oauth2_request(self, request: OAuth2Request) -> OAuth2Request:
        """Return the request, which is already in the right form."""
        return request

    def handle_response(self, status: int, body: object, headers: list[tuple[str, str]]) -> Response:
        """Return an answer of the web framework."""
        content = json.dumps(body) if isinstance(body, dict) else str(body or "")
        return Response(content, status, dict(headers))

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Do nothing: nobody listens to Authlib's signals here."""

    def authorize(self, request: Request, user: User) -> Response:
        """Answer an authorization request of a signed-in person.

        Parameters
        ----------
        request
            The request.
        user
            The person.
        """
        try:
            grant = self.get_authorization_grant(request)
        except OAuth2Error as error:
            error.state = request.payload.state
            return self.handle_error_response(request, error)
        answer: Response = self.create_authorization_response(request, grant_user=user, grant=grant)
        return answer

    def describe(self) -> dict[str, object]:
        """Return the discovery document (OpenID Connect Discovery 1.0)."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "profile", "email", "groups"],
            "token_endpoint_auth_methods_supported": AUTH_METHODS,
            "code_challenge_methods_supported": ["S256"],
            "claims_supported": ["sub", "preferred_username", "name", "groups"],
        }


class CodeGrant(AuthorizationCodeGrant):
    """Authorization codes, kept as hashes and used up by the first look."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    server: Provider
    request: OAuth2Request

    def validate_authorization_request(self) -> str:
        """Check an authorization request; PKCE with S256 is required of every client."""
        redirect_uri = str(super().validate_authorization_request())
        data = self.request.payload.data
        if not data.get("code_challenge") or data.get("code_challenge_method") != "S256":
            raise InvalidRequestError(
                "PKCE with code_challenge_method=S256 is required", redirect_uri=redirect_uri
            )
        return redirect_uri

    def save_authorization_code(self, code: str, request: OAuth2Request) -> None:
        """Keep what a code was given for."""
        data = request.payload.data
        self.server.store.keep_secret(
            "code",
            code,
            request.user.name,
            CODE_LIFE_S,
            client_id=request.client.client_id,
            redirect_uri=request.payload.redirect_uri,
            scope=request.payload.scope or "",
            nonce=data.get("nonce"),
            auth_time=int(time.time()),
            code_challenge=data["code_challenge"],
            code_challenge_method=data["code_challenge_method"],
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        """Return a code of this client and use it up."""
        found = self.server.store.find_secret("code", code, take=True)
        return Code(*found) if found and found[1]["client_id"] == client.client_id else None

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Do nothing: the code was used up when it was looked at."""

    def authenticate_user(self, authorization_code: Code) -> User:
        """Return who signed in."""
        return authorization_code.user


class IdentityToken(OpenIDCode):
    """Identity tokens, signed with the provider's own key."""

    server: Provider | None = None

    def __call__(self, grant: CodeGrant) -> None:
        """Remember the provider of the grant and register the hooks."""
        self.server = grant.server
        super().__call__(grant)

    def exists_nonce(self, nonce: str, request: OAuth2Request) -> bool:
        """Say whether a nonce was seen before; a code counts once, so a replay has nothing to redeem."""
        return self.server is not None and self.server.store.find_secret("nonce", digest(nonce)) is not None

    def resolve_client_private_key(self, client: Client) -> RSAKey:
        """Return the signing key."""
        if self.server is None:
            raise RuntimeError("the grant was not created by the provider")
        return self.server.key

    def get_encode_header(self, client: Client) -> dict[str, str]:
        """Return the token's header with the key's name."""
        return {"alg": "RS256", "kid": str(self.resolve_client_private_key(client).kid)}

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        """Return issuer, audience and life time."""
        now = int(time.time())
        issuer = self.server.issuer if self.server else ""
        return {"iss": issuer, "aud": [client.client_id], "iat": now, "exp": now + TOKEN_LIFE_S}

    def generate_user_info(self, user: User, scope: str) -> UserInfo:
        """Return what is said about a person."""
        return UserInfo(**user_claims(user, scope))
