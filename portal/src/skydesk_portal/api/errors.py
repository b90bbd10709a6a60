"""Turning errors into documents, in one place: each protocol gets its own kind."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from skydesk_portal.exceptions import PortalError, QueryError, RateLimitError
from skydesk_portal.log import get_logger
from skydesk_portal.vo.dali import error_votable

__all__ = ["install_error_handlers", "render_error"]

_FILE_PREFIXES = ("/files", "/api/files")
_VOSPACE_FAULTS = {
    400: "InvalidURI",
    403: "PermissionDenied",
    404: "NodeNotFound",
    409: "DuplicateNode",
    507: "QuotaExceeded",
}
_VOTABLE_PREFIXES = ("/api/tap", "/api/sia", "/api/datalink")


def render_error(
    path: str, *, status: int, code: str, vo_error: str, message: str, place: tuple[int, int] | None = None
) -> Response:
    """Make the error document that the protocol at a path wants.

    Parameters
    ----------
    path
        Path of the request.
    status
        HTTP status.
    code, vo_error, message
        Stable code, the standard's word for it, and what went wrong.
    place
        Line and column in a query.

    Returns
    -------
    Response
        VOTable (DALI), plain text (SODA) or JSON.
    """
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="skydesk"'
        if path.startswith(_FILE_PREFIXES):
            # File managers of desktops know no other kind; the token is the password.
            headers["WWW-Authenticate"] += ', Basic realm="skydesk"'
    if status == 503:
        headers["Retry-After"] = "5"
    if path.startswith(_VOTABLE_PREFIXES):
        return Response(error_votable(message), status, headers, media_type="application/x-votable+xml")
    if path.startswith("/api/files"):
        fault = _VOSPACE_FAULTS.get(status, "InternalFault" if status >= 500 else vo_error)
        return Response(f"{fault}: {message}\n", status, headers, media_type="text/plain")
    if path.startswith("/api/cutout"):
        # SODA 1.0, section 4.2 knows fewer words than UWS.
        vo_error = "UsageError" if vo_error == "NotFoundFault" else vo_error
        return Response(f"{vo_error}: {message}\n", status, headers, media_type="text/plain")
    document: dict[str, object] = {"code": code, "message": message}
    if place is not None:
        document |= {"line": place[0], "column": place[1]}
    return JSONResponse(document, status, headers)


async def _portal_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PortalError)
    place = None
    if isinstance(error, QueryError) and error.line is not None and error.column is not None:
        place = (error.line, error.column)
    if error.status >= 500:
        get_logger().error("request failed", code=error.code, error=str(error), path=request.url.path)
    answer = render_error(
        request.url.path,
        status=error.status,
        code=error.code,
        vo_error=error.vo_error,
        message=str(error),
        place=place,
    )
    if isinstance(error, RateLimitError):
        answer.headers.update({**error.headers, "Retry-After": str(error.retry_after_s)})
    return answer


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "there is nothing at this address", 405: "this method is not allowed here"}
    message = words.get(error.status_code, str(error.detail))
    if error.status_code == 404:
        message += _name_neighbours(request)
    return render_error(
        request.url.path, status=error.status_code, code="http", vo_error="UsageError", message=message
    )


def _name_neighbours(request: Request) -> str:
    # Whoever opens the address of a service sees what lies below it, or below the nearest one that exists.
    paths = [path.strip("/").split("/") for path in request.app.openapi()["paths"]]
    parts = request.url.path.strip("/").split("/")
    while parts:
        size = len(parts)
        fits = [
            path
            for path in paths
            if len(path) > size
            and all(own == part or own.startswith("{") for own, part in zip(path, parts, strict=False))
        ]
        if fits:
            names = sorted({path[size] for path in fits})
            return f"; below /{'/'.join(fits[0][:size])} there are {', '.join(names)}"
        parts.pop()
    return ""


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first.get("loc", ()))
    return render_error(
        request.url.path,
        status=400,
        code="usage",
        vo_error="UsageError",
        message=f"{where}: {first.get('msg')}",
    )


async def _unexpected(request: Request, error: Exception) -> Response:
    get_logger().error("unexpected failure", path=request.url.path, exc_info=error)
    return render_error(
        request.url.path,
        status=500,
        code="internal",
        vo_error="Error",
        message="something went wrong inside the service",
    )


def install_error_handlers(app: FastAPI) -> None:
    """Register the renderers.

    Parameters
    ----------
    app
        The application.
    """
    app.add_exception_handler(PortalError, _portal_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _unexpected)
