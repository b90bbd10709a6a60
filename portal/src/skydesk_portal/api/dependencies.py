"""What routes ask for: the caller with a scope, the services, the parameters of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, cast
from urllib.parse import urlsplit

import structlog
from fastapi import Depends, Request
from starlette.datastructures import UploadFile

from skydesk_portal.exceptions import (
    AuthenticationError,
    ForbiddenError,
    PortalError,
    TooLargeError,
    UsageError,
)
from skydesk_portal.factory import Factory
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.identity import find_token
from skydesk_portal.services.limits import service_of

__all__ = [
    "FactoryDependency",
    "Form",
    "FormDependency",
    "check_names",
    "get_factory",
    "get_pool",
    "read_form",
    "require",
    "require_admin",
]


_FORM_BYTES = 4_000_000
_FORM_FIELDS = 10_000


def get_factory(request: Request) -> Factory:
    """Return the services of the process."""
    return cast("Factory", request.app.state.factory)


def get_pool(request: Request) -> ThreadPoolExecutor:
    """Return the threads that synchronous queries run in."""
    return cast("ThreadPoolExecutor", request.app.state.pool)


def _check_origin(request: Request) -> None:
    """Refuse changes that a page of another site asks for with the credentials that a browser remembers."""
    scheme = request.headers.get("authorization", "").partition(" ")[0].lower()
    origin = request.headers.get("origin")
    if scheme != "basic" or origin is None or request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    public = urlsplit(get_factory(request).settings.url).netloc.lower()
    if origin.lower().partition("://")[2] not in {request.headers.get("host", "").lower(), public}:
        raise ForbiddenError("a page of another site asks for this: send the token as Authorization: Bearer")


async def _identify(request: Request) -> Identity:
    token = find_token(request.headers)
    if token is None:
        raise AuthenticationError("sign in first: the request carries no token")
    _check_origin(request)
    identity = await get_factory(request).create_identity_client().get_identity(token)
    request.state.user = identity.name
    structlog.contextvars.bind_contextvars(user=identity.name)
    return identity


def _let_in(request: Request, identity: Identity) -> None:
    # A request may pass several checks; it is counted once.
    if getattr(request.state, "ticket", None) is not None:
        return
    path = request.url.path
    limits = get_factory(request).create_limit_service()
    ticket = limits.enter(identity, service_of(path), query=path.endswith("/sync"))
    request.state.ticket, request.state.limit_headers = ticket, ticket.headers


async def require_admin(request: Request) -> Identity:
    """Let only administrators in.

    Raises
    ------
    AuthenticationError
        If the request carries no valid token.
    ForbiddenError
        If the caller is no administrator.
    """
    identity = await _identify(request)
    if not identity.admin:
        raise ForbiddenError("this is for administrators only")
    _let_in(request, identity)
    return identity


async def check_names(request: Request, users: Collection[str], groups: Collection[str]) -> None:
    """Refuse names of users and groups that nobody has: a share that reaches nobody is a mistake.

    Parameters
    ----------
    request
        The request, whose caller may share.
    users, groups
        Names that something shall be shared with from now on.

    Raises
    ------
    UsageError
        If there are names that nobody has.
    UpstreamError
        If that cannot be found out now.
    """
    token = find_token(request.headers)
    if token is None or not (users or groups):
        return
    client = get_factory(request).create_identity_client()
    unknown = await client.find_unknown(token, sorted(users), sorted(groups))
    if unknown:
        told = (
            f"there is no {one.kind} {one.name[:40]!r}"
            + (f" (did you mean {one.meant!r}?)" if one.meant else "")
            for one in unknown[:5]
        )
        raise UsageError("; ".join(told))


def require(scope: str) -> Callable[[Request], Awaitable[Identity]]:
    """Return a dependency that lets only callers with a scope in.

    Parameters
    ----------
    scope
        Name of the scope, such as ``read:tap``.

    Returns
    -------
    callable
        Gives the caller's identity, or raises `AuthenticationError` (no valid
        token) or `ForbiddenError` (the token lacks the scope).
    """

    async def check(request: Request) -> Identity:
        identity = await _identify(request)
        if scope not in identity.scopes:
            raise ForbiddenError(f"the token does not have the scope {scope}")
        _let_in(request, identity)
        return identity

    check.scope = scope  # type: ignore[attr-defined]
    return check


@dataclass(frozen=True)
class Form:
    """Parameters of a request from its query string and its body.

    Parameters
    ----------
    items
        Names as given and values, in order.
    files
        Uploaded files by name.
    """

    items: tuple[tuple[str, str], ...]
    files: dict[str, bytes]

    def values(self, name: str) -> list[str]:
        """Return all values of a parameter, its name in any case."""
        return [value for key, value in self.items if key.upper() == name.upper()]

    def find(self, name: str) -> str | None:
        """Return the last value of a parameter, `None` if it was not given."""
        given = self.values(name)
        return given[-1] if given else None

    def without(self, *names: str) -> list[tuple[str, str]]:
        """Return the parameters except some."""
        left_out = {name.upper() for name in names}
        return [(key, value) for key, value in self.items if key.upper() not in left_out]


async def read_form(request: Request) -> Form:
    """Read the parameters of a request.

    Raises
    ------
    TooLargeError
        If the body is larger than an upload may be.
    UsageError
        If the body cannot be read.
    """
    limit = get_factory(request).settings.portal.upload_bytes
    items = [(key, value) for key, value in request.query_params.multi_items()]
    files: dict[str, bytes] = {}
    if request.method in {"POST", "PUT"}:
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > 2 * limit + 1_000_000:
            raise TooLargeError(f"the request is larger than the {limit} bytes that an upload may have")
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind == "application/x-www-form-urlencoded":
            # Millions of empty fields fit into what an upload may have, and each costs a hundred times its size.
            body = await request.body()
            if len(body) > _FORM_BYTES or body.count(b"&") > _FORM_FIELDS:
                raise TooLargeError(
                    f"a form without files has at most {_FORM_BYTES} bytes and {_FORM_FIELDS} fields"
                )
        if kind in {"application/x-www-form-urlencoded", "multipart/form-data"}:
            try:
                form = await request.form(max_part_size=limit)
            except PortalError:
                raise
            except Exception as error:  # the parser's errors have no common class
                raise UsageError(f"the form cannot be read: {str(error)[:100]}") from error
            for key, value in form.multi_items():
                if isinstance(value, UploadFile):
                    files[key] = await value.read(limit + 1)
                else:
                    items.append((key, value))
    return Form(tuple(items), files)


FactoryDependency = Annotated[Factory, Depends(get_factory)]
FormDependency = Annotated[Form, Depends(read_form)]
