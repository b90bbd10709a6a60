"""Sending tables while they are being made, and files that were made before, compressed where that helps."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from skydesk_portal.api.turns import Turn
from skydesk_portal.exceptions import QueryTimeoutError
from skydesk_portal.services.tap_stream import TableStream

__all__ = ["accepts_gzip", "open_table", "send_file", "stream_table"]

_LEVEL = 1
"""Base64 of numbers gets no smaller with more effort, only slower."""

_PART_BYTES = 1 << 18
_LOOK_S = 0.5


def accepts_gzip(request: Request) -> bool:
    """Tell whether the client takes gzip (RFC 9110, section 12.5.3) and gains by it.

    A client on this machine gets the answer sooner as it is: packing takes longer than sending.
    """
    if _is_near(request):
        return False
    best = 0.0
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, parameters = part.strip().partition(";")
        if name.strip() in {"gzip", "x-gzip", "*"}:
            found = re.search(r"q=([\d.]+)", parameters)
            try:
                quality = float(found[1]) if found else 1.0
            except ValueError:
                quality = 0.0
            if name.strip() != "*":
                return quality > 0
            best = max(best, quality)
    return best > 0


def _is_near(request: Request) -> bool:
    address = (request.headers.get("x-forwarded-for") or "").split(",")[0].strip()
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback
    return False


def _squeeze(chunks: Generator[bytes]) -> Generator[bytes]:
    packer = zlib.compressobj(_LEVEL, wbits=31)
    try:
        for chunk in chunks:
            # An answer begins with its first byte: nothing must come out before something went in.
            if chunk:
                yield packer.compress(chunk)
        yield packer.flush()
    finally:
        chunks.close()


class _Reader:
    """Reads a table in threads, one part at a time, and gives up when nobody wants the rest."""

    def __init__(self, stream: TableStream, pool: ThreadPoolExecutor, *, packed: bool) -> None:
        self._stream = stream
        self._pool = pool
        self._source = _squeeze(stream.chunks()) if packed else stream.chunks()
        self._pending: Future[bytes | None] | None = None

    async def next_part(self, gone: Callable[[], Awaitable[bool]] | None = None) -> bytes | None:
        """Return the next part that is not empty, `None` after the last."""
        while True:
            self._pending = self._pool.submit(next, self._source, None)
            waiting = asyncio.wrap_future(self._pending)
            while gone is not None and not waiting.done():
                await asyncio.wait({waiting}, timeout=_LOOK_S)
                if not waiting.done() and await gone():
                    raise QueryTimeoutError("the client has gone")
            part = await waiting
            if part is None or part:
                return part

    def leave(self) -> None:
        """Stop the engine and give back what it holds; nobody needs the rest."""
        self._stream.cancel()
        self._pool.submit(self._close)

    def _close(self) -> None:
        if self._pending is not None:
            wait([self._pending])
        self._source.close()


async def open_table(
    request: Request,
    pool: ThreadPoolExecutor,
    opener: Callable[[Callable[[Callable[[], None]], None]], TableStream],
) -> TableStream:
    """Start a query in a thread, and stop it if the client goes away before its first rows.

    Parameters
    ----------
    request
        What is answered.
    pool
        The threads.
    opener
        Starts the query; given where to leave what stops it.

    Returns
    -------
    TableStream
        The table, ready to be sent.

    Raises
    ------
    QueryTimeoutError
        If the client has gone.
    """
    stops: list[Callable[[], None]] = []
    gone = False

    def register(stop: Callable[[], None]) -> None:
        stops.append(stop)
        if gone:
            stop()

    def drop(done: Future[TableStream]) -> None:
        if not done.cancelled() and done.exception() is None:
            _Reader(done.result(), pool, packed=False).leave()

    pending = pool.submit(opener, register)
    waiting = asyncio.wrap_future(pending)
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=_LOOK_S)
            if not waiting.done() and await request.is_disconnected():
                raise QueryTimeoutError("the client has gone")
        return await waiting
    except (QueryTimeoutError, asyncio.CancelledError):
        if not pending.done():
            gone = True
            pending.cancel()
            for stop in stops:
                stop()
            pending.add_done_callback(drop)
        raise


async def stream_table(request: Request, stream: TableStream, pool: ThreadPoolExecutor) -> Response:
    """Answer with a table that is still being made.

    The first part is awaited before the answer begins: what fails until then has its own status.
    The query ends when the client goes away.

    Parameters
    ----------
    request
        What is answered.
    stream
        The table.
    pool
        Threads that it is read in.

    Returns
    -------
    Response
        The answer.
    """
    packed = stream.form.compresses and accepts_gzip(request)
    reader = _Reader(stream, pool, packed=packed)
    try:
        first = await reader.next_part(request.is_disconnected)
    except BaseException:
        reader.leave()
        raise

    async def parts() -> AsyncIterator[bytes]:
        complete = False
        try:
            part = first
            with Turn(request.app.state.turns) as turn:
                while part is not None:
                    turn.begin_sending()
                    yield part
                    await turn.has_sent(len(part))
                    part = await reader.next_part()
            complete = True
        finally:
            if not complete:
                reader.leave()

    headers = dict(stream.headers)
    if stream.form.compresses:
        headers["Vary"] = "Accept-Encoding"
    if packed:
        headers["Content-Encoding"] = "gzip"
    return StreamingResponse(parts(), media_type=stream.media_type, headers=headers)


def send_file(
    request: Request, path: Path, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with a file, compressed on the way if the client takes that and it helps.

    Parameters
    ----------
    request
        What is answered.
    path
        The file.
    media_type
        Its media type.
    headers
        Further headers.

    Returns
    -------
    Response
        The answer; parts (Range) are sent as they lie in the file.
    """
    more = dict(headers or {})
    if not media_type.startswith(("application/x-votable", "text/", "application/json")):
        return FileResponse(path, media_type=media_type, headers=more)
    more["Vary"] = "Accept-Encoding"
    if "range" in request.headers or not accepts_gzip(request):
        return FileResponse(path, media_type=media_type, headers=more)
    # Opened at once: the file may be removed before the answer begins.
    file = path.open("rb")

    def parts() -> Generator[bytes]:
        with file:
            while part := file.read(_PART_BYTES):
                yield part

    more["Content-Encoding"] = "gzip"
    return StreamingResponse(_squeeze(parts()), media_type=media_type, headers=more)
