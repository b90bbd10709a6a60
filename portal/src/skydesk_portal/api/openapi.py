"""The OpenAPI description: what FastAPI finds in the routes, and what the IVOA's parameters and error documents are."""

from __future__ import annotations

import re
import warnings
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

__all__ = ["describe"]

type Parameters = dict[str, tuple[str, dict[str, Any]]]

_TEXT: dict[str, Any] = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_TEXTS = {"type": "array", "items": _TEXT}
_PHASES = ("PENDING", "HELD", "QUEUED", "EXECUTING", "SUSPENDED", "COMPLETED", "ERROR", "ABORTED", "ARCHIVED")

_TAP: Parameters = {
    "QUERY": ("Query in ADQL 2.1", _TEXT),
    "LANG": ("Language of the query", {"type": "string", "default": "ADQL"}),
    "MAXREC": ("Rows wanted at most", _COUNT),
    "RESPONSEFORMAT": (
        "Format such as votable, votable/td, csv, tsv, json, fits, parquet, sqlite, arrow",
        _TEXT,
    ),
    "UPLOAD": ("Tables to upload: NAME,param:PART or NAME,ADDRESS", _TEXTS),
    "RUNID": ("Label of the caller", _TEXT),
}
_CUTOUT: Parameters = {
    "ID": ("Identifiers of datasets", _TEXTS),
    "CIRCLE": ("Longitude, latitude and radius in degrees", _TEXTS),
    "POLYGON": ("Longitudes and latitudes of the vertices in degrees", _TEXTS),
    "POS": ("CIRCLE, RANGE or POLYGON with their numbers in degrees", _TEXTS),
    "BAND": ("Interval of wavelengths in m", _TEXTS),
    "TIME": ("Interval of times in MJD", _TEXTS),
    "POL": ("Polarisation states", _TEXTS),
    "CUTOUTDETAIL": ("Image, MaskedImage or Exposure", _TEXT),
    "RESPONSEFORMAT": ("application/fits, fits.fz, image/png or image/jpeg", _TEXT),
    "MOSAIC": ("Whether to go on over the borders of a coadd's patch", _TEXT),
    "STRETCH": ("asinh, linear, sqrt or log", _TEXT),
    "LIMITS": ("zscale, minmax or a percentage", _TEXT),
    "SIZE": ("Longest side of a picture in pixels", _TEXT),
    "NORTHUP": ("Whether to turn north up", _TEXT),
}
_BULK: Parameters = {
    "UPLOAD": ("The table of positions: name,param:PART or name,address", _TEXTS),
    "QUERY": ("ADQL whose rows are the positions", _TEXT),
    **{f"{role}COL": (f"Column of {what}", _TEXT) for role, what in (
        ("RA", "right ascensions in degrees"), ("DEC", "declinations in degrees"), ("ID", "identifiers"),
        ("SIZE", "sides in arcseconds"),
    )},
    "RELEASE": ("Name of the release", _TEXT),
    "TYPE": ("Dataset types", _TEXTS),
    "BANDS": ("Names of bands", _TEXTS),
    "SIZE": ("Side of the cut-outs in arcseconds", _TEXT),
    **{name: _CUTOUT[name] for name in ("TIME", "CUTOUTDETAIL", "RESPONSEFORMAT", "STRETCH", "LIMITS", "NORTHUP")},
}  # fmt: skip
_SEARCH: Parameters = {
    **{name: (what, _TEXTS) for name, what in (
        ("POS", "CIRCLE, RANGE or POLYGON with their numbers in degrees"), ("BAND", "Interval of wavelengths in m"),
        ("TIME", "Interval of times in MJD"), ("POL", "Polarisation states"), ("FOV", "Interval of sizes in degrees"),
        ("SPATRES", "Interval of resolutions in arcsec"), ("EXPTIME", "Interval of exposure times in s"),
        ("ID", "Identifiers of datasets"), ("COLLECTION", "Names of collections"), ("FACILITY", "Names of facilities"),
        ("INSTRUMENT", "Names of instruments"), ("DPTYPE", "Types of data products"), ("CALIB", "Calibration levels"),
        ("TARGET", "Names of targets"), ("FORMAT", "Media types"),
    )},
    "MAXREC": _TAP["MAXREC"],
    "RESPONSEFORMAT": _TAP["RESPONSEFORMAT"],
}  # fmt: skip
_BATCH: Parameters = {
    "PIPELINE": ("Name of a pipeline such as DRP or DRP#isr", _TEXT),
    "WHERE": ("Data query", _TEXT),
    "RELEASE": ("Release that the inputs come from", _TEXT),
    "OUTPUT": ("Last part of the output collection's name", _TEXT),
}
_JOB: Parameters = {
    "PHASE": ("RUN starts the job at once", {"type": "string", "enum": ["RUN"]}),
    "RUNID": ("Label of the caller", _TEXT),
    "EXECUTIONDURATION": ("Longest run in s", _COUNT),
    "DESTRUCTION": ("When the job is forgotten", {"type": "string", "format": "date-time"}),
}
_WAIT: Parameters = {
    "WAIT": (
        "Wait so many seconds for the phase to change; -1 means as long as the service likes",
        {"type": "integer"},
    ),
    "PHASE": ("Wait only if the job is in this phase", {"type": "string", "enum": list(_PHASES)}),
}
_FILTER: Parameters = {
    "PHASE": (
        "Only jobs in these phases",
        {"type": "array", "items": {"type": "string", "enum": list(_PHASES)}},
    ),
    "AFTER": ("Only jobs made after this instant", {"type": "string", "format": "date-time"}),
    "LAST": ("Only so many of the newest", _COUNT),
}
# Where requests give the parameters of IVOA standards, which are read without regard to case, as query or as form.
_SERVICES: dict[str, Parameters] = {
    "/api/tap/sync": _TAP,
    "/api/tap/estimate": _TAP,
    "/api/tap/async": _TAP,
    "/api/cutout/sync": _CUTOUT,
    "/api/cutout/async": _CUTOUT,
    "/api/cutout/jobs": _CUTOUT,
    "/api/cutout/bulk": _BULK,
    "/api/cutout/psf": {
        "ID": ("Identifier of an image", _TEXT),
        "RA": ("Right ascension in degrees", _TEXT),
        "DEC": ("Declination in degrees", _TEXT),
    },
    "/api/cutout/preview/{release}/{dataset_id}": {"SIZE": ("Longest side in pixels", _TEXT)},
    "/api/sia/{release}/query": _SEARCH,
    "/api/datalink/links": {"ID": _CUTOUT["ID"], "RESPONSEFORMAT": _TAP["RESPONSEFORMAT"]},
    "/api/batch": _BATCH,
}
_STATUSES = {
    "400": "A parameter is missing or wrong",
    "401": "The request carries no valid token",
    "403": "The token does not allow this, or the quota is used up",
    "404": "There is no such thing, or it is not the caller's",
    "413": "The request is too large",
    "429": "Too many requests; Retry-After says when to come back",
    "503": "Another process of the platform does not answer; Retry-After says when to come back",
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI description of all routes.

    Parameters
    ----------
    app
        The application.

    Returns
    -------
    dict
        The document, also kept for the next request.
    """
    if app.openapi_schema is not None:
        return app.openapi_schema
    with warnings.catch_warnings():
        # Routes that take GET and POST get one name for both from FastAPI; each gets its own below.
        warnings.filterwarnings("ignore", message="Duplicate Operation ID")
        document = get_openapi(title=app.title, version=version("skydesk-portal"), routes=app.routes)
    lists = {path.removesuffix("/{job_id}") for path in document["paths"] if path.endswith("/{job_id}")}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operation["operationId"] = re.sub(r"\W+", "_", f"{method}{path}").strip("_").lower()
            operation["tags"] = [path.strip("/").removeprefix("api/").split("/")[0]]
            _add_parameters(operation, method, _find_parameters(path, method, lists))
            _add_errors(operation, path)
    components = document.setdefault("components", {})
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "basic": {
            "type": "http",
            "scheme": "basic",
            "description": "User x-oauth-basic, the token as the password",
        },
    }
    components.setdefault("schemas", {})["Error"] = _ERROR
    document["security"] = [{"token": []}, {"basic": []}]
    app.openapi_schema = document
    return document


_ERROR = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "string", "description": "Stable name of the kind of error"},
        "message": {"type": "string", "description": "What went wrong, for people"},
        "line": {"type": "integer", "description": "Place in a query"},
        "column": {"type": "integer", "description": "Place in a query"},
    },
}


def _find_parameters(path: str, method: str, lists: set[str]) -> Parameters:
    found = dict(_SERVICES.get(path, {}))
    if path in lists:
        return _FILTER if method == "get" else {**found, **_JOB}
    start, _, tail = path.partition("/{job_id}")
    if start not in lists or start == path:
        return found
    if method == "get":
        return _WAIT if tail in {"", "/phase"} else {}
    if tail == "":
        return (
            {"ACTION": ("Deletes the job", {"type": "string", "enum": ["DELETE"]})}
            if method == "post"
            else {}
        )
    if tail == "/phase":
        phases = {"type": "string", "enum": ["RUN", "ABORT", "ARCHIVE"]}
        return {"PHASE": ("What the job shall do", phases)}
    return {name: _JOB[name] for name in ("EXECUTIONDURATION", "DESTRUCTION")} if tail == "/{detail}" else {}


def _add_parameters(operation: dict[str, Any], method: str, parameters: Parameters) -> None:
    if not parameters:
        return
    if method == "get":
        operation["parameters"] = operation.get("parameters", []) + [
            {"name": name, "in": "query", "required": False, "description": what, "schema": schema}
            for name, (what, schema) in parameters.items()
        ]
    elif "requestBody" not in operation:
        form = {
            "type": "object",
            "properties": {
                name: {**schema, "description": what} for name, (what, schema) in parameters.items()
            },
        }
        kinds = ("application/x-www-form-urlencoded", "multipart/form-data")
        operation["requestBody"] = {"content": {kind: {"schema": form} for kind in kinds}}


def _add_errors(operation: dict[str, Any], path: str) -> None:
    if path.startswith(("/api/tap", "/api/sia", "/api/datalink")):
        content: dict[str, Any] = {"application/x-votable+xml": {"schema": _TEXT}}
    elif path.startswith(("/api/cutout", "/api/files")):
        content = {"text/plain": {"schema": _TEXT}}
    else:
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses = operation["responses"]
    # What FastAPI says of wrong parameters is not what is answered.
    responses.pop("422", None)
    for status, what in _STATUSES.items():
        responses.setdefault(status, {"description": what, "content": content})
    if path.startswith(("/api/health", "/repertoire")):
        operation["security"] = []
