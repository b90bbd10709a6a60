"""The files of people as VOSpace nodes, and moving bytes to and from them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from skydesk_portal.exceptions import FileConflictError, ForbiddenError, NotFoundError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import Job
from skydesk_portal.models.vospace import (
    DIRECTIONS,
    HTTP_GET,
    HTTP_PUT,
    Endpoint,
    NodeRequest,
    NodeView,
    Protocol,
    Transfer,
)
from skydesk_portal.services.execution import owner_of
from skydesk_portal.services.files import AUTHORITY, FilesService, media_type_of, plain_path
from skydesk_portal.services.jobs import JobService
from skydesk_portal.services.signing import LinkSigner
from skydesk_portal.storage.files import FileFacts, split_path
from skydesk_portal.uws.runner import JobContext
from skydesk_portal.vo.vospace import transfer_xml

__all__ = [
    "CONTENT",
    "KNOWN_PROPERTIES",
    "TransferExecutor",
    "VospaceService",
    "read_parameters",
    "transfer_parameters",
]

CONTENT = "/api/files/content"
"""Where the bytes of nodes are."""

_CORE = "ivo://ivoa.net/vospace/core#"
_FIXED = tuple(
    _CORE + name for name in ("length", "date", "creator", "ispublic", "quota", "availableSpace", "MD5")
)
KNOWN_PROPERTIES = [(uri, True) for uri in _FIXED] + [(_CORE + "type", False), (_CORE + "description", False)]
"""Properties that nodes have, with whether clients can only read them."""

_TOKEN_METHODS = ("ivo://ivoa.net/sso#token", "ivo://ivoa.net/sso#BasicAA", "ivo://ivoa.net/sso#OAuth")
_LONGEST_PAGE = 10_000
_PROPERTIES_OF_A_NODE = 100


class VospaceService:
    """Shows and changes nodes; agrees on addresses for their bytes.

    Parameters
    ----------
    files
        The files of people.
    signer
        Signs addresses that work by themselves.
    jobs
        Whose results can be put into nodes.
    url
        Public base address.
    link_seconds
        How long signed addresses work.
    """

    def __init__(
        self,
        files: FilesService,
        signer: LinkSigner,
        jobs: JobService,
        url: str,
        link_seconds: float,
    ) -> None:
        self._files, self._signer, self._jobs = files, signer, jobs
        self._properties = files.properties
        self._url, self._link_seconds = url, link_seconds

    def uri_of(self, path: str) -> str:
        """Return the ``vos://`` address of a path ``/NAME/…``."""
        return (
            f"vos://{AUTHORITY}{plain_path(path)}".replace("%", "%25").replace("?", "%3F").replace("#", "%23")
        )

    def path_of(self, uri: str) -> str:
        """Return the path ``/NAME/…`` of a node's address.

        Raises
        ------
        UsageError
            If it is no address of a node here.
        """
        path = self._files.find_path(uri)
        if path is None:
            raise UsageError(
                f"{uri[:60]} is not the address of a node here: they begin with vos://{AUTHORITY}/"
            )
        return plain_path(path)

    def get_node(
        self,
        identity: Identity,
        path: str,
        *,
        limit: int | None = None,
        first: str | None = None,
        detail: bool = True,
    ) -> NodeView:
        """Return a node, with what it holds.

        Parameters
        ----------
        identity
            The caller.
        path
            ``/NAME/…``, or ``/`` for the node above the home folders.
        limit
            How many children at most.
        first
            Address of the child to begin with.
        detail
            Whether the properties are wanted.

        Returns
        -------
        NodeView
            The node.

        Raises
        ------
        NotFoundError
            If there is none, or it is another's.
        """
        path = plain_path(path)
        if path == "/":
            home = self.get_node(identity, f"/{identity.name}", limit=0, detail=detail)
            shown = [] if limit == 0 else [replace(home, children=None)]
            return NodeView(self.uri_of("/"), True, {}, frozenset(_FIXED), shown)
        folder, parts = self._files.locate(identity, path)
        facts = folder.get(parts)
        told = self._properties.get_all(path) if detail else {}
        node = self._view(identity, path, facts, told, detail=detail)
        if not facts.is_folder:
            return node
        if not parts and detail:
            room = self._files.limit_bytes - self._files.measure_bytes(identity)
            node.properties[_CORE + "quota"] = str(self._files.limit_bytes)
            node.properties[_CORE + "availableSpace"] = str(max(0, room))
        return replace(node, children=self._children(identity, path, limit, first, detail=detail))

    def _children(
        self, identity: Identity, path: str, limit: int | None, first: str | None, *, detail: bool
    ) -> list[NodeView]:
        count = _LONGEST_PAGE if limit is None else min(limit, _LONGEST_PAGE)
        if count <= 0:
            return []
        home, parts = self._files.locate(identity, path)
        found = home.list_facts(parts)
        if first is not None:
            begin = self.path_of(first).rpartition("/")[2]
            found = [facts for facts in found if facts.name >= begin]
        told = self._properties.get_of_children(path) if detail else {}
        return [
            self._view(
                identity, f"{path}/{facts.name}", facts, told.get(f"{path}/{facts.name}", {}), detail=detail
            )
            for facts in found[:count]
        ]

    def _view(
        self, identity: Identity, path: str, facts: FileFacts, told: dict[str, str], *, detail: bool
    ) -> NodeView:
        properties: dict[str, str] = {}
        if detail:
            changed = datetime.fromtimestamp(facts.modified_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
            properties = {
                "length": str(facts.size_bytes),
                "date": changed,
                "creator": identity.name,
                "ispublic": "false",
            }
            if not facts.is_folder:
                properties["type"] = media_type_of(facts.name)
            properties = {_CORE + name: value for name, value in properties.items()}
            # WebDAV's own properties lie beside them under names that are no URIs.
            properties |= {uri: value for uri, value in told.items() if not uri.startswith(" ")}
        children: list[NodeView] | None = [] if facts.is_folder else None
        return NodeView(self.uri_of(path), facts.is_folder, properties, frozenset(_FIXED), children)

    def create_node(self, identity: Identity, path: str, wanted: NodeRequest) -> NodeView:
        """Make a container, or a node that waits for its data.

        Raises
        ------
        FileConflictError
            If there is a node already.
        NotFoundError
            If there is no container to put it in.
        UsageError
            If the description does not fit.
        """
        path = self._checked(path, wanted)
        home, parts = self._files.locate(identity, path)
        if home.find(parts) is not None:
            raise FileConflictError("there is a node of that name already")
        if wanted.type == "ContainerNode":
            home.make_folder(parts)
        elif wanted.type in {"DataNode", "UnstructuredDataNode"}:
            self._files.begin_write(identity, path, 0).commit(replace=False)
        else:
            raise UsageError(f"nodes of type {wanted.type[:30]} are not kept here")
        self._properties.remove(path)
        self._set(path, {uri: value for uri, value in wanted.properties.items() if uri not in _FIXED})
        return self.get_node(identity, path)

    def set_node(self, identity: Identity, path: str, wanted: NodeRequest) -> NodeView:
        """Change the properties of a node.

        Raises
        ------
        ForbiddenError
            If one of them can only be read.
        NotFoundError
            If there is no node.
        """
        path = self._checked(path, wanted)
        now = self.get_node(identity, path, limit=0)
        for uri in _FIXED:
            if uri in wanted.properties and wanted.properties[uri] != now.properties.get(uri):
                raise ForbiddenError(f"the property {uri} can only be read")
        changes = {uri: value for uri, value in wanted.properties.items() if uri not in _FIXED}
        if len({*now.properties, *changes}) > _PROPERTIES_OF_A_NODE:
            raise UsageError(f"a node has at most {_PROPERTIES_OF_A_NODE} properties")
        self._set(path, changes)
        return self.get_node(identity, path)

    def _set(self, path: str, changes: dict[str, str | None]) -> None:
        if any(":" not in uri or len(uri) > 255 or any(map(str.isspace, uri)) for uri in changes):
            raise UsageError("the name of a property is a URI")
        self._properties.set_all(path, changes)

    def _checked(self, path: str, wanted: NodeRequest) -> str:
        path = plain_path(path)
        if self.path_of(wanted.uri) != path:
            raise UsageError("the node in the document is not the one of the address")
        return path

    def delete_node(self, identity: Identity, path: str) -> None:
        """Remove a node with all that it holds.

        Raises
        ------
        NotFoundError
            If there is none.
        """
        path = plain_path(path)
        self._files.remove(identity, path)

    def negotiate(self, identity: Identity, transfer: Transfer) -> list[Endpoint]:
        """Return where the bytes of a node are fetched or sent.

        Parameters
        ----------
        identity
            The caller.
        transfer
            ``pullFromVoSpace`` or ``pushToVoSpace``.

        Returns
        -------
        list of Endpoint
            At least one.

        Raises
        ------
        FileConflictError
            If the node is a container.
        NotFoundError
            If there is nothing to fetch, or no container to put it in.
        UsageError
            If none of the protocols is spoken here.
        """
        path = self.path_of(transfer.target)
        home, parts = self._files.locate(identity, path)
        facts = home.find(parts)
        if facts is not None and facts.is_folder:
            raise FileConflictError("a container has no bytes of its own")
        if transfer.direction == "pullFromVoSpace":
            home.get(parts)
            method, known = "GET", HTTP_GET
        elif transfer.direction == "pushToVoSpace":
            if not home.get(parts[:-1]).is_folder:
                raise NotFoundError("there is no container to put the node in")
            method, known = "PUT", HTTP_PUT
        else:
            raise UsageError(f"the direction {transfer.direction[:40]} is not spoken here")
        # Without a wish, an address that works by itself.
        wishes = transfer.protocols or (Protocol(known[0]),)
        found = [self._endpoint(path, method, wish) for wish in wishes if wish.uri in known]
        if not found:
            raise UsageError("ProtocolNotSupported: data move by HTTP GET and PUT here")
        return found

    def _endpoint(self, path: str, method: str, wish: Protocol) -> Endpoint:
        route = CONTENT + quote(path)
        for way in wish.methods:
            if way in _TOKEN_METHODS:
                return Endpoint(wish.uri, self._url + route, way)
        signature = self._signer.sign(f"{method} {route}", self._link_seconds)
        return Endpoint(wish.uri, f"{self._url}{route}?{signature}")

    def find_signed(self, method: str, path: str, expires: str, signature: str) -> Identity | None:
        """Return whom a signed address acts for, `None` if it is not good for this.

        Parameters
        ----------
        method
            Method of the request.
        path
            ``/NAME/…``.
        expires, signature
            From the address.
        """
        path = plain_path(path)
        what = f"{'GET' if method == 'HEAD' else method} {CONTENT}{quote(path)}"
        if not re.fullmatch(r"[0-9]{1,18}", expires) or not self._signer.check(what, int(expires), signature):
            return None
        return Identity(split_path(path)[0])

    def relocate(self, identity: Identity, transfer: Transfer) -> str:
        """Move or copy a node inside the space; return the path of the new one.

        Raises
        ------
        FileConflictError
            If there is a node of that name already, or it would go into itself.
        """
        source, target = self.path_of(transfer.target), self.path_of(transfer.direction)
        home, old = self._files.locate(identity, source)
        _, new = self._files.locate(identity, target)
        facts, there = home.get(old), home.find(new)
        if there is not None and there.is_folder:
            target, new = f"{target}/{old[-1]}", (*new, old[-1])
            there = home.find(new)
        if there is not None:
            raise FileConflictError("there is a node of that name already")
        if new[: len(old)] == old:
            raise FileConflictError("a container cannot go into itself")
        if transfer.keep_bytes:
            self._copy(identity, source, target, facts)
        else:
            self._files.move(identity, source, target)
        return target

    def _copy(self, identity: Identity, source: str, target: str, facts: FileFacts) -> None:
        if facts.is_folder:
            home, parts = self._files.locate(identity, source)
            home.make_folder(self._files.locate(identity, target)[1])
            for child in home.list_facts(parts):
                # Links to folders can make a tree without end.
                if child.is_folder and child.is_link:
                    continue
                self._copy(identity, f"{source}/{child.name}", f"{target}/{child.name}", child)
        else:
            with self._files.open_for(identity, source) as content:
                self._files.write_all(identity, target, content.stream, facts.size_bytes)
        self._files.copy_properties(source, target)

    def pull(self, identity: Identity, transfer: Transfer) -> None:
        """Fetch the result of a job, or another file, into a node.

        Raises
        ------
        FileSpaceError
            If it does not fit into the quota.
        UsageError
            If the address is not one of this platform.
        """
        target = self.path_of(transfer.target)
        for wish in transfer.protocols:
            if wish.uri not in HTTP_GET or not wish.endpoint:
                continue
            source = self._find_result(identity, wish.endpoint)
            if source is not None:
                with source.open("rb") as stream:
                    self._files.write_all(identity, target, stream, source.stat().st_size)
                return
            path = self._files.find_path(wish.endpoint)
            if path is not None:
                with self._files.open_for(identity, path) as content:
                    self._files.write_all(identity, target, content.stream, content.size_bytes)
                return
        raise UsageError("only results of your jobs and your files on this platform are fetched")

    def _find_result(self, identity: Identity, endpoint: str) -> Path | None:
        steps = endpoint.partition("?")[0].removeprefix(self._url).split("/")
        if not endpoint.startswith(self._url + "/api/") or len(steps) < 4 or steps[-2] != "results":
            return None
        return self._jobs.result_path(identity, steps[-3], steps[-1])[0]


def transfer_parameters(transfer: Transfer) -> list[tuple[str, str]]:
    """Return a transfer as parameters of a job."""
    told = [
        ("TARGET", transfer.target),
        ("DIRECTION", transfer.direction),
        ("KEEPBYTES", str(transfer.keep_bytes).lower()),
    ]
    for wish in transfer.protocols:
        told.append(("PROTOCOL", " ".join([wish.uri, wish.endpoint or "-", *wish.methods])))
    return told


def read_parameters(parameters: list[tuple[str, str]]) -> Transfer:
    """Read a transfer from the parameters of a job or a request.

    Raises
    ------
    UsageError
        If something is missing.
    """
    given = {name.upper(): value for name, value in parameters}
    if not given.get("TARGET") or not given.get("DIRECTION"):
        raise UsageError("a transfer needs TARGET and DIRECTION")
    wishes = []
    for name, value in parameters:
        if name.upper() == "PROTOCOL":
            uri, *rest = value.split()
            endpoint = rest[0] if rest and rest[0] != "-" else None
            wishes.append(Protocol(uri, tuple(rest[1:]), endpoint))
    keep = given.get("KEEPBYTES", "false").lower() in {"true", "1"}
    return Transfer(given["TARGET"], given["DIRECTION"], tuple(wishes), keep)


class TransferExecutor:
    """Does transfers in a worker.

    Parameters
    ----------
    space
        The nodes.
    """

    def __init__(self, space: VospaceService) -> None:
        self._space = space

    def execute(self, job: Job, context: JobContext) -> list[tuple[str, Path, str]]:
        """Move or copy a node, fetch a result into one, or agree on addresses.

        Parameters
        ----------
        job
            A transfer.
        context
            Where the details go.

        Returns
        -------
        list of tuple
            The one result, ``transferDetails``.

        Raises
        ------
        PortalError
            If it cannot be done.
        """
        transfer, identity = read_parameters(list(job.parameters)), owner_of(job)
        endpoints: list[Endpoint] = []
        if transfer.direction == "pullToVoSpace":
            self._space.pull(identity, transfer)
        elif transfer.direction in DIRECTIONS:
            endpoints = self._space.negotiate(identity, transfer)
        else:
            self._space.relocate(identity, transfer)
        path = context.folder / "transfer.xml"
        path.write_bytes(transfer_xml(transfer, endpoints))
        return [("transferDetails", path, "text/xml")]
