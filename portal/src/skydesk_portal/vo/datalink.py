"""The document of DataLink 1.1 and the descriptors of the services that it names."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

import pyarrow as pa

from skydesk_portal.models.datalink import Link, ServiceUse
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.descriptors import InputParam, service_resource
from skydesk_portal.vo.votable import VOTableWriter

__all__ = ["LINKS_STANDARD_ID", "MEDIA_TYPE", "links_votable"]

LINKS_STANDARD_ID = "ivo://ivoa.net/std/DataLink#links-1.1"
MEDIA_TYPE = "application/x-votable+xml;content=datalink"

_COLUMNS = (
    ColumnInfo("ID", "char", "*", ucd="meta.id;meta.main"),
    ColumnInfo("access_url", "char", "*", ucd="meta.ref.url"),
    ColumnInfo("service_def", "char", "*", ucd="meta.ref"),
    ColumnInfo("error_message", "char", "*", ucd="meta.code.error"),
    ColumnInfo("description", "char", "*", ucd="meta.note"),
    ColumnInfo("semantics", "char", "*", ucd="meta.code"),
    ColumnInfo("local_semantics", "char", "*", ucd="meta.code"),
    ColumnInfo("content_type", "char", "*", ucd="meta.code.mime"),
    ColumnInfo("content_length", "long", ucd="phys.size;meta.file", unit="byte"),
    ColumnInfo("content_qualifier", "char", "*", ucd="meta.code"),
    ColumnInfo("link_auth", "char", "*", ucd="meta.code"),
    ColumnInfo("link_authorized", "boolean", ucd="meta.code"),
)
_TYPES = {"long": pa.int64(), "boolean": pa.bool_()}

_ID = InputParam("ID", ucd="meta.id;meta.main")
_SODA = (
    _ID,
    InputParam("CIRCLE", "double", "3", "deg", "phys.angArea;obs", "circle"),
    InputParam("POLYGON", "double", "*", "deg", "phys.angArea;obs", "polygon"),
    InputParam("POS", ucd="phys.angArea;obs"),
    InputParam("BAND", "double", "2", "m", "em.wl;stat.interval", "interval"),
    InputParam("TIME", "double", "2", "d", "time.interval;obs.exposure", "interval"),
    InputParam("CUTOUTDETAIL"),
    InputParam("RESPONSEFORMAT", ucd="meta.code.mime"),
)
_SODA_OPTIONS = {
    "CUTOUTDETAIL": ("Image", "MaskedImage", "Exposure"),
    "RESPONSEFORMAT": ("application/fits", "image/png", "image/jpeg"),
}
_SERVICES: dict[str, tuple[str, str, tuple[InputParam, ...], str]] = {
    "cutout-sync": (
        "ivo://ivoa.net/std/SODA#sync-1.0",
        "/api/cutout/sync",
        _SODA,
        "Part of the image, at once",
    ),
    "cutout-async": (
        "ivo://ivoa.net/std/SODA#async-1.0",
        "/api/cutout/async",
        _SODA,
        "Part of the image, as a job",
    ),
    "psf": (
        "",
        "/api/cutout/psf",
        (
            _ID,
            InputParam("RA", "double", "", "deg", "pos.eq.ra"),
            InputParam("DEC", "double", "", "deg", "pos.eq.dec"),
        ),
        "The PSF at a position on the image",
    ),
    "timeseries": (
        "",
        "/api/datalink/timeseries",
        (_ID, InputParam("BAND", ucd="instr.bandpass"), InputParam("RESPONSEFORMAT", ucd="meta.code.mime")),
        "Light curve by forced photometry, in chosen bands",
    ),
}
"""Standard, path, parameters and description of services, by name."""

_SELF = (
    _ID,
    InputParam("TABLE", ucd="meta.id;meta.table"),
    InputParam("RESPONSEFORMAT", ucd="meta.code.mime"),
)


def _values(param: InputParam, use: ServiceUse) -> str:
    options = use.options.get(param.name) or (_SODA_OPTIONS.get(param.name, ()) if param in _SODA else ())
    if options:
        return "<VALUES>" + "".join(f"<OPTION value={quoteattr(o)}/>" for o in options) + "</VALUES>"
    limit = use.values.get(param.name, "")
    if param.name == "ID" or not limit:
        return ""
    if param.xtype == "interval":
        low, high = limit.split()
        return f"<VALUES><MIN value={quoteattr(low)}/><MAX value={quoteattr(high)}/></VALUES>"
    return f"<VALUES><MAX value={quoteattr(limit)}/></VALUES>"


def _parameter(param: InputParam, use: ServiceUse) -> str:
    keys = ("name", "datatype", "arraysize", "unit", "ucd", "xtype")
    given = "".join(f" {key}={quoteattr(getattr(param, key))}" for key in keys if getattr(param, key))
    value = use.values.get("ID", "") if param.name == "ID" else ""
    if param.datatype == "double" and not param.arraysize:
        # An empty value is no number: the middle of the image is a good one to begin with.
        value = use.values.get(param.name, "0")
    inner = "" if param.datatype == "double" and not param.arraysize else _values(param, use)
    return (
        f"<PARAM{given} value={quoteattr(value)}>{inner}</PARAM>"
        if inner
        else f"<PARAM{given} value={quoteattr(value)}/>"
    )


def _descriptor(name: str, use: ServiceUse, url: str) -> str:
    standard, path, params, description = _SERVICES[use.kind]
    inputs = "\n".join(_parameter(param, use) for param in params)
    known = (
        f"<PARAM name='standardID' datatype='char' arraysize='*' value={quoteattr(standard)}/>\n"
        if standard
        else ""
    )
    return (
        f"<RESOURCE type='meta' utype='adhoc:service' ID={quoteattr(name)}>\n"
        f"<DESCRIPTION>{description}</DESCRIPTION>\n{known}"
        f"<PARAM name='accessURL' datatype='char' arraysize='*' value={quoteattr(url + path)}/>\n"
        f"<GROUP name='inputParams'>\n{inputs}\n</GROUP>\n</RESOURCE>\n"
    )


def links_votable(links: Sequence[Link], url: str, *, overflow: bool = False) -> bytes:
    """Return the links of some datasets.

    Parameters
    ----------
    links
        The links.
    url
        Public base address.
    overflow
        Whether some identifiers were left out because there were too many.

    Returns
    -------
    bytes
        A VOTable with the links, the descriptors they refer to, and that of
        this service itself.
    """
    extra = (
        service_resource(
            "this",
            LINKS_STANDARD_ID,
            f"{url}/api/datalink/links",
            _SELF,
            "What belongs to a dataset or a row",
        )
        .replace(" ID='this'", "")
        .replace(' ID="this"', ' name="this"')
    )
    used: dict[str, int] = {}
    rows = []
    for link in links:
        name = None
        if link.service is not None:
            # Values differ from dataset to dataset, so each has a descriptor of its own.
            number = used.get(link.service.kind, 0)
            used[link.service.kind] = number + 1
            name = f"{link.service.kind}-{number}" if number else link.service.kind
            extra += _descriptor(name, link.service, url)
        rows.append({"ID": link.id, "service_def": name})
    writer = VOTableWriter(
        _COLUMNS,
        binary=False,
        infos={"standardID": LINKS_STANDARD_ID},
        extra=extra,
        table_name="links",
    )
    arrays = [
        pa.array(
            [
                row[c.name] if c.name in row else getattr(link, c.name)
                for row, link in zip(rows, links, strict=True)
            ],
            _TYPES.get(c.datatype, pa.string()),
        )
        for c in _COLUMNS
    ]
    batch = pa.RecordBatch.from_arrays(arrays, names=[c.name for c in _COLUMNS])
    return writer.begin() + writer.rows(batch) + writer.end(overflow=overflow)
