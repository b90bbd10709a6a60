"""The document of DataLink 1.1 and the descriptors of SODA services."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

import pyarrow as pa

from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.votable import VOTableWriter

__all__ = ["MEDIA_TYPE", "links_votable"]

MEDIA_TYPE = "application/x-votable+xml;content=datalink"

_COLUMNS = (
    ColumnInfo("ID", "char", "*", ucd="meta.id;meta.main"),
    ColumnInfo("access_url", "char", "*", ucd="meta.ref.url"),
    ColumnInfo("service_def", "char", "*", ucd="meta.ref"),
    ColumnInfo("error_message", "char", "*", ucd="meta.code.error"),
    ColumnInfo("description", "char", "*", ucd="meta.note"),
    ColumnInfo("semantics", "char", "*", ucd="meta.code"),
    ColumnInfo("content_type", "char", "*", ucd="meta.code.mime"),
    ColumnInfo("content_length", "long", ucd="phys.size;meta.file", unit="byte"),
)


def _descriptor(name: str, standard: str, url: str, dataset: str) -> str:
    inputs = (
        ("ID", "char", "*", "meta.id;meta.main", "", "", f" value={quoteattr(dataset)}"),
        ("CIRCLE", "double", "3", "phys.angArea;obs", "deg", "circle", ' value=""'),
        ("POLYGON", "double", "*", "phys.angArea;obs", "deg", "polygon", ' value=""'),
        ("POS", "char", "*", "phys.angArea;obs", "", "", ' value=""'),
    )
    params = "\n".join(
        f"<PARAM name='{n}' datatype='{d}' arraysize='{a}' ucd='{u}'"
        f"{f' unit={quoteattr(unit)}' if unit else ''}{f' xtype={quoteattr(x)}' if x else ''}{v}/>"
        for n, d, a, u, unit, x, v in inputs
    )
    detail = (
        "<PARAM name='CUTOUTDETAIL' datatype='char' arraysize='*' value='Image'><VALUES>"
        "<OPTION value='Image'/><OPTION value='MaskedImage'/><OPTION value='Exposure'/></VALUES></PARAM>"
    )
    return (
        f"<RESOURCE type='meta' utype='adhoc:service' ID={quoteattr(name)}>\n"
        f"<PARAM name='standardID' datatype='char' arraysize='*' value={quoteattr(standard)}/>\n"
        f"<PARAM name='accessURL' datatype='char' arraysize='*' value={quoteattr(url)}/>\n"
        f"<GROUP name='inputParams'>\n{params}\n{detail}\n</GROUP>\n</RESOURCE>\n"
    )


def links_votable(rows: Sequence[dict[str, object]], url: str) -> bytes:
    """Return the links of some datasets.

    Parameters
    ----------
    rows
        Values by column name of DataLink 1.1.
    url
        Public base address.

    Returns
    -------
    bytes
        A VOTable with the links and the descriptors they refer to.
    """
    used = {row.get("service_def") for row in rows} - {None}
    dataset = next((str(row["ID"]) for row in rows if row.get("service_def")), "")
    extra = ""
    for name, standard, path in (
        ("cutout-sync", "ivo://ivoa.net/std/SODA#sync-1.0", "/api/cutout/sync"),
        ("cutout-async", "ivo://ivoa.net/std/SODA#async-1.0", "/api/cutout/async"),
    ):
        if name in used:
            extra += _descriptor(name, standard, url + path, dataset)
    writer = VOTableWriter(
        _COLUMNS,
        binary=False,
        infos={"standardID": "ivo://ivoa.net/std/DataLink#links-1.1"},
        extra=extra,
        table_name="links",
    )
    types = [pa.int64() if c.datatype == "long" else pa.string() for c in _COLUMNS]
    arrays = [
        pa.array([row.get(c.name) for row in rows], kind) for c, kind in zip(_COLUMNS, types, strict=True)
    ]
    batch = pa.RecordBatch.from_arrays(arrays, names=[c.name for c in _COLUMNS])
    return writer.begin() + writer.rows(batch) + writer.end()
