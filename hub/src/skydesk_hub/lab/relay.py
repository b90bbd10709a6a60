"""The only way in and out of a lab: two halves of a relay over unix sockets, standard library only.

The outside half is the process the hub tracks and the parent of the sandbox.
It carries the lab's public port to ``out/lab.sock``, which the sandbox makes,
and ``in/web.sock`` to the public proxy, for an allow-list of paths only. It
watches the lab's memory, and it ends when the supervisor's lifeline breaks.
The inside half does the same the other way round and starts the server.

Run as a file: ``python relay.py outside SPEC.json`` or ``relay.py inside SPEC.json``.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import re
import signal
import stat
import sys
from typing import Any
from urllib.parse import unquote

BUFFER = 1 << 16
HEAD_LIMIT = 1 << 16
PR_SET_PDEATHSIG = 1
PAGE = os.sysconf("SC_PAGE_SIZE")
HOP_HEADERS = (b"connection", b"keep-alive", b"proxy-connection")


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until the source ends, then pass the end on.

    Parameters
    ----------
    reader, writer
        Source and sink.
    """
    try:
        while data := await reader.read(BUFFER):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except (ConnectionError, RuntimeError, OSError):
        writer.close()


async def join(
    first: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    second: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Copy both ways between two connections until both ended.

    Parameters
    ----------
    first, second
        The connections.
    """
    await asyncio.gather(pump(first[0], second[1]), pump(second[0], first[1]))
    for _, writer in (first, second):
        writer.close()


async def open_real_socket(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a unix socket that a lab has made, never through a link.

    The lab can replace its socket by a link to a socket of somebody else;
    followed from outside, that would lead to the other one.

    Parameters
    ----------
    path
        The socket.

    Raises
    ------
    ConnectionError
        When it is not a socket itself.
    """
    handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(handle).st_mode):
            raise ConnectionError(f"{path} is not a socket")
        return await asyncio.open_unix_connection(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def is_allowed(target: str, allowed: list[str]) -> bool:
    """Say whether a request's target lies below an allowed path, spelled plainly.

    Parameters
    ----------
    target
        The target of the request line.
    allowed
        Path prefixes without a slash at the end.
    """
    path = unquote(target.split("?", 1)[0].split("#", 1)[0])
    if not path.startswith("/") or "\\" in path or "//" in path or ("%" in path and ".." in unquote(path)):
        return False
    if any(part in (".", "..") for part in path.split("/")) or any(
        ord(c) < 33 or ord(c) == 127 for c in path.replace(" ", "")
    ):
        return False
    return any(path == prefix or path.startswith(prefix + "/") for prefix in allowed)


async def read_head(reader: asyncio.StreamReader) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Read the head of one HTTP request.

    Parameters
    ----------
    reader
        The client.

    Returns
    -------
    tuple
        The request line and the headers, names in lower case.

    Raises
    ------
    ValueError
        When it is not plain HTTP/1.x.
    """
    raw = await reader.readuntil(b"\r\n\r\n")
    line, *rest = raw[:-4].split(b"\r\n")
    headers = []
    for entry in rest:
        name, colon, value = entry.partition(b":")
        if (
            not colon
            or not re.fullmatch(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name)
            or b"\n" in value
            or b"\r" in value
        ):
            raise ValueError("bad header")
        headers.append((name.lower(), value.strip()))
    if b"\n" in line or len(line.split(b" ")) != 3:
        raise ValueError("bad request line")
    return line, headers


async def copy_body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: list[tuple[bytes, bytes]]
) -> None:
    """Copy exactly the body that the headers announce, so that nothing can ride behind it.

    Parameters
    ----------
    reader, writer
        Client and server.
    headers
        Of the request.
    """
    lengths = [value for name, value in headers if name == b"content-length"]
    if any(name == b"transfer-encoding" for name, _ in headers):
        while True:
            size = await reader.readuntil(b"\r\n")
            count = int(size.split(b";")[0].strip(), 16)
            writer.write(size + await reader.readexactly(count + 2))
            await writer.drain()
            if count == 0:
                return
    left = int(lengths[0]) if lengths else 0
    while left > 0:
        data = await reader.read(min(BUFFER, left))
        if not data:
            return
        left -= len(data)
        writer.write(data)
        await writer.drain()


def check_framing(headers: list[tuple[bytes, bytes]]) -> None:
    """Refuse a request whose body could be read in two ways.

    Parameters
    ----------
    headers
        Of the request.

    Raises
    ------
    ValueError
        When the length is unclear.
    """
    names = [name for name, _ in headers]
    lengths = names.count(b"content-length")
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if (
        lengths > 1
        or len(codings) > 1
        or (lengths and codings)
        or any(c.lower() != b"chunked" for c in codings)
    ):
        raise ValueError("unclear length")
    if any(not v.isdigit() for n, v in headers if n == b"content-length"):
        raise ValueError("bad length")


async def serve_web(spec: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one request of the lab to the public proxy when its path is allowed.

    Parameters
    ----------
    spec
        The lab.
    reader, writer
        The connection from the lab.
    """
    try:
        line, headers = await read_head(reader)
        check_framing(headers)
        _, target, _ = line.decode("ascii").split(" ")
        if not is_allowed(target, spec["allowed"]):
            body = b"this address is not reachable from a lab\n"
            writer.write(
                b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
                + body
            )
            await writer.drain()
            return
        upgrade = any(name == b"upgrade" for name, _ in headers)
        kept = [(n, v) for n, v in headers if n not in HOP_HEADERS]
        kept.append((b"connection", b"Upgrade" if upgrade else b"close"))
        web = await asyncio.open_connection(*spec["web"])
        web[1].write(line + b"\r\n" + b"".join(n + b": " + v + b"\r\n" for n, v in kept) + b"\r\n")
        if upgrade:
            await join((reader, writer), web)
            return
        answer = asyncio.create_task(pump(web[0], writer))
        await copy_body(reader, web[1], headers)
        await answer
        web[1].close()
    except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        writer.transport.abort()
    finally:
        writer.close()


def list_tree(top: int) -> dict[int, int]:
    """Return resident bytes by process id of everything below a process.

    Parameters
    ----------
    top
        The topmost process.
    """
    parents, resident = {}, {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(name)], resident[int(name)] = int(fields[1]), int(fields[21]) * PAGE
    found: dict[int, int] = {}
    todo = [top]
    while todo:
        above = todo.pop()
        below = [pid for pid, parent in parents.items() if parent == above]
        found |= {pid: resident[pid] for pid in below}
        todo += below
    return found


def read_pss(pid: int) -> int:
    """Return the proportional set size of a process in bytes, 0 when it is gone.

    Parameters
    ----------
    pid
        The process.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next((int(line.split()[1]) << 10 for line in file if line.startswith(b"Pss:")), 0)
    except OSError:
        return 0


async def watch_memory(limit: int) -> None:
    """End the largest process of the lab whenever the whole uses more than it may.

    Resident size is cheap and never less than the proportional one, so the
    latter is read only when the former comes near the limit.

    Parameters
    ----------
    limit
        Proportional set size in bytes.
    """
    while True:
        tree = list_tree(os.getpid())
        near = sum(tree.values()) > 0.7 * limit
        if near:
            sizes = {pid: read_pss(pid) for pid in tree}
            if sum(sizes.values()) > limit:
                worst = max(sizes, key=lambda pid: sizes[pid])
                print(f"memory limit: {sum(sizes.values()) >> 20} MiB, ending process {worst}", flush=True)  # noqa: T201  # goes to the lab's log
                os.kill(worst, signal.SIGKILL)
        await asyncio.sleep(0.2 if near else 1.0)


async def run_child(argv: list[str], env: dict[str, str] | None = None) -> int:
    """Run a command that dies with this process, and return its exit status.

    Parameters
    ----------
    argv
        The command.
    env
        Its environment; None for this process's own.
    """

    def die_too() -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    child = await asyncio.create_subprocess_exec(*argv, env=env, preexec_fn=die_too)

    def terminate() -> None:
        if child.returncode is None:
            child.terminate()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, terminate)
    code = await child.wait()
    return code if code >= 0 else 128 - code


async def outside(spec: dict[str, Any]) -> int:
    """Run the outside half.

    Parameters
    ----------
    spec
        ``port``, ``lab`` (socket), ``web_socket``, ``web`` (host, port),
        ``allowed``, ``lifeline``, ``memory_bytes``, ``argv``.

    Returns
    -------
    int
        The sandbox's exit status.
    """

    async def serve_lab(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lab = await open_real_socket(spec["lab"])
        except OSError:
            writer.close()
            return
        await join((reader, writer), lab)

    async def hold_lifeline() -> None:
        reader, _ = await asyncio.open_unix_connection(spec["lifeline"])
        await reader.read()
        os.killpg(0, signal.SIGKILL)

    for path in (spec["lab"], spec["web_socket"]):
        if os.path.lexists(path):
            os.unlink(path)
    await asyncio.start_server(serve_lab, "127.0.0.1", spec["port"])
    await asyncio.start_unix_server(lambda r, w: serve_web(spec, r, w), spec["web_socket"], limit=HEAD_LIMIT)
    tasks = [asyncio.create_task(hold_lifeline()), asyncio.create_task(watch_memory(spec["memory_bytes"]))]
    code = await run_child(spec["argv"])
    for task in tasks:
        task.cancel()
    return code


async def inside(spec: dict[str, Any]) -> int:
    """Run the inside half.

    Parameters
    ----------
    spec
        ``port``, ``web_port``, ``argv``.

    Returns
    -------
    int
        The server's exit status.
    """

    async def serve_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            web = await asyncio.open_unix_connection("/run/sky/in/web.sock")
        except OSError:
            writer.close()
            return
        await join((reader, writer), web)

    async def serve_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lab = await asyncio.open_connection("127.0.0.1", spec["port"])
        except OSError:
            writer.close()
            return
        await join((reader, writer), lab)

    await asyncio.start_server(serve_out, "127.0.0.1", spec["web_port"])
    await asyncio.start_unix_server(serve_in, "/run/sky/out/lab.sock")
    return await run_child(spec["argv"])


if __name__ == "__main__":
    with open(sys.argv[2]) as given:
        wanted = json.load(given)
    sys.exit(asyncio.run({"outside": outside, "inside": inside}[sys.argv[1]](wanted)))
