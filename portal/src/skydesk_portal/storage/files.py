"""The files of one person: a folder that nothing leads out of, whatever a lab does to it meanwhile.

The person's lab writes the same folder at the same time, so a path that was
checked a moment ago may be a link by now. Every step of a path is therefore
opened from the folder before it, never through a link; links are read and
followed here, as far as they stay inside.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from skydesk_portal.exceptions import (
    FileConflictError,
    FileSpaceError,
    ForbiddenError,
    NotFoundError,
    PortalError,
    UsageError,
)
from skydesk_portal.storage.claims import Claim

__all__ = ["FileFacts", "HomeFolder", "PendingFile", "split_path"]

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST_NAME_BYTES = 255
_LINKS = 16
_HIDDEN = ".skydesk-upload-"
_NO_FILE = "this is a folder, or something else that is no file; WebDAV and VOSpace list folders"

type Parts = tuple[str, ...]


def split_path(path: str) -> Parts:
    """Return the names of a path.

    Parameters
    ----------
    path
        Names with slashes between them.

    Returns
    -------
    tuple of str
        The names; none for the folder itself.

    Raises
    ------
    UsageError
        If it is not spelled plainly.
    """
    parts = tuple(part for part in path.split("/") if part)
    for part in parts:
        if part in {".", ".."} or "\0" in part:
            raise UsageError("a path of a file has no steps like '..'")
        try:
            long = len(part.encode()) > _LONGEST_NAME_BYTES
        except UnicodeEncodeError as error:
            raise UsageError("a path of a file is text in UTF-8") from error
        if long:
            raise UsageError(f"the name of a file has at most {_LONGEST_NAME_BYTES} bytes")
    return parts


@dataclass(frozen=True)
class FileFacts:
    """What is known of a file or folder.

    Parameters
    ----------
    name
        Its name; empty for the home folder itself.
    is_folder
        Whether it is a folder.
    size_bytes
        Length of a file, 0 for a folder.
    modified_s, created_s
        Seconds since 1970 of the last change of content and of attributes.
    inode
        Number in the file system.
    is_link
        Whether a listing found it through a link.
    """

    name: str
    is_folder: bool
    size_bytes: int
    modified_s: float
    created_s: float
    inode: int
    is_link: bool = False

    @property
    def etag(self) -> str:
        """Text that changes with the content."""
        return f"{self.inode:x}-{self.size_bytes:x}-{int(self.modified_s * 1e6):x}"


def _facts(name: str, status: os.stat_result) -> FileFacts:
    folder = stat.S_ISDIR(status.st_mode)
    size = 0 if folder else status.st_size
    return FileFacts(name, folder, size, status.st_mtime, status.st_ctime, status.st_ino)


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the operating system says into our errors."""
    try:
        yield
    except OSError as error:
        raise _translate(error) from error


def _translate(error: OSError) -> PortalError:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return FileSpaceError("there is no space left for this file")
        case errno.ENOENT | errno.ENOTDIR | errno.ELOOP:
            return NotFoundError("there is no such file")
        case errno.EEXIST | errno.ENOTEMPTY | errno.EISDIR | errno.EXDEV | errno.EINVAL | errno.EBUSY:
            return FileConflictError("something else is there already, or the two places do not fit")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return ForbiddenError("the file's own rights do not allow this")
        case _:
            return FileConflictError(f"the file cannot be used: {error.strerror}")


class _Place:
    """A name in an open folder.

    Parameters
    ----------
    folder
        Descriptor of the folder.
    name
        The name in it; ``.`` for the home folder itself.
    status
        What is there, `None` for nothing.
    """

    def __init__(self, folder: int, name: str, status: os.stat_result | None) -> None:
        self.folder, self.name, self.status = folder, name, status

    def existing(self) -> os.stat_result:
        """Return what is there."""
        if self.status is None:
            raise NotFoundError("there is no such file")
        return self.status

    def own(self) -> str:
        """Return the name of something that can be changed: not the home folder itself."""
        if self.name == ".":
            raise ForbiddenError("the home folder itself stays")
        return self.name


class PendingFile:
    """A file that is being written and takes its place only when it is complete.

    Parameters
    ----------
    folder
        Descriptor of the folder it shall stand in; closed in the end.
    name
        Its name.
    mode
        Its rights.
    claim
        Has the space promised that it takes.
    """

    def __init__(self, folder: int, name: str, mode: int, claim: Claim) -> None:
        self._folder, self._name, self._claim = folder, name, claim
        self._temporary: str | None = None
        self.size_bytes = 0
        try:
            # Without a name it vanishes by itself when the process dies.
            self._file = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode, dir_fd=folder)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}:
                raise
            self._temporary = _HIDDEN + secrets.token_hex(8)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.open(self._temporary, flags, mode, dir_fd=folder)

    def write(self, data: bytes) -> int:
        """Append bytes.

        Raises
        ------
        FileSpaceError
            If there is no room for them.
        """
        self._claim.take(self.size_bytes + len(data))
        left = memoryview(data)
        with _told():
            while left:
                left = left[os.write(self._file, left) :]
        self.size_bytes += len(data)
        return len(data)

    def commit(self, *, replace: bool = True) -> None:
        """Put the file into its place, in one step.

        Parameters
        ----------
        replace
            Whether it may take the place of another file.

        Raises
        ------
        FileConflictError
            If a folder has that name by now, or a file that must stay.
        """
        try:
            with _told():
                # The content must be on the disk before the name is.
                os.fdatasync(self._file)
                source = f"/proc/self/fd/{self._file}"
                if not replace:
                    os.link(source, self._name, dst_dir_fd=self._folder, follow_symlinks=True)
                    self._claim.end(self.size_bytes)
                    return
                if self._temporary is None:
                    name = _HIDDEN + secrets.token_hex(8)
                    os.link(source, name, dst_dir_fd=self._folder, follow_symlinks=True)
                    self._temporary = name
                os.rename(self._temporary, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
                self._temporary = None
                self._claim.end(self.size_bytes)
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget what was written; does nothing after `commit`."""
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1
        self._claim.end(None)
        if self._temporary is not None:
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._folder)
        os.close(self._folder)


class HomeFolder:
    """The files below one folder.

    Parameters
    ----------
    root
        The folder; made if it is missing.
    inside
        Where the lab sees it, for absolute links.

    Raises
    ------
    FileConflictError
        If a file stands in its place.
    """

    def __init__(self, root: Path, inside: str) -> None:
        self._root = root
        self._inside = inside
        try:
            root.mkdir(parents=True, mode=0o700, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise FileConflictError(
                f"the home folder {inside} is a file: whoever runs this platform has to move it away"
            ) from error

    def _link_steps(self, folder: int, name: str, stack: list[int]) -> list[str]:
        target = os.readlink(name, dir_fd=folder)
        if target.startswith("/"):
            if target != self._inside and not target.startswith(self._inside + "/"):
                raise ForbiddenError("a link leads out of the home folder")
            target = target[len(self._inside) :]
            while len(stack) > 1:
                os.close(stack.pop())
        return [step for step in reversed(target.split("/")) if step not in {"", "."}]

    @contextmanager
    def _locate(self, parts: Parts, *, follow: bool = True) -> Iterator[_Place]:
        with _told():
            stack = [os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
            try:
                yield self._walk(stack, parts, follow=follow)
            finally:
                for descriptor in stack:
                    os.close(descriptor)

    def _walk(self, stack: list[int], parts: Parts, *, follow: bool) -> _Place:
        todo, links = list(reversed(parts)), 0
        while todo:
            step = todo.pop()
            if step == "..":
                if len(stack) == 1:
                    raise ForbiddenError("a link leads out of the home folder")
                os.close(stack.pop())
                continue
            try:
                status = os.lstat(step, dir_fd=stack[-1])
            except FileNotFoundError:
                if todo:
                    raise
                return _Place(stack[-1], step, None)
            if stat.S_ISLNK(status.st_mode) and (todo or follow):
                links += 1
                if links > _LINKS:
                    raise NotFoundError("too many links follow one another")
                todo += self._link_steps(stack[-1], step, stack)
            elif not todo:
                return _Place(stack[-1], step, status)
            else:
                # Refused if it has become a link in between.
                stack.append(os.open(step, _STEP, dir_fd=stack[-1]))
        return _Place(stack[-1], ".", os.stat(".", dir_fd=stack[-1]))

    def find(self, parts: Parts) -> FileFacts | None:
        """Return what is at a path, `None` for nothing that is served.

        Raises
        ------
        ForbiddenError
            If a link leads out of the home folder.
        """
        try:
            with self._locate(parts) as place:
                status = place.status
        except NotFoundError:
            return None
        if status is None or not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
            return None
        return _facts(parts[-1] if parts else "", status)

    def get(self, parts: Parts) -> FileFacts:
        """Return what is at a path.

        Raises
        ------
        NotFoundError
            If nothing is there.
        """
        found = self.find(parts)
        if found is None:
            raise NotFoundError("there is no such file")
        return found

    def list_names(self, parts: Parts) -> list[str]:
        """Return the names in a folder, sorted; what is not served is left out.

        Raises
        ------
        NotFoundError
            If there is no such folder.
        """
        return [name for name, _ in self._list(parts)]

    def _list(self, parts: Parts) -> list[tuple[str, bool]]:
        """Return the names in a folder, sorted, and whether they are links."""
        with self._locate(parts) as place:
            place.existing()
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            folder = os.open(place.name, flags, dir_fd=place.folder)
            try:
                with os.scandir(folder) as entries:
                    names = [(e.name, e.is_symlink()) for e in entries if self._is_served(e)]
            finally:
                os.close(folder)
        return sorted(names)

    def _is_served(self, entry: os.DirEntry[str]) -> bool:
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            return False
        if entry.name.startswith(_HIDDEN):
            return False
        return (
            entry.is_symlink()
            or entry.is_dir(follow_symlinks=False)
            or (entry.is_file(follow_symlinks=False))
        )

    def list_facts(self, parts: Parts) -> list[FileFacts]:
        """Return what is in a folder, by name; links out of the home folder are left out."""
        found = []
        for name, is_link in self._list(parts):
            with suppress(ForbiddenError, UsageError):
                facts = self.find((*parts, name))
                if facts is not None:
                    found.append(replace(facts, is_link=is_link))
        return found

    def open(self, parts: Parts) -> tuple[BinaryIO, FileFacts]:
        """Open a file for reading.

        Raises
        ------
        NotFoundError
            If nothing is there.
        UsageError
            If it is a folder or something special.
        """
        with self._locate(parts) as place:
            place.existing()
            # Without O_NONBLOCK a named pipe would hold us up for ever.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(place.name, flags, dir_fd=place.folder)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise UsageError(_NO_FILE)
        return os.fdopen(descriptor, "rb"), _facts(parts[-1] if parts else "", status)

    def begin_write(self, parts: Parts, claim: Claim) -> PendingFile:
        """Begin a file, which is visible only when it is complete.

        Parameters
        ----------
        parts
            Its path; its folder must exist.
        claim
            Has the space promised that it takes.

        Returns
        -------
        PendingFile
            Takes the bytes.

        Raises
        ------
        FileConflictError
            If a folder or something special is there.
        NotFoundError
            If there is no folder to put it in.
        """
        with self._locate(parts) as place:
            name, mode = place.own(), 0o644
            if place.status is not None:
                if not stat.S_ISREG(place.status.st_mode):
                    raise FileConflictError(_NO_FILE)
                mode = stat.S_IMODE(place.status.st_mode) & 0o777
            return PendingFile(os.dup(place.folder), name, mode, claim)

    def make_folder(self, parts: Parts) -> None:
        """Make a folder in an existing one.

        Raises
        ------
        FileConflictError
            If something is there.
        """
        with self._locate(parts, follow=False) as place:
            os.mkdir(place.own(), 0o755, dir_fd=place.folder)

    def remove(self, parts: Parts) -> None:
        """Remove a file, a link or a folder with all that is in it; no link is followed.

        Raises
        ------
        NotFoundError
            If nothing is there.
        """
        with self._locate(parts, follow=False) as place:
            name = place.own()
            if stat.S_ISDIR(place.existing().st_mode):
                shutil.rmtree(name, dir_fd=place.folder)
            else:
                os.unlink(name, dir_fd=place.folder)

    def move(self, source: Parts, target: Parts) -> None:
        """Give something another place in the home folder.

        Raises
        ------
        FileConflictError
            If the target lies inside the source, or is a folder that is not empty.
        NotFoundError
            If there is no source, or no folder for the target.
        """
        with self._locate(source, follow=False) as old, self._locate(target, follow=False) as new:
            old.existing()
            os.rename(old.own(), new.own(), src_dir_fd=old.folder, dst_dir_fd=new.folder)

    def set_modified(self, parts: Parts, modified_s: float) -> None:
        """Set when a file was last changed."""
        with self._locate(parts) as place:
            place.existing()
            os.utime(place.name, (modified_s, modified_s), dir_fd=place.folder, follow_symlinks=False)

    def measure_bytes(self) -> int:
        """Return how much the files of the home folder hold, links not followed."""
        total = 0
        for _, _, names, folder in os.fwalk(self._root, follow_symlinks=False):
            for name in names:
                # The lab may have removed it since.
                with suppress(OSError):
                    total += os.lstat(name, dir_fd=folder).st_size
        return total
