"""How a Simple Image Access service describes itself (SIA 2.0, DataLink 1.1 service descriptors)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import quoteattr

from skydesk_portal.models.sia import PARAMETERS, SiaParameter

__all__ = ["SIA_STANDARD_ID", "describe_service"]

SIA_STANDARD_ID = "ivo://ivoa.net/std/SIA#query-2.0"

_TYPES = {"level": ("int", ""), "span": ("double", "2"), "interval": ("double", "2")}


def _parameter(parameter: SiaParameter, options: Sequence[str]) -> str:
    datatype, size = _TYPES.get(parameter.kind, ("char", "*"))
    attributes = {
        "name": parameter.name,
        "datatype": datatype,
        "arraysize": size,
        "xtype": parameter.xtype,
        "unit": parameter.unit,
        "ucd": parameter.ucd,
    }
    text = "".join(f" {k}={quoteattr(v)}" for k, v in attributes.items() if v)
    choices = "".join(f"<OPTION value={quoteattr(option)}/>" for option in options)
    values = f"<VALUES>{choices}</VALUES>" if choices else ""
    # A value has to fit the type; an interval that is left open on both sides asks for nothing.
    value = {"level": "-1", "span": "-Inf +Inf", "interval": "-Inf +Inf"}.get(parameter.kind, "")
    description = parameter.description.replace("&", "&amp;").replace("<", "&lt;")
    return f"<PARAM{text} value={quoteattr(value)}><DESCRIPTION>{description}</DESCRIPTION>{values}</PARAM>\n"


def describe_service(url: str, options: Mapping[str, Sequence[str]]) -> str:
    """Return the descriptor of a query service.

    Parameters
    ----------
    url
        Address of the query resource.
    options
        Values that occur, by parameter.

    Returns
    -------
    str
        A RESOURCE element that lists every parameter with its type, unit and values.
    """
    inputs = "".join(_parameter(p, options.get(p.name, ())) for p in PARAMETERS.values())
    return (
        "<RESOURCE type='meta' utype='adhoc:service' name='this'>\n"
        "<DESCRIPTION>Search for images of this release; each parameter may be given several times</DESCRIPTION>\n"
        f"<PARAM name='standardID' datatype='char' arraysize='*' value='{SIA_STANDARD_ID}'/>\n"
        f"<PARAM name='accessURL' datatype='char' arraysize='*' value={quoteattr(url)}/>\n"
        f"<GROUP name='inputParams'>\n{inputs}</GROUP>\n</RESOURCE>\n"
    )
