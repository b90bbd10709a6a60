"""Replacements for what tests do not start; nothing but tests imports this module."""

from __future__ import annotations

from skydesk_portal.exceptions import AuthenticationError
from skydesk_portal.models.identity import Identity

__all__ = ["FakeIdentityClient"]


class FakeIdentityClient:
    """Knows a fixed set of tokens instead of asking the hub.

    Parameters
    ----------
    tokens
        Identities by token.
    """

    def __init__(self, tokens: dict[str, Identity]) -> None:
        self.tokens = dict(tokens)

    async def get_identity(self, token: str) -> Identity:
        """Return the identity behind a token.

        Raises
        ------
        AuthenticationError
            If the token is not one of the known.
        """
        if token not in self.tokens:
            raise AuthenticationError("the token is not valid: it is wrong, expired or revoked")
        return self.tokens[token]

    async def close(self) -> None:
        """Nothing is held."""
