"""Descriptions of tables that somebody wants made: VOSI table documents as CADC's youcat takes them, and VOTables."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from skydesk_portal.exceptions import TooLargeError, UsageError
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.vo.uploads import MOST_COLUMNS

__all__ = ["TableDefinition", "read_vosi_table"]

_LARGEST = 4_000_000
_WORDS = {
    "BOOLEAN": ("boolean", None),
    "TINYINT": ("short", None),
    "SMALLINT": ("short", None),
    "INTEGER": ("int", None),
    "INT": ("int", None),
    "BIGINT": ("long", None),
    "REAL": ("float", None),
    "FLOAT": ("float", None),
    "DOUBLE": ("double", None),
    "CHAR": ("char", "*"),
    "VARCHAR": ("char", "*"),
    "CLOB": ("char", "*"),
    "TIMESTAMP": ("char", "*"),
}
"""Types as VODataService's TAPType spells them."""

_PLAIN = {"boolean", "short", "int", "long", "float", "double", "char"}
_NEAR = {"unsignedByte": "short", "unicodeChar": "char", "bit": "boolean"}

type TableDefinition = tuple[tuple[ColumnInfo, ...], str]
"""Columns and description."""


def read_vosi_table(content: bytes) -> TableDefinition:
    """Read the description of a table.

    Parameters
    ----------
    content
        A ``vosi:table`` document, or a ``tableset`` with one table.

    Returns
    -------
    tuple
        Columns and the description of the table.

    Raises
    ------
    UsageError
        If it is none, or a column has a type that tables here cannot have.
    TooLargeError
        If it is far larger than a description can be.
    """
    if len(content) > _LARGEST:
        raise TooLargeError(f"a description of a table has at most {_LARGEST} bytes")
    try:
        root = ElementTree.fromstring(content, forbid_dtd=True)
    except DefusedXmlException as error:
        # Entities can grow without bound and these documents have none.
        raise UsageError("a document with a DOCTYPE is not taken") from error
    except (ParseError, ValueError, LookupError) as error:
        raise UsageError(f"not XML: {str(error)[:100]}") from error
    word = root.tag.rsplit("}", 1)[-1]
    tables = [root] if word == "table" else root.findall(".//{*}table") + root.findall(".//table")
    if word not in {"table", "tableset"} or len(tables) != 1:
        raise UsageError("not the description of one table (VOSI)")
    found = _children(tables[0], "column")
    if len(found) > MOST_COLUMNS:
        raise TooLargeError(f"{len(found)} columns are more than the {MOST_COLUMNS} taken")
    return tuple(_column(element) for element in found), _text(tables[0], "description")


def _children(element: Element, name: str) -> list[Element]:
    return [child for child in element if child.tag.rsplit("}", 1)[-1] == name]


def _text(element: Element, name: str) -> str:
    found = _children(element, name)
    return " ".join((found[0].text or "").split()) if found else ""


def _column(element: Element) -> ColumnInfo:
    name = _text(element, "name").strip('"')
    kinds = _children(element, "dataType")
    if not kinds:
        raise UsageError(f"column {name[:60]} has no dataType")
    word = (kinds[0].text or "").strip()
    given = kinds[0].get("arraysize") or kinds[0].get("size") or ""
    base = re.sub(r"\(.*", "", word).strip()
    if base in _PLAIN or base in _NEAR:
        datatype = _NEAR.get(base, base)
        size = "*" if datatype == "char" else None
    elif base.upper() in _WORDS:
        datatype, size = _WORDS[base.upper()]
    else:
        raise UsageError(f"column {name[:60]} has the type {word[:30]!r}, which is not taken")
    if datatype != "char" and given not in {"", "1"}:
        raise UsageError(f"column {name[:60]} is an array, only scalars and strings are taken")
    xtype = kinds[0].get("extendedType") or ("timestamp" if base.upper() == "TIMESTAMP" else "")
    unit, ucd, utype, text = (_text(element, key) for key in ("unit", "ucd", "utype", "description"))
    return ColumnInfo(name, datatype, size, xtype, unit, ucd, utype, text)
