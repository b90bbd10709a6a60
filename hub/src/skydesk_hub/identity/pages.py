"""HTML pages from templates; every value is escaped, every answer has the same protective headers."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse

from skydesk_hub.supervisor.table import Platform

__all__ = ["PROTECTION", "Pages"]

PROTECTION = {
    "Content-Security-Policy": (
        "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'; form-action 'self'; img-src 'self' data:"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Pages:
    """Renders the templates of this folder.

    Parameters
    ----------
    platform
        What is known.
    """

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.globals.update(site=platform.config.title, problem=None, name="")

    def render(self, template: str, status: int = 200, **values: object) -> HTMLResponse:
        """Return a page.

        Parameters
        ----------
        template
            File name of the template.
        status
            HTTP status.
        **values
            What the template uses.
        """
        return HTMLResponse(
            self.environment.get_template(template).render(**values), status, headers=PROTECTION
        )
