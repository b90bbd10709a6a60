"""Sending tables while they are being made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

from fastapi.responses import StreamingResponse

from skydesk_portal.services.tap import TapStream

__all__ = ["stream_table"]


def stream_table(stream: TapStream, pool: ThreadPoolExecutor) -> StreamingResponse:
    """Answer with a table that is still being made.

    Parameters
    ----------
    stream
        The running query.
    pool
        Threads that it is read in.

    Returns
    -------
    StreamingResponse
        The answer; the query ends when the caller goes away.
    """
    loop = asyncio.get_running_loop()

    async def chunks() -> AsyncIterator[bytes]:
        source: Iterator[bytes] = stream.chunks()
        complete = False
        try:
            while (chunk := await loop.run_in_executor(pool, next, source, None)) is not None:
                if chunk:
                    yield chunk
            complete = True
        finally:
            if not complete:
                # Nobody needs the rest: stop the engine and give its connection back.
                stream.cancel()
                pool.submit(source.close)  # type: ignore[attr-defined]

    return StreamingResponse(chunks(), media_type=stream.media_type)
