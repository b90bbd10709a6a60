"""Code run in a kernel of a person's lab, through the public address, as the browser does."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import httpx
from websockets.sync.client import connect

from support.stack import Stack


class Kernel:
    """A kernel in a lab that runs.

    Parameters
    ----------
    stack
        The platform.
    client
        The person's signed-in client.
    user
        The person.
    """

    def __init__(self, stack: Stack, client: httpx.Client, user: str) -> None:
        self.base = f"/nb/user/{user}"
        client.get(f"{self.base}/lab")
        self.client = client
        self.xsrf = next(
            c.value for c in client.cookies.jar if c.name == "_xsrf" and c.path == f"{self.base}/"
        )
        answer = client.post(
            f"{self.base}/api/kernels", json={"name": "python3"}, headers={"X-XSRFToken": str(self.xsrf)}
        )
        assert answer.status_code == 201, answer.text
        self.id = answer.json()["id"]
        self.stack = ExitStack()
        self.reconnect()

    def reconnect(self) -> None:
        """Open the websocket, again if need be."""
        client = self.client
        request = client.build_request("GET", f"{self.base}/api/kernels/{self.id}/channels")
        address = str(request.url).replace("http://", "ws://")
        headers = {"Cookie": request.headers["cookie"]}
        with suppress(Exception):  # the other end may be gone
            self.stack.close()
        self.socket = self.stack.enter_context(connect(address, additional_headers=headers, max_size=None))

    def run(self, code: str, *, timeout_s: float = 120) -> str:
        """Run code and return what it printed; a Python error in it is raised here."""
        key = uuid.uuid4().hex
        header = {
            "msg_id": key,
            "msg_type": "execute_request",
            "session": "test",
            "username": "",
            "version": "5.3",
        }
        content = {
            "code": code,
            "silent": False,
            "store_history": False,
            "allow_stdin": False,
            "stop_on_error": True,
        }
        message = {
            "header": header,
            "parent_header": {},
            "metadata": {},
            "content": content,
            "channel": "shell",
        }
        self.socket.send(json.dumps(message))
        printed, replied, idle = "", False, False
        deadline = time.monotonic() + timeout_s
        while not (replied and idle):
            got: dict[str, Any] = json.loads(self.socket.recv(timeout=max(0.1, deadline - time.monotonic())))
            if got["parent_header"].get("msg_id") != key:
                continue
            kind, body = got["msg_type"], got["content"]
            if kind == "stream":
                printed += body["text"]
            elif kind == "error":
                raise RuntimeError("\n".join([body["ename"], body["evalue"], *body["traceback"]]))
            replied |= kind == "execute_reply"
            idle |= kind == "status" and body["execution_state"] == "idle"
        return printed

    def close(self) -> None:
        """End the kernel."""
        self.stack.close()
        self.client.delete(f"{self.base}/api/kernels/{self.id}", headers={"X-XSRFToken": str(self.xsrf)})


@contextmanager
def open_kernel(stack: Stack, user: str) -> Iterator[Kernel]:
    """Start a person's lab if needed and open a kernel in it."""
    client = stack.browser(user)
    stack.start_lab(client, user)
    kernel = Kernel(stack, client, user)
    try:
        yield kernel
    finally:
        kernel.close()
        client.close()
