"""The api as the process that an operator starts, its memory measured, behind a stand-in for the hub."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from skydesk_portal.models.identity import SCOPES
from tests.support.services import free_port

USER = {
    "kind": "user",
    "name": "ann",
    "groups": ["users"],
    "admin": False,
    "scopes": [f"custom:skydesk:{scope}" for scope in SCOPES],
}


class _Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(USER).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it
        """Say nothing."""


class HeadClient(httpx.Client):
    """Reads whole answers but keeps their beginning only: they may be larger than any memory."""

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        answer = super().send(request, **{**options, "stream": True})
        head = b""
        try:
            for chunk in answer.iter_raw(1 << 20):
                head = head if len(head) > 4000 else head + chunk[:4000]
        finally:
            answer.close()
        return httpx.Response(answer.status_code, content=head)


@dataclass
class ApiProcess:
    """A running api process."""

    url: str
    process: subprocess.Popen[bytes]

    def client(self) -> HeadClient:
        headers = {"Authorization": "Bearer anything", "Accept-Encoding": "identity"}
        return HeadClient(base_url=self.url, headers=headers, timeout=300)

    def read_peak_mb(self) -> float:
        """Return the largest resident size since the start, or since `forget_peak`, in MB (1e6 bytes)."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", text)
        assert found, text
        return int(found[1]) * 1024 / 1e6

    def forget_peak(self) -> None:
        """Begin to measure anew (proc(5), clear_refs)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextlib.contextmanager
def start_api(home: Path) -> Iterator[ApiProcess]:
    """Start the api process of a home folder on a free port; everybody who sends a token is ``ann``."""
    hub = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (home / "run").mkdir(exist_ok=True)
    log = (home / "api.log").open("wb")
    environment = {
        **os.environ,
        "SKYDESK_HOME": str(home),
        "SKYDESK_URL": url,
        "SKYDESK_HUB_API": f"http://127.0.0.1:{hub.server_port}/nb/hub/api",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "skydesk_portal.api", "--port", str(port)],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/api/health").status_code == 200:
                    break
            assert process.poll() is None, (home / "api.log").read_text()[-3000:]
            assert time.monotonic() < deadline, "the api does not get ready"
            time.sleep(0.1)
        yield ApiProcess(url, process)
    finally:
        process.terminate()
        process.wait(timeout=30)
        hub.shutdown()
        hub.server_close()
        log.close()
