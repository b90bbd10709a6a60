"""Puts the routes of the server extension into a Jupyter server; knows nothing of what they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_server.utils import url_path_join

from skydesk_lab.handlers.status import StatusHandler

if TYPE_CHECKING:
    from tornado.web import Application

__all__ = ["add_routes"]


def add_routes(web_app: Application) -> None:
    """Add every route of the extension under ``<base_url>/skydesk/``.

    Parameters
    ----------
    web_app
        The web application of a running Jupyter server.
    """
    prefix = url_path_join(web_app.settings["base_url"], "skydesk")
    web_app.add_handlers(".*$", [(url_path_join(prefix, "status"), StatusHandler)])
