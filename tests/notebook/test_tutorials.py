"""Every tutorial runs from top to bottom inside a real lab: sandbox, token, addresses and Butler label included."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.support.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = sorted(path.name for path in (ROOT / "tutorials").glob("*.ipynb"))
LIMIT_S = 240

# Runs in the page of the lab: starts a kernel there, as a notebook does, and returns what the code printed.
RUN_IN_KERNEL = """
async ([base, code, limit_s]) => {
  const xsrf = (document.cookie.match(/_xsrf=([^;]+)/) || ['', ''])[1];
  const headers = {'X-XSRFToken': xsrf, 'Content-Type': 'application/json'};
  const made = await fetch(`${base}api/kernels`, {method: 'POST', headers, body: JSON.stringify({name: 'python3'})});
  if (!made.ok) throw new Error(`no kernel: ${made.status} ${await made.text()}`);
  const kernel = await made.json();
  const socket = new WebSocket(`${location.origin.replace('http', 'ws')}${base}api/kernels/${kernel.id}/channels`);
  try {
    return await new Promise((resolve, reject) => {
      const id = crypto.randomUUID();
      const output = [];
      const timer = setTimeout(() => reject(new Error('too slow: ' + output.join(''))), 1000 * limit_s);
      socket.onerror = () => reject(new Error('the connection to the kernel failed'));
      socket.onclose = () => reject(new Error('the connection to the kernel ended: ' + output.join('')));
      socket.onopen = () => socket.send(JSON.stringify({
        channel: 'shell', parent_header: {}, metadata: {}, buffers: [],
        header: {msg_id: id, msg_type: 'execute_request', username: '', session: id, version: '5.3', date: ''},
        content: {code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false}
      }));
      socket.onmessage = event => {
        const message = JSON.parse(event.data);
        if (message.parent_header.msg_id !== id) return;
        const kind = message.header.msg_type;
        if (kind === 'stream') output.push(message.content.text);
        if (kind === 'error') output.push(message.content.traceback.join('\\n'));
        if (kind === 'status' && message.content.execution_state === 'idle') {
          clearTimeout(timer);
          resolve(output.join(''));
        }
      };
    });
  } finally {
    socket.onclose = null;
    socket.close();
    await fetch(`${base}api/kernels/${kernel.id}`, {method: 'DELETE', headers});
  }
}
"""

EXECUTE = """
import json, os, pathlib, nbformat
from nbclient import NotebookClient
folder = pathlib.Path.home() / "notebooks" / "tutorials"
notebook = nbformat.read(folder / {name!r}, as_version=4)
NotebookClient(notebook, timeout={limit_s}, kernel_name="python3").execute(cwd=str(pathlib.Path.home()))
outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
print("RESULT " + json.dumps({{
    "home": str(pathlib.Path.home()),
    "pictures": sum("image/png" in output.get("data", {{}}) for output in outputs),
    "texts": [output["text"] for output in outputs if output.output_type == "stream" and output.name == "stdout"],
}}))
"""


@pytest.fixture
def lab_page(signed_in_page: Page, running_stack: Stack) -> Page:
    # A workspace of its own: in the usual one JupyterLab opens what other tests left open, not the launcher.
    signed_in_page.goto(f"{running_stack.url}/nb/hub/user-redirect/lab/workspaces/tutorials?reset")
    signed_in_page.wait_for_url(re.compile(r"/nb/user/tester/lab"), timeout=120_000)
    signed_in_page.locator(".jp-Launcher").first.wait_for(timeout=120_000)
    return signed_in_page


def _run(page: Page, code: str) -> str:
    page.set_default_timeout(1000 * LIMIT_S)
    return str(page.evaluate(RUN_IN_KERNEL, ["/nb/user/tester/", code, LIMIT_S]))


@pytest.mark.requirement("DMS-NB-REQ-0014")
@pytest.mark.requirement("DMS-LSP-REQ-0003")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_runs_in_a_lab(lab_page: Page, name: str) -> None:
    printed = _run(lab_page, EXECUTE.format(name=name, limit_s=LIMIT_S))
    assert printed.startswith("RESULT ") or "\nRESULT {" in printed, printed[-6000:]
    result = json.loads(printed.split("RESULT ")[-1])
    assert result["home"] == "/home/tester"
    assert result["pictures"] >= 2
    assert result["texts"]


@pytest.mark.timeout(300)
def test_the_client_of_the_lab_gets_rows_light_curve_and_cutout(lab_page: Page) -> None:
    code = """
from skydesk_lab.client import Platform
platform = Platform()
brightest = platform.query(
    "SELECT TOP 1 objectId, coord_ra, coord_dec "
    f"FROM {platform.release}.Object WHERE r_psfFlux > 0 ORDER BY r_psfFlux DESC"
)[0]
curve = platform.light_curve(brightest["objectId"])
assert len(curve) > 3 and (curve["flux_err_njy"] > 0).all(), curve
assert (curve["mjd"][1:] >= curve["mjd"][:-1]).all()
stamp = platform.cutout(float(brightest["coord_ra"]), float(brightest["coord_dec"]), radius_arcsec=5)
shapes = [hdu.data.shape for hdu in stamp if hdu.data is not None and getattr(hdu.data, "ndim", 0) == 2]
assert shapes and all(40 < side < 70 for side in shapes[0]), shapes
print("RESULT", len(curve), shapes[0])
"""
    printed = _run(lab_page, code)
    assert printed.startswith("RESULT"), printed[-4000:]
