"""VOSI 1.1 documents: capabilities, availability, tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from vo_models.tapregext.models import (
    DataLimit,
    DataLimits,
    DataModelType,
    Language,
    LanguageFeature,
    LanguageFeatureList,
    OutputFormat,
    TableAccess,
    TimeLimits,
    UploadMethod,
    Version,
)
from vo_models.vodataservice.models import ParamHTTP
from vo_models.voresource.models import AccessURL, Capability
from vo_models.vosi.availability import Availability
from vo_models.vosi.capabilities import VOSICapabilities

from skydesk_portal.adql.functions import UDFS
from skydesk_portal.config import PortalConfig
from skydesk_portal.models.tables import Catalog, ColumnInfo, SchemaInfo, TableInfo, written_name
from skydesk_portal.vo.formats import FORMATS

__all__ = ["availability_xml", "capabilities_xml", "table_xml", "tables_xml", "tap_capability"]

_HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_FEATURES = "ivo://ivoa.net/std/TAPRegExt#features-"
_GEOMETRY = (
    "POINT", "CIRCLE", "BOX", "POLYGON", "REGION", "CONTAINS", "INTERSECTS", "AREA", "CENTROID", "DISTANCE", "COORD1",
    "COORD2", "COORDSYS",
)  # fmt: skip
_MEDIA_TYPES = ("application/x-votable+xml", "text/xml")
_OPTIONAL = {
    "adql-common-table": ("WITH",),
    "adql-sets": ("UNION", "EXCEPT", "INTERSECT"),
    "adql-string": ("LOWER", "UPPER", "ILIKE"),
    "adql-type": ("CAST",),
    "adql-unit": ("IN_UNIT",),
    "adql-offset": ("OFFSET",),
    "adql-bitwise": ("BIT_AND", "BIT_OR", "BIT_XOR", "BIT_NOT"),
}


def _interface(url: str, *, use: str, version: str | None = None) -> Any:
    # Never "full": pyvo takes a full address as an exact rule and would send no token there.
    return ParamHTTP(role="std", version=version, access_url=[AccessURL(value=url, use=use)])  # type: ignore[arg-type]


def _vosi(base_url: str) -> list[Any]:
    return [
        Capability(
            standard_id=f"ivo://ivoa.net/std/VOSI#{name}",  # type: ignore[arg-type]
            interface=[_interface(f"{base_url}/{name}", use="base")],
        )
        for name in ("capabilities", "availability")
    ]


def tap_capability(base_url: str, config: PortalConfig) -> list[Any]:
    """Return the capabilities of a TAP service (TAPRegExt 1.0)."""
    features = [
        LanguageFeatureList(
            type=f"{_FEATURES}adqlgeo", feature=[LanguageFeature(form=word) for word in _GEOMETRY]
        ),
        LanguageFeatureList(
            type=f"{_FEATURES}udf",
            feature=[LanguageFeature(form=form, description=text) for form, text in UDFS.values()],
        ),
        *(
            LanguageFeatureList(
                type=f"{_FEATURES}{name}", feature=[LanguageFeature(form=word) for word in words]
            )
            for name, words in _OPTIONAL.items()
        ),
    ]
    seconds = int(config.retention_days * 86400)
    tap = TableAccess(
        interface=[_interface(base_url, use="base", version="1.1")],
        data_model=[
            DataModelType(value="ObsCore-1.1", ivo_id="ivo://ivoa.net/std/ObsCore#core-1.1"),
        ],
        language=[
            Language(
                name="ADQL",
                version=[
                    Version(value="2.0", ivo_id="ivo://ivoa.net/std/ADQL#v2.0"),
                    Version(value="2.1", ivo_id="ivo://ivoa.net/std/ADQL#v2.1"),
                ],
                description="Astronomical Data Query Language",
                language_features=features,
            )
        ],
        output_format=[
            OutputFormat(
                mime=media_type,
                # Media types belong into elements of their own: aliases are the short names.
                alias=[w for w in found.words if w.partition("/")[0] not in {"application", "text", "image"}]
                if media_type == found.media_type
                else [],
                ivo_id=found.ivo_id if media_type == found.media_type else None,
            )
            for found in FORMATS.values()
            for media_type in (found.media_type, *(w for w in found.aliases if w in _MEDIA_TYPES))
        ],
        upload_method=[
            UploadMethod(ivo_id=f"ivo://ivoa.net/std/TAPRegExt#upload-{method}")
            for method in ("inline", "http")
        ],
        retention_period=TimeLimits(default=seconds, hard=2 * seconds),
        execution_duration=TimeLimits(default=config.execution_seconds, hard=config.execution_seconds),
        output_limit=DataLimits(
            default=DataLimit(value=config.default_rows, unit="row"),
            hard=DataLimit(value=config.maximum_rows, unit="row"),
        ),
        upload_limit=DataLimits(
            default=DataLimit(value=config.upload_bytes, unit="byte"),
            hard=DataLimit(value=config.upload_bytes, unit="byte"),
        ),
    )
    tables = Capability(
        standard_id="ivo://ivoa.net/std/VOSI#tables-1.1",  # type: ignore[arg-type]
        interface=[_interface(f"{base_url}/tables", use="base", version="1.1")],
    )
    examples = Capability(
        standard_id="ivo://ivoa.net/std/DALI#examples",  # type: ignore[arg-type]
        interface=[_interface(f"{base_url}/examples", use="base")],
    )
    # What CADC's clients look for before they make, load and index tables of their own.
    own_tables = [
        Capability(
            standard_id=f"ivo://ivoa.net/std/VOSI#{name}-1.x",  # type: ignore[arg-type]
            interface=[_interface(f"{base_url}/{path}", use="base")],
        )
        for name, path in (("table-load", "load"), ("table-update", "table-update"))
    ]
    return [tap, tables, examples, *own_tables]


def capabilities_xml(
    base_url: str, standards: Sequence[tuple[str, str]] = (), more: Sequence[Any] = ()
) -> bytes:
    """Return the capabilities of a service.

    Parameters
    ----------
    base_url
        Address of the service.
    standards
        Standard identifiers with the address of each.
    more
        Further capabilities, put first.

    Returns
    -------
    bytes
        A ``vosi:capabilities`` document.
    """
    named = [
        Capability(
            standard_id=identifier,  # type: ignore[arg-type]  # pydantic reads the address from the text
            interface=[_interface(url, use="base", version="1.0")],
        )
        for identifier, url in standards
    ]
    document = VOSICapabilities(capability=[*more, *named, *_vosi(base_url)])
    return _HEAD + bytes(document.to_xml(skip_empty=True))  # type: ignore[arg-type]


def availability_xml(*, available: bool, since: datetime, note: str = "") -> bytes:
    """Return whether a service can be used."""
    document = Availability(available=available, up_since=since, note=[note] if note else [])
    return _HEAD + bytes(document.to_xml(skip_empty=True))  # type: ignore[arg-type]


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>" if text else ""


def _column(column: ColumnInfo) -> str:
    size = f" arraysize={quoteattr(column.arraysize)}" if column.arraysize else ""
    flags = "".join(f"<flag>{flag}</flag>" for flag in ("indexed", "principal") if getattr(column, flag))
    name = written_name(column.name)
    return (
        f'<column std="{str(column.std).lower()}">{_element("name", name)}'
        f"{_element('description', column.description)}{_element('unit', column.unit)}{_element('ucd', column.ucd)}"
        f"{_element('utype', column.utype)}"
        f'<dataType xsi:type="vs:VOTableType"{size}'
        f"{f' extendedType={quoteattr(column.xtype)}' if column.xtype else ''}>{column.datatype}</dataType>{flags}</column>"
    )


def _table(table: TableInfo, *, tag: str = "table", attributes: str = "", brief: bool = False) -> str:
    columns = "" if brief else "".join(_column(column) for column in table.columns)
    keys = "".join(
        f"<foreignKey>{_element('targetTable', key.target)}"
        + "".join(
            f"<fkColumn>{_element('fromColumn', own)}{_element('targetColumn', other)}</fkColumn>"
            for own, other in key.columns
        )
        + f"{_element('description', key.description)}</foreignKey>"
        for key in (() if brief else table.foreign_keys)
    )
    kind = "view" if table.kind == "view" else "base_table"
    rows = f"<nrows>{table.rows}</nrows>" if table.rows is not None else ""
    return (
        f'<{tag}{attributes} type="{kind}">{_element("name", table.full_name)}{_element("description", table.description)}'
        f"{_element('utype', table.utype)}{rows}{columns}{keys}</{tag}>"
    )


_TABLES_NS = (
    ' xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)


def _schema(schema: SchemaInfo, *, brief: bool) -> str:
    tables = "".join(_table(table, brief=brief) for table in schema.tables)
    return (
        f"<schema>{_element('name', schema.name)}{_element('description', schema.description)}"
        f"{_element('utype', schema.utype)}{tables}</schema>"
    )


def tables_xml(catalog: Catalog, *, brief: bool = False) -> bytes:
    """Return the description of all tables (VOSI 1.1).

    Parameters
    ----------
    catalog
        Tables of the caller.
    brief
        Leave out columns and keys (``detail=min``).

    Returns
    -------
    bytes
        A ``vosi:tableset`` document.
    """
    body = "".join(_schema(schema, brief=brief) for schema in catalog.schemas)
    return _HEAD + f"<vosi:tableset{_TABLES_NS}>{body}</vosi:tableset>\n".encode()


def table_xml(table: TableInfo) -> bytes:
    """Return the description of one table."""
    return _HEAD + _table(table, tag="vosi:table", attributes=_TABLES_NS).encode() + b"\n"
