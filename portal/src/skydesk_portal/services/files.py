"""The files of people: whose they are, where they are found, how much they may hold."""

from __future__ import annotations

import mimetypes
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import unquote, urlsplit

from skydesk_portal.exceptions import ForbiddenError, NotFoundError
from skydesk_portal.models.identity import Identity
from skydesk_portal.storage.claims import Claim, ClaimStore
from skydesk_portal.storage.files import FileFacts, HomeFolder, PendingFile, split_path
from skydesk_portal.storage.vospace import NodePropertyStore

__all__ = ["AUTHORITY", "SCOPE", "FileContent", "FilesService", "media_type_of", "plain_path"]

SCOPE = "write:files"
"""The scope that reading and writing one's own files takes; it is the only one, as on the RSP."""

AUTHORITY = "skydesk!files"
"""Authority of the ``vos://`` addresses of files."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
_MEASURE_S = 60.0
_BLOCK_BYTES = 1 << 18
_TYPES = {".vot": "application/x-votable+xml", ".parquet": "application/vnd.apache.parquet",
          ".fits": "application/fits", ".ipynb": "application/x-ipynb+json", ".md": "text/markdown"}  # fmt: skip
_HTTP_PREFIXES = ("/files/", "/api/files/content/", "/api/files/nodes/", "/api/files/")


def plain_path(path: str) -> str:
    """Return a path with one slash before each name and none at the end.

    Raises
    ------
    UsageError
        If it is not spelled plainly.
    """
    return "/" + "/".join(split_path(path))


def media_type_of(name: str) -> str:
    """Return the media type that the name of a file suggests."""
    known = _TYPES.get(Path(name).suffix.lower())
    return known or mimetypes.guess_type(name)[0] or "application/octet-stream"


@dataclass
class FileContent:
    """An open file.

    Parameters
    ----------
    stream
        Its bytes, seekable.
    facts
        What is known of it.
    """

    stream: BinaryIO
    facts: FileFacts

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.facts.name

    @property
    def size_bytes(self) -> int:
        """Its length."""
        return self.facts.size_bytes

    @property
    def media_type(self) -> str:
        """The media type that its name suggests."""
        return media_type_of(self.facts.name)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.stream.close()


class FilesService:
    """Opens and changes the files of people.

    A path is ``/NAME/…``: the first step is the person, what follows lies in
    the person's home folder, the one that the lab shows.

    Parameters
    ----------
    users
        The folder with one folder per user.
    limit_bytes
        How much the home folder of one user may hold.
    url
        Public base address.
    properties
        What people wrote about their files.
    claims
        What files on their way have been promised.
    measure_more
        Tells how many bytes a person keeps elsewhere that count as files of theirs, by their name.
    """

    def __init__(
        self,
        users: Path,
        limit_bytes: int,
        url: str,
        properties: NodePropertyStore,
        claims: ClaimStore,
        measure_more: Callable[[str], int] | None = None,
    ) -> None:
        self._users = users
        self.properties = properties
        self.limit_bytes = limit_bytes
        self._url = url
        self._lock = threading.Lock()
        self._used: dict[str, tuple[float, int]] = {}
        self.claims = claims
        self.measure_more = measure_more or (lambda _name: 0)

    def check_scope(self, identity: Identity) -> None:
        """Refuse a token that may not touch files.

        Raises
        ------
        ForbiddenError
            If it lacks the scope.
        """
        if SCOPE not in identity.scopes:
            raise ForbiddenError(f"the token does not have the scope {SCOPE}")

    def find_path(self, address: str) -> str | None:
        """Return the path of the file that an address of this platform names.

        Parameters
        ----------
        address
            ``vos://skydesk!files/NAME/…``, ``vos:NAME/…`` or an address below
            ``/files/`` or ``/api/files/`` of this platform.

        Returns
        -------
        str or None
            ``/NAME/…``; `None` if it is no address of a file.
        """
        if address.startswith("vos://"):
            authority, slash, rest = address.removeprefix("vos://").partition("/")
            if authority.replace("~", "!") != AUTHORITY or not slash:
                return None
            return "/" + unquote(rest.partition("?")[0])
        if address.startswith("vos:"):
            return "/" + unquote(address.removeprefix("vos:").lstrip("/"))
        try:
            own, given = urlsplit(self._url), urlsplit(address)
        except ValueError:  # an address that is none, such as "http://[x"
            return None
        if (given.scheme, given.netloc) != (own.scheme, own.netloc):
            return None
        path = given.path.removeprefix(own.path)
        for prefix in _HTTP_PREFIXES:
            if path.startswith(prefix):
                return "/" + unquote(path.removeprefix(prefix))
        return None

    def locate(self, identity: Identity, path: str) -> tuple[HomeFolder, tuple[str, ...]]:
        """Return the home folder and the names below it that a path means.

        Raises
        ------
        NotFoundError
            If the path is not the caller's.
        UsageError
            If it is not spelled plainly.
        """
        owner, *rest = split_path(path) or ("",)
        if owner != identity.name:
            # The same words whether the other person exists or not.
            raise NotFoundError("there is no such file, or it is not yours")
        return self.open_home(identity), tuple(rest)

    def open_home(self, identity: Identity) -> HomeFolder:
        """Return the home folder of a person.

        Raises
        ------
        NotFoundError
            If the name is none of a person.
        """
        if not _NAME.match(identity.name):
            raise NotFoundError("there is no home folder of that name")
        return HomeFolder(self._users / identity.name / "home", f"/home/{identity.name}")

    def get(self, identity: Identity, path: str) -> FileFacts:
        """Return what is at a path.

        Raises
        ------
        NotFoundError
            If nothing is there, or it is another's.
        """
        home, parts = self.locate(identity, path)
        return home.get(parts)

    def open_for(self, identity: Identity, path: str) -> FileContent:
        """Open a file for reading.

        Parameters
        ----------
        identity
            The caller; the scope has been checked when the request came in.
        path
            ``/NAME/…``.

        Returns
        -------
        FileContent
            The open file.

        Raises
        ------
        NotFoundError
            If there is none, or it is another's.
        UsageError
            If it is a folder or something special.
        """
        home, parts = self.locate(identity, path)
        return FileContent(*home.open(parts))

    def begin_write(self, identity: Identity, path: str, size_bytes: int | None = None) -> PendingFile:
        """Begin a file that is visible only when it is complete.

        Parameters
        ----------
        identity
            The caller.
        path
            ``/NAME/…``.
        size_bytes
            Its length, if the caller has told.

        Returns
        -------
        PendingFile
            Takes the bytes.

        Raises
        ------
        FileSpaceError
            If it does not fit into the quota.
        """
        home, parts = self.locate(identity, path)
        claim = self.claim(identity)
        claim.take(size_bytes or 0)
        try:
            return home.begin_write(parts, claim)
        except BaseException:
            claim.end(None)
            raise

    def claim(self, identity: Identity) -> Claim:
        """Return what has space in the quota of a person promised, for a file on its way."""
        name = secrets.token_hex(12)
        return Claim(
            lambda wanted: self._promise(identity, name, wanted),
            lambda size: self.claims.end(name, size),
        )

    def _promise(self, identity: Identity, name: str, wanted_bytes: int) -> bool:
        for fresh in (False, True):
            measured_s, used = self._measure(identity, fresh=fresh)
            free = self.limit_bytes - used
            if self.claims.set(name, identity.name, wanted_bytes, free, measured_s):
                return True
        return False

    def write_all(self, identity: Identity, path: str, source: BinaryIO, size_bytes: int) -> None:
        """Write a whole file from an open one.

        Raises
        ------
        FileSpaceError
            If it does not fit.
        """
        pending = self.begin_write(identity, path, size_bytes)
        try:
            shutil.copyfileobj(source, pending, _BLOCK_BYTES)
            pending.commit()
        finally:
            pending.discard()

    def remove(self, identity: Identity, path: str) -> None:
        """Remove a file, or a folder with all that is in it, and what was written about it.

        Raises
        ------
        NotFoundError
            If nothing is there.
        """
        home, parts = self.locate(identity, path)
        home.remove(parts)
        self.note_change(identity)
        self.properties.remove(plain_path(path))

    def move(self, identity: Identity, source: str, target: str) -> None:
        """Give something another place; what was written about it follows.

        Raises
        ------
        FileConflictError
            If the target lies inside the source, or is a folder that is not empty.
        NotFoundError
            If there is no source, or no folder for the target.
        """
        home, old = self.locate(identity, source)
        _, new = self.locate(identity, target)
        home.move(old, new)
        self.properties.move(plain_path(source), plain_path(target))

    def copy_properties(self, source: str, target: str) -> None:
        """Let a copy have what was written about the original."""
        self.properties.remove(plain_path(target))
        self.properties.set_all(plain_path(target), self.properties.get_all(plain_path(source)))

    def measure_bytes(self, identity: Identity) -> int:
        """Return how much counts in the quota of a person: the home folder and uploaded images, at most a minute old."""
        return self._measure(identity, fresh=False)[1]

    def _measure(self, identity: Identity, *, fresh: bool) -> tuple[float, int]:
        """Return when a home folder was measured (Unix time), and how much it held."""
        with self._lock:
            known = self._used.get(identity.name)
        if known is not None and not fresh and known[0] > time.time() - _MEASURE_S:
            return known
        # What is complete by now is seen; what is completed meanwhile counts as a promise.
        begun = time.time()
        total = self.open_home(identity).measure_bytes() + self.measure_more(identity.name)
        found = (begun, total)
        with self._lock:
            self._used[identity.name] = found
        return found

    def note_change(self, identity: Identity) -> None:
        """Remember that files have to be measured anew."""
        with self._lock:
            self._used.pop(identity.name, None)
