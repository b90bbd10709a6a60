"""Scripts and style sheets that every page loads: kept by browsers, sent compressed, and checked with a word.

Panel serves them without a validator, so that a browser loads 3 MB anew, and compiles them, for each page.
"""

from __future__ import annotations

import gzip
import mimetypes
import re
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from bokeh import __version__ as library_version
from bokeh.embed.bundle import extension_dirs
from bokeh.settings import settings
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from skydesk_portal.ui.gate import PREFIX

__all__ = ["LibraryFiles", "library_version"]

_BUNDLE = re.compile(r"components/skydesk_portal\.[\w.]+/\w+/_bundle_path/assets/([\w-]+\.bundle\.js)\Z")
_TEXT = {".js", ".css", ".svg", ".json", ".map"}
_LEAST_BYTES = 1000


def find_file(path: str) -> Path | None:
    """Find the file of a library that an address below the pages' prefix names.

    Parameters
    ----------
    path
        The address without the prefix and the slash behind it.

    Returns
    -------
    Path or None
        The file; None if the address names no file of Bokeh, of its extensions or of our bundles.
    """
    if match := _BUNDLE.match(path):
        folder, name = Path(str(files("skydesk_portal.ui") / "assets")), match[1]
    elif path.startswith("static/extensions/"):
        extension, _, name = path.removeprefix("static/extensions/").partition("/")
        if extension not in extension_dirs:
            return None
        folder = Path(extension_dirs[extension])
    elif path.startswith("static/"):
        folder, name = Path(settings.bokehjs_path()), path.removeprefix("static/")
    else:
        return None
    root = folder.resolve()
    found = (root / name).resolve()
    return found if found.is_relative_to(root) and found.is_file() else None


@lru_cache(maxsize=64)
def _compress(file: Path, _etag: str) -> bytes:
    return gzip.compress(file.read_bytes(), 6, mtime=0)


def read_file(file: Path, etag: str, compressed: bool) -> tuple[bytes, dict[str, str]]:
    """Read a file, compressed where that is wanted and worth it; returns the bytes and their headers."""
    headers = {"ETag": etag, "Vary": "Accept-Encoding"}
    if compressed and file.suffix in _TEXT and file.stat().st_size >= _LEAST_BYTES:
        return _compress(file, etag), headers | {"Content-Encoding": "gzip"}
    return file.read_bytes(), headers


class LibraryFiles:
    """ASGI middleware that serves the files of the libraries.

    Parameters
    ----------
    app
        What answers everything else.
    """

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Handle one connection."""
        path = scope.get("path", "")
        file = None
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and path.startswith(f"{PREFIX}/"):
            file = find_file(path.removeprefix(f"{PREFIX}/"))
        if file is None:
            await self._app(scope, receive, send)
            return
        await (await self._answer(Request(scope), file))(scope, receive, send)

    @staticmethod
    async def _answer(request: Request, file: Path) -> Response:
        facts = file.stat()
        etag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
        # An address with a version names the same bytes for ever.
        kept = "max-age=31536000, immutable" if request.query_params.get("v") else "no-cache"
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={"ETag": etag, "Cache-Control": kept})
        accepts = "gzip" in request.headers.get("accept-encoding", "")
        content, headers = await run_in_threadpool(read_file, file, etag, accepts)
        media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return Response(content, media_type=media_type, headers=headers | {"Cache-Control": kept})
