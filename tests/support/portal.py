"""The Portal on a home folder without the hub: a fixed token stands for each kind of person."""

from __future__ import annotations

import sys
from pathlib import Path

from skydesk_portal.config import load_config
from skydesk_portal.exceptions import AuthenticationError
from skydesk_portal.factory import Factory, create_factory
from skydesk_portal.models.identity import SCOPES, Identity
from skydesk_portal.ui.app import create_app
from skydesk_portal.ui.gate import OAuthSettings
from skydesk_portal.ui.services import create_services

PEOPLE = {
    "token-of-anna": Identity("anna", frozenset(SCOPES)),
    "token-of-dora": Identity("dora", frozenset(SCOPES), frozenset({"g_team"})),
    "token-without-portal": Identity("ben", frozenset(SCOPES) - {"exec:portal"}),
    "token-without-queries": Identity("anna", frozenset(SCOPES) - {"read:tap"}),
    "token-without-files": Identity("finn", frozenset(SCOPES) - {"write:files"}),
    "token-without-images": Identity("cleo", frozenset(SCOPES) - {"read:image"}),
}


class KnownPeople:
    """Knows the people above and nobody else."""

    async def get_identity(self, token: str) -> Identity:
        """Return who the token stands for."""
        if token not in PEOPLE:
            raise AuthenticationError("the token is not valid")
        return PEOPLE[token]

    async def close(self) -> None:
        """Nothing to give back."""


def make_portal(home: Path, url: str, oauth: OAuthSettings | None = None) -> tuple[object, Factory]:
    """Return the Portal's application on a home folder, and its factory."""
    run = home / "run"
    run.mkdir(exist_ok=True)
    settings = load_config({"SKYDESK_HOME": str(home), "SKYDESK_RUN": str(run), "SKYDESK_URL": url})
    factory = create_factory(settings, KnownPeople())
    return create_app(create_services(factory), KnownPeople(), oauth, url), factory


if __name__ == "__main__":
    import uvicorn

    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    seen = int(sys.argv[3]) if len(sys.argv) > 3 else port  # the port that browsers use, if another one
    uvicorn.run(
        make_portal(folder, f"http://127.0.0.1:{seen}")[0], host="127.0.0.1", port=port, log_level="warning"
    )
