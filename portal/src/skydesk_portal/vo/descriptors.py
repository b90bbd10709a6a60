"""Service descriptors: what a client can ask next about each row of a result (DataLink 1.1, section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from skydesk_portal.models.tables import Catalog, ColumnInfo, TableInfo

__all__ = ["Descriptors", "InputParam", "describe_services", "service_resource"]

LINKS = "ivo://ivoa.net/std/DataLink#links-1.1"
SODA_SYNC = "ivo://ivoa.net/std/SODA#sync-1.0"

_TABLES = {
    "objectid": "Object",
    "diaobjectid": "DiaObject",
    "sourceid": "Source",
    "diasourceid": "DiaSource",
    "ssobjectid": "SSObject",
}
"""Tables by the name of the column that identifies their rows, in lower case."""

_LIGHT_CURVES = {"Object": "ForcedSource", "DiaObject": "ForcedSourceOnDiaObject"}
"""Tables with the fluxes of another one's rows over time."""

_DATASET_IDS = ("obs_publisher_did", "dataid")


@dataclass(frozen=True)
class InputParam:
    """One parameter of a service.

    Parameters
    ----------
    name, datatype, arraysize, unit, ucd, xtype
        As in VOTable.
    value
        What to send; empty when the caller chooses.
    ref
        ID of the field whose value to send.
    """

    name: str
    datatype: str = "char"
    arraysize: str = "*"
    unit: str = ""
    ucd: str = ""
    xtype: str = ""
    value: str = ""
    ref: str = ""

    def xml(self) -> str:
        """Return the PARAM element."""
        keys = ("name", "datatype", "arraysize", "unit", "ucd", "xtype", "ref")
        given = "".join(f" {key}={quoteattr(getattr(self, key))}" for key in keys if getattr(self, key))
        return f"<PARAM{given} value={quoteattr(self.value)}/>"


@dataclass(frozen=True)
class Descriptors:
    """What a VOTable says about services.

    Parameters
    ----------
    xml
        RESOURCE elements, to be put after the results.
    field_ids
        IDs of the fields that they refer to, by column name.
    """

    xml: str = ""
    field_ids: tuple[tuple[str, str], ...] = ()


_REGION = (
    InputParam("CIRCLE", "double", "3", "deg", "phys.angArea;obs", "circle"),
    InputParam("POLYGON", "double", "*", "deg", "phys.angArea;obs", "polygon"),
    InputParam("POS", ucd="phys.angArea;obs"),
)


def service_resource(
    name: str, standard: str, url: str, params: Iterable[InputParam], description: str = ""
) -> str:
    """Return the RESOURCE that describes a service.

    Parameters
    ----------
    name
        Its ID in the document.
    standard
        Identifier of the standard that it follows, empty for a service of our own.
    url
        Its address.
    params
        Its parameters.
    description
        What it does.

    Returns
    -------
    str
        The element.
    """
    inputs = "\n".join(param.xml() for param in params)
    text = f"<DESCRIPTION>{escape(description)}</DESCRIPTION>\n" if description else ""
    follows = (
        f"<PARAM name='standardID' datatype='char' arraysize='*' value={quoteattr(standard)}/>\n"
        if standard
        else ""
    )
    return (
        f"<RESOURCE type='meta' utype='adhoc:service' ID={quoteattr(name)}>\n{text}{follows}"
        f"<PARAM name='accessURL' datatype='char' arraysize='*' value={quoteattr(url)}/>\n"
        f"<GROUP name='inputParams'>\n{inputs}\n</GROUP>\n</RESOURCE>\n"
    )


def describe_services(
    columns: tuple[ColumnInfo, ...], tables: tuple[TableInfo, ...], catalog: Catalog, url: str
) -> Descriptors:
    """Find out which services take the identifiers of a result.

    Parameters
    ----------
    columns
        Columns of the result.
    tables
        Tables that the query reads.
    catalog
        Tables of the caller.
    url
        Public base address.

    Returns
    -------
    Descriptors
        Links and cut-outs for datasets, links for rows of release tables.
    """
    releases = {table.release for table in tables if table.release}
    xml, ids = "", []
    for number, column in enumerate(columns):
        key = column.name.lower()
        field_id = f"id_{number}"
        link = InputParam("ID", ucd="meta.id;meta.main", ref=field_id)
        if key in _DATASET_IDS and column.datatype == "char":
            xml += service_resource(
                f"datalink-{key}", LINKS, f"{url}/api/datalink/links", [link], "What belongs to the dataset"
            )
            xml += service_resource(
                f"cutout-{key}", SODA_SYNC, f"{url}/api/cutout/sync", [link, *_REGION], "Part of the image"
            )
        elif key in _TABLES and column.datatype == "long" and len(releases) == 1:
            made = _row_services(key, link, next(iter(releases)), catalog, url)
            if not made:
                continue
            xml += made
        else:
            continue
        ids.append((column.name, field_id))
    return Descriptors(xml, tuple(ids))


def _row_services(key: str, link: InputParam, release: str, catalog: Catalog, url: str) -> str:
    table = catalog.find_table(f"{release}.{_TABLES[key]}")
    if table is None:
        return ""
    params = [link, InputParam("TABLE", value=table.full_name)]
    text = f"What belongs to the row of {table.name}"
    xml = service_resource(f"datalink-{key}", LINKS, f"{url}/api/datalink/links", params, text)
    curve = catalog.find_table(f"{release}.{_LIGHT_CURVES.get(table.name, '')}")
    if curve is not None:
        params.append(InputParam("RESPONSEFORMAT", value="votable"))
        xml += service_resource(
            f"timeseries-{key}", "", f"{url}/api/datalink/timeseries", params, "Fluxes over time, as a table"
        )
    return xml
