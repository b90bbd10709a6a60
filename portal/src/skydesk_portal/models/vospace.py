"""What VOSpace speaks of: nodes, their properties, transfers."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "DIRECTIONS",
    "HTTP_GET",
    "HTTP_PUT",
    "Endpoint",
    "NodeRequest",
    "NodeView",
    "Protocol",
    "Transfer",
]

DIRECTIONS = ("pushToVoSpace", "pullToVoSpace", "pullFromVoSpace", "pushFromVoSpace")
"""Words of the standard for where data go; any other value is the node that a node is moved or copied to."""

_CORE = "ivo://ivoa.net/vospace/core#"
HTTP_GET = (f"{_CORE}httpsget", f"{_CORE}httpget")
"""Protocols that data are fetched by."""

HTTP_PUT = (f"{_CORE}httpsput", f"{_CORE}httpput")
"""Protocols that data are sent by."""


@dataclass(frozen=True)
class Protocol:
    """How a client would like to move bytes.

    Parameters
    ----------
    uri
        Identifier of the protocol.
    methods
        Identifiers of the ways to sign in that the client knows; none asks for
        an address that works by itself.
    endpoint
        Address that the client offers, if it does.
    """

    uri: str
    methods: tuple[str, ...] = ()
    endpoint: str | None = None


@dataclass(frozen=True)
class Transfer:
    """What a client wants moved.

    Parameters
    ----------
    target
        Address of the node.
    direction
        One of `DIRECTIONS`, or the node that it goes to.
    protocols
        How, in the client's order.
    keep_bytes
        Whether a node that goes to another stays as well.
    """

    target: str
    direction: str
    protocols: tuple[Protocol, ...] = ()
    keep_bytes: bool = False


@dataclass(frozen=True)
class Endpoint:
    """An address to move bytes by.

    Parameters
    ----------
    protocol
        Identifier of the protocol.
    url
        The address.
    method
        Identifier of the way to sign in; `None` if the address works by itself.
    """

    protocol: str
    url: str
    method: str | None = None


@dataclass(frozen=True)
class NodeView:
    """A node as it is shown.

    Parameters
    ----------
    uri
        Its ``vos://`` address.
    is_container
        Whether it holds other nodes.
    properties
        Values by identifier.
    read_only
        Identifiers that clients cannot set.
    children
        What it holds; `None` for a node that holds nothing.
    """

    uri: str
    is_container: bool
    properties: dict[str, str] = field(default_factory=dict)
    read_only: frozenset[str] = frozenset()
    children: list[NodeView] | None = None


@dataclass(frozen=True)
class NodeRequest:
    """A node as a client describes it.

    Parameters
    ----------
    uri
        Its ``vos://`` address.
    type
        ``ContainerNode``, ``DataNode``, … without a prefix.
    properties
        New values by identifier; `None` removes one.
    """

    uri: str
    type: str
    properties: dict[str, str | None] = field(default_factory=dict)
