"""FITS files by their address: own ones, hosts outside that are allowed, and everything that must not be fetched."""

from __future__ import annotations

import http.server
import io
import json
import threading
from contextlib import closing

import numpy as np
import pytest
from astropy.io import fits
from starlette.testclient import TestClient
from support.portal import make_portal

from skydesk_portal.exceptions import (
    ForbiddenError,
    NotFoundError,
    TooLargeError,
    UpstreamError,
    UsageError,
)
from skydesk_portal.models.identity import SCOPES, Identity
from skydesk_portal.services.fitsaddresses import FitsAddresses, is_public
from skydesk_portal.services.fitsfiles import FitsFiles

URL = "http://testserver"
ANNA = Identity("anna", frozenset(SCOPES))
PIXELS = np.arange(1200 * 700, dtype=np.float32).reshape(700, 1200)


def as_bytes() -> bytes:
    out = io.BytesIO()
    fits.PrimaryHDU(PIXELS).writeto(out)
    return out.getvalue()


class Answers(http.server.BaseHTTPRequestHandler):
    """A host outside, with good and bad answers by path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        port = self.server.server_address[1]
        moved = {
            "/moved": "/deep/m%2031.fits",
            "/inside": f"http://localhost:{port}/deep/m31.fits",
            "/metadata": "http://169.254.169.254/latest/meta-data/",
            "/around": "/around",
            "/file": "file:///etc/passwd",
        }
        if self.path in moved:
            self.send_response(302)
            self.send_header("Location", moved[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = {"/broken.fits": b"<html>", "/huge.fits": b"x"}.get(self.path, as_bytes())
        if self.path == "/gone.fits":
            self.send_error(404)
            return
        self.server.hosts.append(self.headers["Host"])
        self.send_response(200)
        self.send_header("Content-Length", "999999999999" if self.path == "/huge.fits" else str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args):
        """Say nothing."""


@pytest.fixture(scope="module")
def host():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.hosts = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def portal(tmp_path_factory):
    home = tmp_path_factory.mktemp("addresses")
    (home / "releases").mkdir()
    app, factory = make_portal(home, URL)
    with TestClient(app, base_url=URL, headers={"authorization": "Bearer token-of-anna"}) as client:
        yield client, factory
    factory.close()


def files_for(portal, host, tmp_path, **options) -> FitsFiles:
    """Files of people with the host above allowed, as if the loopback were the public internet."""
    name = f"127.0.0.1:{host.server_address[1]}"
    addresses = FitsAddresses(
        portal[1].create_upload_service(), (name,), options.pop("is_allowed", lambda ip: ip == "127.0.0.1")
    )
    return FitsFiles(tmp_path, None, addresses=addresses, **options)


def fetch(files: FitsFiles, address: str) -> list[dict]:
    with closing(files.fetch(ANNA, address)) as steps:
        return list(steps)


def test_an_allowed_host_gives_its_file_with_progress_also_after_a_redirection(portal, host, tmp_path):
    files = files_for(portal, host, tmp_path)
    base = f"http://127.0.0.1:{host.server_address[1]}"
    steps = fetch(files, f"{base}/moved")
    size = len(as_bytes())
    assert steps[0] == {"received": 0, "total": size}
    assert [s["received"] for s in steps[:-1]] == sorted(s["received"] for s in steps[:-1])
    assert len(steps) >= 3
    kept = steps[-1]["file"]
    assert kept["name"] == "m 31.fits"
    pyramid = files.get_pyramid(ANNA, kept["first"])
    assert pyramid.shape == PIXELS.shape
    assert [pyramid.pixel(x, y)[0] for x, y in ((0, 0), (1199, 699), (7, 5))] == [
        0,
        PIXELS[699, 1199],
        PIXELS[5, 7],
    ]
    assert host.hosts[-1] == f"127.0.0.1:{host.server_address[1]}"


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("/inside", ForbiddenError, "fetched only from 127.0.0.1"),
        ("/metadata", ForbiddenError, "not from 169.254.169.254"),
        ("/file", UsageError, "begins with https"),
        ("/around", UpstreamError, "redirected more than 5"),
        ("/gone.fits", NotFoundError, "has no file /gone.fits"),
        ("/huge.fits", TooLargeError, "larger than the 1000 MB"),
        ("/broken.fits", UsageError, "cannot be read as FITS"),
    ],
)  # fmt: skip
def test_what_a_host_must_not_do_is_a_sentence_and_nothing_is_left(
    portal, host, tmp_path, path, error, words
):
    files = files_for(portal, host, tmp_path)
    with pytest.raises(error, match=words):
        fetch(files, f"http://127.0.0.1:{host.server_address[1]}{path}")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_file_that_grows_beyond_the_limit_is_given_up(portal, host, tmp_path):
    files = files_for(portal, host, tmp_path, limit_bytes=len(as_bytes()) - 1)
    with pytest.raises(TooLargeError):
        fetch(files, f"http://127.0.0.1:{host.server_address[1]}/a.fits")


@pytest.mark.parametrize(
    "ip",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1",
     "fe80::1", "fd00::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1"],
)  # fmt: skip
def test_networks_inside_are_not_the_public_internet(ip):
    assert not is_public(ip)
    assert is_public("128.112.1.1")
    assert is_public("2001:4860:4860::8888")


def test_an_allowed_name_that_leads_inside_is_refused(portal, host, tmp_path):
    files = files_for(portal, host, tmp_path, is_allowed=is_public)
    with pytest.raises(ForbiddenError, match="not on the public internet"):
        fetch(files, f"http://127.0.0.1:{host.server_address[1]}/a.fits")
    assert host.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://archive.example.org/m31.fits", "fetches no files from outside"),
        ("https://user:secret@archive.example.org/m31.fits", "a name and a password"),
        ("ftp://archive.example.org/m31.fits", "not an address"),
        ("m31.fits", "not an address"),
        ("/etc/passwd", "address here"),
        (f"{URL}/auth/api/v1/users", "address here"),
        (f"{URL}/files/ben/image.fits", "nothing|no file|not"),
    ],
)
def test_the_page_refuses_other_addresses_in_a_sentence(portal, address, words):
    answer = portal[0].post("/portal/app/fitsfiles/fetch", params={"url": address})
    assert answer.status_code in (400, 403, 404)
    detail = answer.json()["detail"]
    assert any(word in detail for word in words.split("|")), detail
    assert "secret" not in detail


@pytest.mark.requirement("DMS-PRTL-REQ-0068")
def test_a_file_of_ones_own_is_opened_by_its_address(portal, tmp_path):
    client, factory = portal
    folder = factory.settings.users / "anna" / "home"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sky map.fits").write_bytes(as_bytes())
    for address in (f"{URL}/files/anna/sky%20map.fits", "vos:anna/sky map.fits"):
        answer = client.post("/portal/app/fitsfiles/fetch", params={"url": address})
        assert answer.status_code == 200, answer.text
        steps = [json.loads(line) for line in answer.text.splitlines()]
        assert steps[-1]["file"]["name"] == "sky map.fits"
        meta = client.get(f"/portal/app/tiles/my-files/{steps[-1]['file']['first']}/meta").json()
        assert meta["shape"] == list(PIXELS.shape)
