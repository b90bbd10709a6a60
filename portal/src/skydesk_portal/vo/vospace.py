"""VOSpace 2.1 documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.vospace import (
    HTTP_GET,
    HTTP_PUT,
    Endpoint,
    NodeRequest,
    NodeView,
    Protocol,
    Transfer,
)

__all__ = [
    "node_xml",
    "properties_xml",
    "protocols_xml",
    "read_node",
    "read_transfer",
    "transfer_xml",
    "views_xml",
]

_NS = "http://www.ivoa.net/xml/VOSpace/v2.0"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_ROOT = f'xmlns:vos="{_NS}" xmlns:xsi="{_XSI}" version="2.1"'
_ANY, _DEFAULT = "ivo://ivoa.net/vospace/core#anyview", "ivo://ivoa.net/vospace/core#defaultview"
_VIEWS = f'<vos:accepts><vos:view uri="{_ANY}"/></vos:accepts><vos:provides><vos:view uri="{_DEFAULT}"/></vos:provides>'
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LONGEST_PROPERTY = 4096


def _text(value: str) -> str:
    return escape(_ILLEGAL.sub("\ufffd", value))


def _attribute(value: str) -> str:
    return quoteattr(_ILLEGAL.sub("\ufffd", value))


def node_xml(node: NodeView) -> bytes:
    """Return the document of a node.

    Parameters
    ----------
    node
        The node.

    Returns
    -------
    bytes
        A ``vos:node`` document.
    """
    return (_HEAD + _node(node, _ROOT)).encode()


def _node(node: NodeView, attributes: str = "") -> str:
    kind = "ContainerNode" if node.is_container else "DataNode"
    properties = "".join(
        f"<vos:property uri={_attribute(uri)} readOnly={quoteattr(str(uri in node.read_only).lower())}>"
        f"{_text(value)}</vos:property>"
        for uri, value in node.properties.items()
    )
    busy = "" if node.is_container else ' busy="false"'
    parts = [
        f'<vos:node {attributes} xsi:type="vos:{kind}" uri={_attribute(node.uri)}{busy}>',
        f"<vos:properties>{properties}</vos:properties>",
        _VIEWS,
        "<vos:capabilities/>",
    ]
    if node.is_container:
        parts.append(f"<vos:nodes>{''.join(_node(child) for child in node.children or ())}</vos:nodes>")
    return "".join([*parts, "</vos:node>"])


def transfer_xml(transfer: Transfer, endpoints: Iterable[Endpoint]) -> bytes:
    """Return the details of a transfer that has been agreed on.

    Parameters
    ----------
    transfer
        What was asked.
    endpoints
        Where the bytes are fetched or sent.

    Returns
    -------
    bytes
        A ``vos:transfer`` document.
    """
    told = "".join(
        f"<vos:protocol uri={_attribute(end.protocol)}><vos:endpoint>{_text(end.url)}</vos:endpoint>"
        + (f"<vos:securityMethod uri={_attribute(end.method)}/>" if end.method else "")
        + "</vos:protocol>"
        for end in endpoints
    )
    return (
        f"{_HEAD}<vos:transfer {_ROOT}><vos:target>{_text(transfer.target)}</vos:target>"
        f"<vos:direction>{_text(transfer.direction)}</vos:direction>{told}"
        f"<vos:keepBytes>{str(transfer.keep_bytes).lower()}</vos:keepBytes></vos:transfer>"
    ).encode()


def protocols_xml() -> bytes:
    """Return the protocols that data are moved by."""
    told = "".join(f'<vos:protocol uri="{uri}"/>' for uri in (*HTTP_GET, *HTTP_PUT))
    return f"{_HEAD}<vos:protocols {_ROOT}>{told}</vos:protocols>".encode()


def views_xml() -> bytes:
    """Return the forms that data are taken and given in: as they are."""
    told = f'<vos:view uri="{_ANY}"/><vos:view uri="{_DEFAULT}"/>'
    return f"{_HEAD}<vos:views {_ROOT}>{told}</vos:views>".encode()


def properties_xml(known: Iterable[tuple[str, bool]]) -> bytes:
    """Return the properties that nodes have.

    Parameters
    ----------
    known
        Identifiers, with whether clients can only read them.
    """
    told = "".join(
        f"<vos:property uri={_attribute(uri)} readOnly={quoteattr(str(fixed).lower())}/>"
        for uri, fixed in known
    )
    return f"{_HEAD}<vos:properties {_ROOT}>{told}</vos:properties>".encode()


def _parse(body: bytes) -> Any:
    try:
        return ElementTree.fromstring(body, forbid_dtd=True)
    except (ElementTree.ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise UsageError("the request is not a plain XML document") from error


def _local(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _children(element: Any, name: str) -> Sequence[Any]:
    return [child for child in element if _local(child) == name]


def _first(element: Any, name: str) -> str | None:
    found = _children(element, name)
    return (found[0].text or "").strip() if found else None


def read_node(body: bytes) -> NodeRequest:
    """Read the description of a node.

    Parameters
    ----------
    body
        A ``vos:node`` document.

    Returns
    -------
    NodeRequest
        What it says.

    Raises
    ------
    UsageError
        If it is none.
    """
    root = _parse(body)
    if _local(root) != "node" or not root.get("uri"):
        raise UsageError("the request is not a node of VOSpace")
    kind = (root.get(f"{{{_XSI}}}type") or "DataNode").rpartition(":")[2]
    properties: dict[str, str | None] = {}
    for given in _children(root, "properties"):
        for element in _children(given, "property"):
            # Some clients write the attribute without declaring its namespace's element form.
            removed = any(
                name.rpartition("}")[2] == "nil" and value == "true" for name, value in element.items()
            )
            value = None if removed else (element.text or "").strip()
            if value is not None and len(value) > _LONGEST_PROPERTY:
                raise UsageError(f"the value of a property has at most {_LONGEST_PROPERTY} characters")
            properties[element.get("uri") or ""] = value
    return NodeRequest(root.get("uri"), kind, properties)


def read_transfer(body: bytes) -> Transfer:
    """Read what a client wants moved.

    Parameters
    ----------
    body
        A ``vos:transfer`` document.

    Returns
    -------
    Transfer
        What it says.

    Raises
    ------
    UsageError
        If it is none.
    """
    root = _parse(body)
    target, direction = _first(root, "target"), _first(root, "direction")
    if _local(root) != "transfer" or not target or not direction:
        raise UsageError("the request is not a transfer of VOSpace with target and direction")
    protocols = tuple(
        Protocol(
            element.get("uri") or "",
            tuple(method.get("uri") or "" for method in _children(element, "securityMethod")),
            _first(element, "endpoint") or None,
        )
        for element in _children(root, "protocol")
    )
    keep = (_first(root, "keepBytes") or "false").lower() in {"true", "1"}
    return Transfer(target, direction, protocols, keep)
