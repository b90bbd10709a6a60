"""Replacements for what tests do not start; nothing but tests imports this module."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from skydesk_portal.exceptions import AuthenticationError
from skydesk_portal.models.identity import Identity, UnknownName

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

    async def find_unknown(
        self, token: str, users: Sequence[str], groups: Sequence[str]
    ) -> list[UnknownName]:
        """Return the names that nobody among the known has, or belongs to."""
        people = {identity.name for identity in self.tokens.values()}
        teams = {group for identity in self.tokens.values() for group in identity.groups}
        return [
            UnknownName(kind, name, next(iter(difflib.get_close_matches(name, sorted(known), 1)), None))
            for kind, names, known in (("user", users, people), ("group", groups, teams))
            for name in names
            if name not in known
        ]

    async def close(self) -> None:
        """Nothing is held."""
