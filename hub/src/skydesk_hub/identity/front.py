"""The home page, the platform's status, its metrics and its documentation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse

from skydesk_hub.identity.pages import Pages
from skydesk_hub.supervisor.table import Platform

__all__ = ["make_router", "read_status"]

ASPECTS = [
    ("Portal", "/portal/app/", "portal", "Images, catalogs and light curves in the browser."),
    ("Notebooks", "/nb/", "hub", "JupyterLab with the Rubin tools and the releases at hand."),
    ("API", "/api/", "api", "TAP, SIA, SODA and DataLink for pyvo, TOPCAT and your own programs."),
]


def read_status(platform: Platform) -> dict[str, Any]:
    """Return what the supervisor wrote last, without what only operators need.

    Parameters
    ----------
    platform
        What is known.
    """
    try:
        state: dict[str, Any] = json.loads(platform.layout.status_file.read_text())
    except (FileNotFoundError, ValueError):
        return {"services": {}, "releases": [], "since": None}
    return state


def read_releases(platform: Platform, names: list[str]) -> list[dict[str, Any]]:
    """Return name, title, bands and creation time of the releases.

    Parameters
    ----------
    platform
        What is known.
    names
        The releases.
    """
    found = []
    for name in names:
        try:
            manifest = json.loads((platform.layout.releases / name / "manifest.json").read_text())
        except (OSError, ValueError):
            continue  # it is being published or removed at this moment
        found.append({key: manifest.get(key) for key in ("name", "title", "bands", "created", "center_deg")})
    return found


def find_docs(platform: Platform) -> Path | None:
    """Return the folder of the built documentation, or None.

    Parameters
    ----------
    platform
        What is known.
    """
    choices = [platform.config.docs_dir, Path(sys.prefix).parent / "docs" / "_build" / "html"]
    return next((folder for folder in choices if folder and (folder / "index.html").is_file()), None)


def write_metrics(state: dict[str, Any]) -> str:
    """Return the platform's state in Prometheus' text format.

    Parameters
    ----------
    state
        As `read_status` gives it.
    """
    lines = ["# HELP skydesk_service_up Whether a process is healthy.", "# TYPE skydesk_service_up gauge"]
    services: dict[str, dict[str, Any]] = state["services"]
    lines += [
        f'skydesk_service_up{{name="{n}"}} {int(s["health"] == "healthy")}' for n, s in services.items()
    ]
    lines += [
        "# HELP skydesk_service_restarts_total Unplanned restarts.",
        "# TYPE skydesk_service_restarts_total counter",
    ]
    lines += [f'skydesk_service_restarts_total{{name="{n}"}} {s["restarts"]}' for n, s in services.items()]
    lines += ["# HELP skydesk_releases Number of published releases.", "# TYPE skydesk_releases gauge"]
    lines += [f"skydesk_releases {len(state['releases'])}"]
    return "\n".join(lines) + "\n"


def make_router(platform: Platform, pages: Pages) -> APIRouter:
    """Return the routes of the front.

    Parameters
    ----------
    platform, pages
        What they work with.
    """
    router = APIRouter(include_in_schema=False)
    canonical = platform.url.partition("://")[2]

    @router.get("/")
    def home(request: Request) -> Response:
        host = request.headers.get("host", canonical)
        if host != canonical and host.partition(":")[0] in ("localhost", "127.0.0.1"):
            return RedirectResponse(f"{platform.url}/", 307)  # cookies and sign-in belong to one name
        state = read_status(platform)
        services = state["services"]
        aspects = [(*row, services.get(row[2], {}).get("health", "stopped")) for row in ASPECTS]
        releases = read_releases(platform, state["releases"])
        return pages.render(
            "home.html",
            aspects=aspects,
            releases=releases,
            announcements=platform.config.announcements,
            services=services,
            has_docs=find_docs(platform) is not None,
            single=platform.single_reason,
        )

    @router.get("/status")
    def status(request: Request) -> Response:
        state = read_status(platform)
        services = {n: {"health": s["health"], "since": s["since"]} for n, s in state["services"].items()}
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"version": 1, "services": services, "releases": state["releases"]})
        return pages.render("status.html", services=services, since=state["since"])

    @router.get("/metrics")
    def metrics() -> Response:
        return PlainTextResponse(write_metrics(read_status(platform)), media_type="text/plain; version=0.0.4")

    @router.get("/auth/health")
    def health() -> dict[str, str]:
        return {"status": "healthy"}

    @router.get("/docs")
    def docs_root() -> Response:
        return RedirectResponse("/docs/", 307)

    @router.get("/docs/{path:path}")
    def docs(path: str) -> Response:
        folder = find_docs(platform)
        if folder is None:
            text = "The documentation has not been built here (make docs)."
            return pages.render("message.html", 404, title="No documentation", text=text)
        target = (folder / path).resolve()
        if target.is_dir():
            target = target / "index.html"
        if not target.is_relative_to(folder.resolve()) or not target.is_file():
            return pages.render(
                "message.html", 404, title="Page not found", text="The documentation has no such page."
            )
        return FileResponse(target)

    return router
