"""The JupyterLab extension of skydesk and the Python client that notebooks import."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

__all__: list[str] = []


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "@skydesk/lab"}]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "skydesk_lab"}]


def _load_jupyter_server_extension(server: ServerApp) -> None:
    # Imported here: a notebook that imports the client must not load the server.
    from skydesk_lab.app import add_routes

    add_routes(server.web_app)
    server.log.info("skydesk_lab: the status routes are in place")
