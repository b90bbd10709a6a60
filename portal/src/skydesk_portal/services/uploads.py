"""Tables that come with a query: sent along, a result of an own job, or an own file. No other address is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO

from skydesk_portal.exceptions import TooLargeError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tap import TapRequest, list_uploads
from skydesk_portal.services.files import FilesService
from skydesk_portal.services.jobs import JobService
from skydesk_portal.vo.uploads import UploadedTable, read_upload

__all__ = ["UploadService"]

_RESULT = re.compile(
    r"/api/(tap/async|tap/table-update|cutout/(async|jobs|bulk)|batch)/(?P<job>[a-z0-9]+)/results/(?P<result>[\w.-]+)\Z"
)


class UploadService:
    """Finds and reads what UPLOAD names.

    Parameters
    ----------
    jobs
        Jobs, whose results may be used again.
    files
        Files of people.
    limit_bytes
        Largest table taken.
    url
        Public base address.
    """

    def __init__(self, jobs: JobService, files: FilesService, limit_bytes: int, url: str) -> None:
        self._jobs = jobs
        self._files = files
        self.limit_bytes = limit_bytes
        self._url = url

    def check(self, identity: Identity, parameters: Iterable[tuple[str, str]]) -> None:
        """Refuse sources that the caller's token may not use; a job's worker cannot tell any more.

        Raises
        ------
        ForbiddenError
            If a file is named and the token may not read files.
        UsageError
            If an address is none of this platform.
        """
        for name, source in list_uploads(parameters):
            if not source.lower().startswith("param:"):
                self._check_address(identity, f"UPLOAD {name}", source)

    def read_all(
        self, identity: Identity, request: TapRequest, files: Mapping[str, bytes]
    ) -> list[UploadedTable]:
        """Read the tables of a request.

        Parameters
        ----------
        identity
            The caller.
        request
            What is asked.
        files
            Parts sent along, by name.

        Returns
        -------
        list of UploadedTable
            One for each name.

        Raises
        ------
        UsageError
            If a source is missing, foreign or no table.
        NotFoundError
            If it is not the caller's.
        """
        out: list[UploadedTable] = []
        for name, source in request.uploads:
            if any(name.lower() == other.name.lower() for other in out):
                raise UsageError(f"UPLOAD: two tables are called {name[:60]}")
            if source.lower().startswith("param:"):
                content = files.get(source[6:], files.get(re.sub(r"\W", "_", source[6:])))
                if content is None:
                    raise UsageError(f"UPLOAD {name}: the request has no part called {source[6:][:40]}")
            else:
                content = self.read_address(identity, f"UPLOAD {name}", source)
            out.append(read_upload(name, content, self.limit_bytes))
        return out

    def read_address(self, identity: Identity, what: str, address: str) -> bytes:
        """Read a result of one of the caller's jobs, or one of the caller's files.

        Parameters
        ----------
        identity
            The caller.
        what
            What it is for, for error messages.
        address
            Where it is, on this platform.

        Returns
        -------
        bytes
            The whole file.

        Raises
        ------
        UsageError
            If the address is none of this platform.
        NotFoundError
            If there is nothing, or it is another's.
        TooLargeError
            If it is larger than a table may be.
        """
        with self.open_address(identity, what, address) as (_, _, stream):
            content = stream.read(self.limit_bytes + 1)
        if len(content) > self.limit_bytes:
            raise TooLargeError(f"{what}: the file is larger than the {self.limit_bytes} bytes taken")
        return content

    def is_here(self, address: str) -> bool:
        """Tell whether an address is one of this platform, good or not."""
        return address.startswith((self._url + "/", "/", "vos:"))

    @contextmanager
    def open_address(
        self, identity: Identity, what: str, address: str
    ) -> Iterator[tuple[str, int, BinaryIO]]:
        """Open a result of one of the caller's jobs, or one of the caller's files.

        Parameters
        ----------
        identity, what, address
            As for `read_address`.

        Returns
        -------
        context manager
            Name, size in bytes, and the bytes.

        Raises
        ------
        UsageError
            If the address is none of this platform.
        NotFoundError
            If there is nothing, or it is another's.
        """
        path = self._check_address(identity, what, address)
        if path is not None:
            with self._files.open_for(identity, path) as file:
                yield file.name, file.size_bytes, file.stream
            return
        found = self._find_result(address)
        assert found is not None
        result, _ = self._jobs.result_path(identity, found["job"], found["result"])
        with result.open("rb") as stream:
            yield result.name, result.stat().st_size, stream

    def _find_result(self, address: str) -> re.Match[str] | None:
        # Only addresses of this platform: a service that fetches any address can be sent where it must not look.
        if not address.startswith((self._url + "/", "/")):
            return None
        return _RESULT.match(address.removeprefix(self._url))

    def _check_address(self, identity: Identity, what: str, address: str) -> str | None:
        """Return the path of a file, `None` if the address is a result."""
        path = self._files.find_path(address)
        if path is None and self._find_result(address) is None:
            raise UsageError(
                f"{what}: give param:NAME, or the address here of a result of one of your own jobs or of one of your files"
            )
        if path is not None and identity.scopes:
            # In a worker the owner acts without a token; the request that made the job has been looked at.
            self._files.check_scope(identity)
        return path
