"""Small clients for the sockets of the platform: HTTP over unix sockets or TCP, and the control socket."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skydesk_hub.errors import HubError, NotRunningError, ServiceError

__all__ = ["Answer", "call_supervisor", "request"]


@dataclass(frozen=True)
class Answer:
    """The answer of an HTTP request.

    Parameters
    ----------
    status
        The HTTP status code.
    body
        The body.
    """

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body read as JSON, or None when it is empty."""
        return json.loads(self.body) if self.body else None


async def request(
    target: Path | tuple[str, int],
    method: str,
    path: str,
    *,
    token: str | None = None,
    data: object = None,
    timeout_s: float = 5.0,
) -> Answer:
    """Send one HTTP request and read the whole answer.

    Parameters
    ----------
    target
        A unix socket, or host and port.
    method, path
        The request line.
    token
        Sent as ``Authorization: token …``.
    data
        Sent as a JSON body unless None.
    timeout_s
        Longest time for the whole exchange.

    Returns
    -------
    Answer
        Status and body.

    Raises
    ------
    OSError, TimeoutError
        When nobody answers.
    ServiceError
        When the answer is not HTTP.
    """
    body = b"" if data is None else json.dumps(data).encode()
    head = f"{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    if token:
        head += f"Authorization: token {token}\r\n"
    async with asyncio.timeout(timeout_s):
        if isinstance(target, Path):
            reader, writer = await asyncio.open_unix_connection(str(target))
        else:
            reader, writer = await asyncio.open_connection(*target)
        try:
            writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
            await writer.drain()
            raw = await reader.read()
        finally:
            writer.close()
    top, _, rest = raw.partition(b"\r\n\r\n")
    words = top.split(b" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        raise ServiceError(f"{path}: the answer is not HTTP")
    return Answer(int(words[1]), rest)


def call_supervisor(control_socket: Path, op: str, *, timeout_s: float = 10.0, **arguments: object) -> Any:
    """Ask the running supervisor to do something.

    Parameters
    ----------
    control_socket
        Its private socket.
    op
        The operation.
    timeout_s
        Longest time to wait for the answer.
    **arguments
        Arguments of the operation.

    Returns
    -------
    Any
        The operation's result.

    Raises
    ------
    NotRunningError
        When no supervisor listens.
    HubError
        What the supervisor refused, with its code.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        try:
            client.connect(str(control_socket))
            client.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
            with client.makefile("rb") as lines:
                line = lines.readline()
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunningError(
                f"{control_socket.parent.parent}: skydesk is not running (start it: skydesk up)"
            ) from error
        except TimeoutError as error:
            raise ServiceError(f"the supervisor did not answer {op!r} within {timeout_s:g} s") from error
        except PermissionError as error:
            raise NotRunningError(f"{control_socket}: only the platform's account may use it") from error
    if not line:
        raise NotRunningError(f"{control_socket.parent.parent}: skydesk has just stopped")
    answer = json.loads(line)
    if "error" in answer:
        refused = HubError(answer["error"])
        refused.code = answer["code"]  # type: ignore[misc]  # the code travels with the message
        raise refused
    return answer["result"]
