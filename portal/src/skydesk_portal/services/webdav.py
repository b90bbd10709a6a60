"""The files of people as WebDAV resources; the protocol itself is wsgidav's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO
from urllib.parse import unquote

from wsgidav.dav_error import DAVError, PRECONDITION_CODE_PropfindFiniteDepth
from wsgidav.dav_provider import DAVCollection, DAVNonCollection, DAVProvider
from wsgidav.error_printer import ErrorPrinter
from wsgidav.lock_man.lock_storage import LockStorageDict
from wsgidav.request_resolver import RequestResolver
from wsgidav.util import parse_time_string
from wsgidav.wsgidav_app import WsgiDAVApp

from skydesk_portal.exceptions import FileConflictError, NotFoundError, PortalError
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.files import FilesService, media_type_of
from skydesk_portal.storage.davlocks import LockTable
from skydesk_portal.storage.files import FileFacts, PendingFile

__all__ = ["IDENTITY", "make_webdav"]

IDENTITY = "skydesk.identity"
"""Key of the request's environment under which the caller stands."""

_BLOCK_BYTES = 1 << 18
_OWN = " "  # no URI begins with it, which VOSpace's names do
_PROPERTIES, _PROPERTY_BYTES = 100, 16_384

type Environ = dict[str, Any]
type WsgiApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


@contextmanager
def _told() -> Iterator[None]:
    """Turn our errors into those that the protocol knows."""
    try:
        yield
    except PortalError as error:
        raise DAVError(error.status, str(error)) from error


def _caller(environ: Environ) -> Identity:
    identity: Identity = environ[IDENTITY]
    return identity


class _Resource:
    """What files and folders have in common."""

    path: str
    environ: Environ
    facts: FileFacts
    files: FilesService

    def get_creation_date(self) -> float:
        return self.facts.created_s

    def get_last_modified(self) -> float:
        return self.facts.modified_s

    def get_display_name(self) -> str:
        return self.facts.name

    def support_modified(self) -> bool:
        return True

    def support_recursive_move(self, dest_path: str) -> bool:
        return True

    def move_recursive(self, dest_path: str) -> list[Any]:
        with _told():
            self.files.move(_caller(self.environ), self.path, dest_path)
        return []

    def support_recursive_delete(self) -> bool:
        return True

    def delete(self) -> list[Any]:
        with _told():
            self.files.remove(_caller(self.environ), self.path)
        self.remove_all_locks(recursive=True)  # type: ignore[attr-defined]
        return []

    def set_last_modified(self, dest_path: str, time_stamp: Any, *, dry_run: bool) -> bool:
        seconds = time_stamp if isinstance(time_stamp, int) else parse_time_string(time_stamp)
        if seconds is None:
            raise DAVError(400, "this is no date")
        if not dry_run:
            with _told():
                home, parts = self.files.locate(_caller(self.environ), dest_path)
                home.set_modified(parts, seconds)
        return True


class _File(_Resource, DAVNonCollection):
    def __init__(self, path: str, environ: Environ, files: FilesService, facts: FileFacts | None) -> None:
        super().__init__(path, environ)
        self.files = files
        self.facts = facts or FileFacts(path.rsplit("/", 1)[-1], False, 0, 0, 0, 0)
        self._pending: PendingFile | None = None

    def get_content_length(self) -> int:
        return self.facts.size_bytes

    def get_content_type(self) -> str:
        return media_type_of(self.facts.name)

    def get_etag(self) -> str:
        return self.facts.etag

    def support_etag(self) -> bool:
        return True

    def support_ranges(self) -> bool:
        return True

    def get_content(self) -> BinaryIO:
        with _told():
            return self.files.open_for(_caller(self.environ), self.path).stream

    def begin_write(self, *, content_type: str | None = None) -> _Sink:
        length = self.environ.get("CONTENT_LENGTH") or ""
        with _told():
            self._pending = self.files.begin_write(
                _caller(self.environ), self.path, int(length) if length.isdigit() else None
            )
        return _Sink(self._pending)

    def end_write(self, *, with_errors: bool) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        if with_errors:
            pending.discard()
            return
        must_be_new = self.environ.get("HTTP_IF_NONE_MATCH", "").strip() == "*"
        try:
            with _told():
                pending.commit(replace=not must_be_new)
        except DAVError as error:
            if must_be_new and isinstance(error.__cause__, FileConflictError):
                raise DAVError(412, "the file exists by now") from error
            raise
        with _told():
            self.facts = self.files.get(_caller(self.environ), self.path)

    def handle_move(self, dest_path: str) -> bool:
        """Replace a file in one step: what was there must not vanish before the other is in its place."""
        return self._replace(dest_path, lambda: self.move_recursive(dest_path))

    def handle_copy(self, dest_path: str, *, depth_infinity: bool) -> bool:
        """Copy over a file so that the old content stays until the new one is complete."""
        return self._replace(dest_path, lambda: self.copy_move_single(dest_path, is_move=False))

    def _replace(self, dest_path: str, action: Callable[[], object]) -> bool:
        with _told():
            home, target = self.files.locate(_caller(self.environ), dest_path)
            there = home.find(target)
        if there is None or there.is_folder:
            return False
        action()
        return True

    def copy_move_single(self, dest_path: str, *, is_move: bool) -> None:
        identity = _caller(self.environ)
        with _told(), self.files.open_for(identity, self.path) as content:
            self.files.write_all(identity, dest_path, content.stream, content.size_bytes)
            self.files.copy_properties(self.path, dest_path)


class _Sink:
    """What the protocol writes into; closing it does not yet put the file into its place."""

    def __init__(self, pending: PendingFile) -> None:
        self._pending = pending

    def write(self, data: bytes) -> None:
        with _told():
            self._pending.write(data)

    def close(self) -> None:
        """Nothing yet: `_File.end_write` follows."""


class _Folder(_Resource, DAVCollection):
    def __init__(self, path: str, environ: Environ, files: FilesService, facts: FileFacts) -> None:
        super().__init__(path, environ)
        self.files, self.facts = files, facts

    def get_etag(self) -> None:
        return None

    def get_used_bytes(self) -> int:
        with _told():
            return self.files.measure_bytes(_caller(self.environ))

    def get_available_bytes(self) -> int:
        return max(0, self.files.limit_bytes - self.get_used_bytes())

    def get_descendants(self, *, depth: str = "infinity", **wishes: bool) -> list[Any]:
        # Not through links: they can make a tree without end, and what they lead to is not part of this folder.
        found: list[Any] = super().get_descendants(depth="0" if self.facts.is_link else depth, **wishes)
        return found

    def get_member_names(self) -> list[str]:
        return [member.facts.name for member in self.get_member_list()]

    def get_member_list(self) -> list[_File | _Folder]:
        with _told():
            home, parts = self.files.locate(_caller(self.environ), self.path)
            found = home.list_facts(parts)
        base = self.path.rstrip("/")
        return [_resource(f"{base}/{facts.name}", self.environ, self.files, facts) for facts in found]

    def get_member(self, name: str) -> _File | _Folder | None:
        member: _File | _Folder | None = self.provider.get_resource_inst(
            f"{self.path.rstrip('/')}/{name}", self.environ
        )
        return member

    def create_empty_resource(self, name: str) -> _File:
        path = f"{self.path.rstrip('/')}/{name}"
        if self.environ["REQUEST_METHOD"] == "LOCK":
            # Locking a name that is free makes an empty file; PUT makes its file when it is complete.
            with _told():
                self.files.begin_write(_caller(self.environ), path, 0).commit()
                return _File(path, self.environ, self.files, self.files.get(_caller(self.environ), path))
        return _File(path, self.environ, self.files, None)

    def create_collection(self, name: str) -> None:
        with _told():
            home, parts = self.files.locate(_caller(self.environ), f"{self.path.rstrip('/')}/{name}")
            home.make_folder(parts)

    def copy_move_single(self, dest_path: str, *, is_move: bool) -> None:
        if self.facts.is_link:
            return
        with _told():
            home, parts = self.files.locate(_caller(self.environ), dest_path)
            if home.find(parts) is None:
                home.make_folder(parts)
            self.files.copy_properties(self.path, dest_path)


class _Top(DAVCollection):
    """The folder above the home folders, which shows the caller's own only."""

    def get_member_names(self) -> list[str]:
        return [_caller(self.environ).name]

    def get_member(self, name: str) -> Any:
        return self.provider.get_resource_inst(f"/{name}", self.environ)

    def get_etag(self) -> None:
        return None

    def create_empty_resource(self, name: str) -> _File:
        raise DAVError(403, "files lie in the folder of their owner")

    def create_collection(self, name: str) -> None:
        raise DAVError(403, "home folders are made when people are added")

    def delete(self) -> None:
        raise DAVError(403, "the home folder itself stays")

    def support_recursive_delete(self) -> bool:
        return True


def _resource(path: str, environ: Environ, files: FilesService, facts: FileFacts) -> _File | _Folder:
    return (_Folder if facts.is_folder else _File)(path, environ, files, facts)


class _Properties:
    """What clients of WebDAV write about files, kept beside what those of VOSpace write."""

    def __init__(self, files: FilesService) -> None:
        self._files = files

    def _path(self, url: str) -> str:
        path = "/" + unquote(url).strip("/")
        if path == "/":
            raise DAVError(403, "nothing is kept about the folder above the home folders")
        return path

    def _all(self, url: str) -> dict[str, str]:
        if not url.strip("/"):
            return {}
        found = self._files.properties.get_all(self._path(url))
        return {name[1:]: value for name, value in found.items() if name.startswith(_OWN)}

    def get_properties(self, url: str, environ: Environ | None = None) -> list[str]:
        return list(self._all(url))

    def get_property(self, url: str, name: str, environ: Environ | None = None) -> str | None:
        return self._all(url).get(name)

    def write_property(
        self, url: str, name: str, value: bytes, dry_run: bool = False, environ: Environ | None = None
    ) -> None:
        known, path = self._all(url), self._path(url)
        if len(value) > _PROPERTY_BYTES or len(name) > 1000 or len({*known, name}) > _PROPERTIES:
            raise DAVError(507, "too much is written about this file")
        if not dry_run:
            self._files.properties.set_all(path, {_OWN + name: value.decode()})

    def remove_property(
        self, url: str, name: str, dry_run: bool = False, environ: Environ | None = None
    ) -> None:
        if not dry_run:
            self._files.properties.set_all(self._path(url), {_OWN + name: None})

    def remove_properties(self, url: str, environ: Environ | None = None) -> None:
        self._files.properties.remove(self._path(url))

    def copy_properties(self, source: str, target: str, environ: Environ | None = None) -> None:
        self._files.copy_properties(self._path(source), self._path(target))


def _keep_top(method: str, environ: Environ) -> None:
    """Refuse to remove, move, copy or replace the folder above the home folders, and the home folders.

    It shows the caller's own folder only, so that a copy of it would be one of a part.
    """
    steps = environ["PATH_INFO"].strip("/").count("/") if environ["PATH_INFO"].strip("/") else -1
    if method in {"COPY", "DELETE", "MOVE"} and steps < 0:
        raise DAVError(403, "the folder above the home folders stays as it is")
    if method in {"DELETE", "MOVE"} and steps == 0:
        raise DAVError(403, "the home folder itself stays")
    if method in {"COPY", "MOVE"}:
        target = environ.get("HTTP_DESTINATION", "").partition("?")[0].strip("/")
        mount = str(environ.get("wsgidav.config", {}).get("mount_path", "")).strip("/")
        below = target.removeprefix(mount).strip("/")
        if "/" not in below:
            raise DAVError(403, "home folders are not replaced: name a place inside one")


class _Provider(DAVProvider):
    def __init__(self, files: FilesService) -> None:
        super().__init__()
        self._files = files

    def get_resource_inst(self, path: str, environ: Environ) -> Any:
        if not path.strip("/"):
            return _Top("/", environ)
        with _told():
            try:
                home, parts = self._files.locate(_caller(environ), path)
            except NotFoundError:
                return None
            facts = home.find(parts)
        if facts is None:
            return None
        if not parts:
            # The folder's own name in listings.
            facts = FileFacts(_caller(environ).name, True, 0, facts.modified_s, facts.created_s, facts.inode)
        return _resource(path, environ, self._files, facts)

    def custom_request_handler(
        self, environ: Environ, start_response: Callable[..., Any], default_handler: Callable[..., Any]
    ) -> Any:
        method = environ["REQUEST_METHOD"]
        _keep_top(method, environ)
        if method == "PROPFIND":
            # Clients that leave the header out mean the folder at hand, whatever the standard says.
            depth = environ.setdefault("HTTP_DEPTH", "1")
            if depth == "infinity" and self.is_collection(environ["PATH_INFO"], environ):
                # A home folder can hold a million files.
                raise DAVError(
                    403, "ask for Depth 0 or 1", err_condition=PRECONDITION_CODE_PropfindFiniteDepth
                )
        if method == "PUT" and "HTTP_IF_MATCH" in environ and not self.exists(environ["PATH_INFO"], environ):
            raise DAVError(412, "the file does not exist")
        return default_handler(environ, start_response)


class _Locks(LockStorageDict):
    """Keeps locks in a table instead of memory."""

    def __init__(self, table: LockTable) -> None:
        super().__init__()
        self._table = table

    def open(self) -> None:
        self._dict = self._table

    def close(self) -> None:
        """Nothing: every change is kept already."""


def make_webdav(files: FilesService, mount: str, locks: LockTable) -> WsgiApp:
    """Make the WebDAV application.

    Parameters
    ----------
    files
        The files of people.
    mount
        Path that it is served under.
    locks
        The locks that clients hold.

    Returns
    -------
    callable
        A WSGI application; the caller's identity stands in its environment
        under `IDENTITY`.
    """
    app = WsgiDAVApp(
        {
            "mount_path": mount,
            "provider_mapping": {"/": _Provider(files)},
            "middleware_stack": [ErrorPrinter, RequestResolver],
            "http_authenticator": {"accept_basic": False, "accept_digest": False},
            "logging": {"enable": False},
            "verbose": 1,
            "block_size": _BLOCK_BYTES,
            "suppress_version_info": True,
            "honor_mtime_header": True,
            "property_manager": _Properties(files),
            "lock_storage": _Locks(locks),
            "mutable_live_props": ["{DAV:}getlastmodified"],
        }
    )

    def serve(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        identity: Identity = environ["asgi.scope"][IDENTITY]
        environ[IDENTITY] = identity
        environ["wsgidav.auth.user_name"] = identity.name
        answer: Iterable[bytes] = app(environ, start_response)
        return answer

    return serve
