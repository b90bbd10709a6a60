"""A line to a server that stops in the middle of one answer until a test lets it go on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["ThrottledLine", "throttled_line"]

_BLOCK_BYTES = 1 << 16


@dataclass
class ThrottledLine:
    """Forwards everything between a port of its own and a server, but holds back the answers to some requests.

    Parameters
    ----------
    server_port
        Port of the server on 127.0.0.1.
    marked
        Words in a request whose answer is held back.
    allowed_bytes
        How much of such an answer passes.
    """

    server_port: int
    marked: bytes
    allowed_bytes: int
    go_on: threading.Event = field(default_factory=threading.Event)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def port(self) -> int:
        """The line's own port."""
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        """Take connections until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.socket()
                # Small, so that what is held back waits in the server and not on the way.
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BLOCK_BYTES)
                server.connect(("127.0.0.1", self.server_port))
                held = threading.Event()
                for work in (self._ask, self._answer):
                    threading.Thread(target=work, args=(client, server, held), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, held: threading.Event) -> None:
        # Both ports have five digits: for the server it looks as if it was asked directly.
        here, there = f"127.0.0.1:{self.port}".encode(), f"127.0.0.1:{self.server_port}".encode()
        assert len(here) == len(there)
        with contextlib.suppress(OSError):
            while data := client.recv(_BLOCK_BYTES):
                if self.marked in data:
                    held.set()
                server.sendall(data.replace(here, there))
            server.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket, held: threading.Event) -> None:
        passed = 0
        with contextlib.suppress(OSError), client, server:
            while data := server.recv(_BLOCK_BYTES):
                if held.is_set():
                    passed += len(data)
                    if passed > self.allowed_bytes:
                        self.go_on.wait(120)
                        held.clear()
                        passed = 0
                client.sendall(data)


@contextlib.contextmanager
def throttled_line(server_port: int, marked: bytes, allowed_bytes: int) -> Iterator[ThrottledLine]:
    """Open a line for the time of a test."""
    line = ThrottledLine(server_port, marked, allowed_bytes)
    threading.Thread(target=line.serve, daemon=True).start()
    try:
        yield line
    finally:
        line.go_on.set()
        line.listener.close()
