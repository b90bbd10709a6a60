"""WebDAV on the files of people: the verbs, nothing half-written, nothing outside the own folder."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import httpx
import pytest
from starlette.testclient import TestClient

from skydesk_portal.api.app import create_app
from skydesk_portal.factory import create_factory
from skydesk_portal.storage import files as files_storage
from skydesk_portal.storage.claims import ClaimStore
from skydesk_portal.testing import FakeIdentityClient
from tests.support.services import ANN, BOB, IDENTITIES, JOE, LiveServices

DAV = "{DAV:}"
LOCK = '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>'


@pytest.fixture
def ann(live_services: LiveServices) -> Iterator[httpx.Client]:
    (live_services.home / "users" / "ann" / "home").mkdir(parents=True, exist_ok=True)
    with live_services.client(ANN) as client:
        yield client


@pytest.fixture
def home(live_services: LiveServices) -> Path:
    return live_services.home / "users" / "ann" / "home"


def propfind(client: httpx.Client, path: str, depth: str = "1") -> dict[str, ElementTree.Element]:
    answer = client.request("PROPFIND", path, headers={"Depth": depth})
    assert answer.status_code == 207, answer.text
    found = {}
    for response in ElementTree.fromstring(answer.content).findall(f"{DAV}response"):
        prop = response.find(f"{DAV}propstat/{DAV}prop")
        assert prop is not None
        found[response.findtext(f"{DAV}href") or ""] = prop
    return found


@pytest.mark.requirement("DMS-API-REQ-0020")
def test_files_go_in_and_come_out(ann: httpx.Client, home: Path) -> None:
    body = os.urandom(300_000)
    assert ann.request("MKCOL", "/files/ann/dav").status_code == 201
    assert ann.put("/files/ann/dav/ä b.bin", content=body).status_code == 201
    assert (home / "dav" / "ä b.bin").read_bytes() == body
    got = ann.get("/files/ann/dav/ä b.bin")
    assert got.content == body
    assert got.headers["content-length"] == "300000"
    part = ann.get("/files/ann/dav/ä b.bin", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, body[10:20])
    assert (
        ann.get("/files/ann/dav/ä b.bin", headers={"If-None-Match": got.headers["etag"]}).status_code == 304
    )
    listing = propfind(ann, "/files/ann/dav/")
    assert set(listing) == {"/files/ann/dav/", "/files/ann/dav/%C3%A4%20b.bin"}
    facts = listing["/files/ann/dav/%C3%A4%20b.bin"]
    assert facts.findtext(f"{DAV}getcontentlength") == "300000"
    assert (facts.findtext(f"{DAV}getetag") or "").strip('"') == got.headers["etag"].strip('"')
    # What the lab writes is there at once.
    (home / "dav" / "from-lab.txt").write_text("hello")
    assert ann.get("/files/ann/dav/from-lab.txt").text == "hello"
    assert ann.delete("/files/ann/dav").status_code == 204
    assert not (home / "dav").exists()


def test_the_top_shows_ones_own_folder_only(ann: httpx.Client, live_services: LiveServices) -> None:
    (live_services.home / "users" / "bob" / "home").mkdir(parents=True, exist_ok=True)
    assert set(propfind(ann, "/files/")) == {"/files/", "/files/ann/"}
    assert "1,2" in ann.options("/files/ann/").headers["dav"]
    for verb in ("DELETE", "MKCOL", "PUT"):
        assert ann.request(verb, "/files/carl").status_code in {403, 404, 405, 409}
    assert ann.delete("/files/ann").status_code == 403
    assert ann.request("PROPFIND", "/files/ann", headers={"Depth": "infinity"}).status_code == 403


def test_copies_and_moves(ann: httpx.Client, home: Path, live_services: LiveServices) -> None:
    ann.put("/files/ann/one.txt", content=b"one")
    ann.put("/files/ann/two.txt", content=b"two")
    there = f"{live_services.url}/files/ann/two.txt"

    def send(verb: str, source: str, target: str, **headers: str) -> int:
        return ann.request(verb, source, headers={"Destination": target, **headers}).status_code

    assert send("COPY", "/files/ann/one.txt", there, Overwrite="F") == 412
    assert send("COPY", "/files/ann/one.txt", there) == 204
    assert (home / "two.txt").read_bytes() == b"one"
    assert send("MOVE", "/files/ann/one.txt", "/files/ann/three.txt") == 201
    assert not (home / "one.txt").exists()
    ann.request("MKCOL", "/files/ann/tree")
    ann.put("/files/ann/tree/leaf", content=b"leaf")
    assert send("COPY", "/files/ann/tree", "/files/ann/copy") == 201
    assert (home / "copy" / "leaf").read_bytes() == b"leaf"
    assert send("MOVE", "/files/ann/tree", "/files/ann/copy/tree") == 201
    assert (home / "copy" / "tree" / "leaf").read_bytes() == b"leaf"
    assert send("MOVE", "/files/ann/copy", "/files/ann/copy/tree/inside") in {403, 409}
    for elsewhere in ("http://other.example/files/ann/x", "/files/bob/x", "/api/x", "/files/ann/../bob/x"):
        assert send("MOVE", "/files/ann/two.txt", elsewhere) in {400, 403, 404, 409, 502}, elsewhere
    assert (home / "two.txt").exists()


def test_conditions_and_locks_are_kept(ann: httpx.Client, home: Path) -> None:
    path = "/files/ann/kept.txt"
    assert ann.put(path, content=b"1", headers={"If-Match": "*"}).status_code == 412
    assert ann.put(path, content=b"1", headers={"If-None-Match": "*"}).status_code == 201
    assert ann.put(path, content=b"2", headers={"If-None-Match": "*"}).status_code == 412
    tag = ann.head(path).headers["etag"]
    assert ann.put(path, content=b"3", headers={"If-Match": tag}).status_code == 204
    assert ann.put(path, content=b"4", headers={"If-Match": tag}).status_code == 412
    locked = ann.request("LOCK", path, content=LOCK, headers={"Timeout": "Second-60"})
    assert locked.status_code == 200
    token = locked.headers["lock-token"]
    assert ann.put(path, content=b"5").status_code == 423
    assert ann.delete(path).status_code == 423
    assert ann.put(path, content=b"6", headers={"If": f"({token})"}).status_code == 204
    assert ann.request("UNLOCK", path, headers={"Lock-Token": token}).status_code == 204
    assert ann.put(path, content=b"7").status_code == 204
    assert (home / "kept.txt").read_bytes() == b"7"
    fresh = ann.request("LOCK", "/files/ann/not-yet.txt", content=LOCK)
    assert fresh.status_code == 201
    assert (home / "not-yet.txt").read_bytes() == b""


def test_what_is_written_about_a_file_follows_it(ann: httpx.Client, live_services: LiveServices) -> None:
    body = '<propertyupdate xmlns="DAV:"><set><prop><note xmlns="urn:x">a &lt; b</note></prop></set></propertyupdate>'
    ann.put("/files/ann/noted.txt", content=b"1")
    assert ann.request("PROPPATCH", "/files/ann/noted.txt", content=body).status_code == 207
    ann.request("MKCOL", "/files/ann/place")
    ann.request("MOVE", "/files/ann/noted.txt", headers={"Destination": "/files/ann/place/noted.txt"})
    ann.request("COPY", "/files/ann/place", headers={"Destination": "/files/ann/copied"})
    for folder in ("place", "copied"):
        assert (
            propfind(ann, f"/files/ann/{folder}/noted.txt", "0").popitem()[1].findtext("{urn:x}note")
            == "a < b"
        )
    # It is WebDAV's own and no property of the node.
    assert "urn:x" not in ann.get("/api/files/nodes/ann/place/noted.txt").text
    ann.delete("/files/ann/place")
    ann.put("/files/ann/noted.txt", content=b"2")
    assert propfind(ann, "/files/ann/noted.txt", "0").popitem()[1].findtext("{urn:x}note") is None
    assert (
        ann.request(
            "PROPPATCH", "/files/ann/noted.txt", content=body.replace("a &lt;", "x" * 20_000)
        ).status_code
        == 207
    )
    assert propfind(ann, "/files/ann/noted.txt", "0").popitem()[1].findtext("{urn:x}note") is None
    assert "200 OK" not in ann.request("PROPPATCH", "/files/", content=body).text


def test_a_large_file_passes_in_pieces(ann: httpx.Client, home: Path) -> None:
    """The process holds a few pieces of a file at a time, however large the file is."""
    piece, count = os.urandom(1 << 20), 400
    largest = 0

    def pieces() -> Iterator[bytes]:
        nonlocal largest
        for _ in range(count):
            largest = max(largest, resident_bytes())
            yield piece

    before = resident_bytes()
    assert ann.put("/files/ann/large.bin", content=pieces()).status_code == 201
    assert (home / "large.bin").stat().st_size == count << 20
    received = 0
    with ann.stream("GET", "/files/ann/large.bin") as answer:
        for chunk in answer.iter_bytes():
            received += len(chunk)
            largest = max(largest, resident_bytes()) if received % (1 << 24) < len(chunk) else largest
    assert received == count << 20
    # The service may be opening its repositories meanwhile.
    assert largest - before < 256 << 20
    ann.delete("/files/ann/large.bin")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.requirement("DMS-LSP-REQ-0027")
def test_nobody_elses_files_exist(live_services: LiveServices, ann: httpx.Client, home: Path) -> None:
    (home / "secret.txt").write_text("mine")
    with live_services.client(BOB) as bob:
        for verb in ("GET", "HEAD", "PUT", "DELETE", "PROPFIND", "MKCOL", "LOCK"):
            for path in (
                "/files/ann/secret.txt",
                "/files/bob/../ann/secret.txt",
                "/files/bob/%2e%2e/ann/secret.txt",
            ):
                answer = bob.request(
                    verb, path, headers={"Depth": "0"}, content=LOCK if verb == "LOCK" else None
                )
                assert answer.status_code in {400, 403, 404, 409}, f"{verb} {path}: {answer.status_code}"
                assert "mine" not in answer.text
    assert (home / "secret.txt").read_text() == "mine"
    for token, status in ((None, 401), ("wrong", 401), (JOE, 403)):
        with live_services.client(token) as other:
            for verb in ("GET", "PUT", "PROPFIND", "DELETE", "OPTIONS", "MOVE", "LOCK"):
                answer = other.request(verb, "/files/ann/secret.txt")
                assert answer.status_code == status, verb
                if status == 401:
                    assert (
                        answer.headers["www-authenticate"] == 'Bearer realm="skydesk", Basic realm="skydesk"'
                    )
    basic = httpx.get(f"{live_services.url}/files/ann/secret.txt", auth=("ann", ANN))
    assert basic.text == "mine"


def test_no_link_leads_out(live_services: LiveServices, ann: httpx.Client, home: Path) -> None:
    outside = live_services.home / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "key").write_text("key of the platform")
    (home / "in").mkdir(exist_ok=True)
    (home / "in" / "data.txt").write_text("data")
    links = {"away": outside, "up": "../../../outside", "file": outside / "key", "loop": "loop",
             "near": "in", "lab": "/home/ann/in", "labfile": "/home/ann/in/data.txt", "bob": "/home/bob"}  # fmt: skip
    for name, target in links.items():
        (home / name).unlink(missing_ok=True)
        (home / name).symlink_to(target)
    if not (home / "pipe").exists():
        os.mkfifo(home / "pipe")
    for path in ("away/key", "up/key", "file", "loop", "bob", "bob/x", "pipe", "away/new.txt"):
        assert ann.get(f"/files/ann/{path}").status_code in {400, 403, 404}, path
        assert ann.put(f"/files/ann/{path}", content=b"x").status_code in {403, 404, 409}, path
    assert sorted(p.name for p in outside.iterdir()) == ["key"]
    for path in ("near/data.txt", "lab/data.txt", "labfile"):
        assert ann.get(f"/files/ann/{path}").text == "data"
    shown = {urlsplit(href).path.rstrip("/").rsplit("/", 1)[1] for href in propfind(ann, "/files/ann/")}
    assert {"near", "lab", "labfile"} <= shown
    assert not shown & {"away", "up", "file", "loop", "bob", "pipe"}
    # Copies and removals do not go through links to folders, of which some make a tree without end.
    for name in ("a", "b", "c", "d"):
        (home / "in" / name).unlink(missing_ok=True)
        (home / "in" / name).symlink_to(".")
    assert (
        ann.request("COPY", "/files/ann/in", headers={"Destination": "/files/ann/again"}).status_code == 201
    )
    assert [path.name for path in (home / "again").iterdir()] == ["data.txt"]
    (home / "kept").mkdir(exist_ok=True)
    (home / "kept" / "x").write_text("x")
    (home / "again" / "kept").symlink_to("../kept")
    assert (
        ann.request("COPY", "/files/ann/in", headers={"Destination": "/files/ann/again"}).status_code == 204
    )
    assert (home / "kept" / "x").read_text() == "x"
    assert ann.delete("/files/ann/again").status_code == 204
    for name in ("a", "b", "c", "d"):
        (home / "in" / name).unlink()
    # Removing a link leaves what it points to.
    assert ann.delete("/files/ann/lab").status_code == 204
    assert (home / "in" / "data.txt").exists()


def test_a_broken_upload_leaves_nothing(live_services: LiveServices, ann: httpx.Client, home: Path) -> None:
    ann.put("/files/ann/whole.txt", content=b"old content")
    port = urlsplit(live_services.url).port
    for head in (
        "Content-Length: 1000000\r\n\r\nonly this",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nonly\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(
                f"PUT /files/ann/whole.txt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN}\r\n{head}".encode()
            )
    assert ann.put("/files/ann/after.txt", content=b"").status_code in {201, 204}
    assert ann.get("/files/ann/whole.txt").text == "old content"
    assert not [p for p in home.iterdir() if p.name.startswith(".skydesk")]


def test_a_full_disk_and_a_full_quota_are_said(
    ann: httpx.Client, home: Path, live_services: LiveServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann.put("/files/ann/stays.txt", content=b"stays")
    files = live_services.factory.create_files_service()
    with monkeypatch.context() as patch:
        patch.setattr(files, "limit_bytes", files.measure_bytes(files_identity()) + 100_000)
        assert ann.put("/files/ann/stays.txt", content=b"x" * 200_000).status_code == 507
        told = ann.put("/files/ann/stays.txt", content=iter([b"x" * 60_000] * 4))
        assert told.status_code == 507, "the length was not told beforehand"
    real = files_storage.os.write
    with monkeypatch.context() as patch:

        def full(descriptor: int, data: bytes) -> int:
            if len(data) > 50_000:
                raise OSError(errno.ENOSPC, "no space left on device")
            return real(descriptor, data)

        patch.setattr(files_storage.os, "write", full)
        assert ann.put("/files/ann/stays.txt", content=b"x" * 200_000).status_code == 507
    assert (home / "stays.txt").read_bytes() == b"stays"


def test_uploads_at_the_same_time_do_not_pass_the_quota_together(
    ann: httpx.Client, home: Path, live_services: LiveServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = live_services.factory.create_files_service()
    port = urlsplit(live_services.url).port
    ann.put("/files/ann/first.txt", content=b"1")
    head = f"PUT NAME HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN}\r\nConnection: close\r\n"
    monkeypatch.setattr(files, "limit_bytes", files.open_home(IDENTITIES[ANN]).measure_bytes() + 500_000)
    with contextlib.ExitStack() as stack:
        known, unknown = (stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in "12")
        # Three hundred kB of five are promised to a file of which one byte has come.
        known.sendall((head.replace("NAME", "/files/ann/known") + "Content-Length: 300000\r\n\r\n").encode())
        known.sendall(b"x")
        wait_until(lambda: promised(live_services) == 300_000)
        assert ann.put("/files/ann/large.txt", content=b"x" * 250_000).status_code == 507
        assert ann.put("/api/files/content/ann/large.txt", content=b"x" * 250_000).status_code == 507
        # One whose length is not told takes what is left as it comes.
        unknown.sendall(
            (
                head.replace("NAME", "/api/files/content/ann/unknown") + "Transfer-Encoding: chunked\r\n\r\n"
            ).encode()
        )
        unknown.sendall(b"1E848\r\n" + b"x" * 125_000 + b"\r\n")
        wait_until(lambda: promised(live_services) >= 425_000)
        assert ann.put("/files/ann/large.txt", content=b"x" * 100_000).status_code == 507
        unknown.sendall(b"1E848\r\n" + b"x" * 125_000 + b"\r\n")
        assert b" 507 " in unknown.recv(100)
        # Whoever goes away gives the place back, and what is complete counts once.
        known.sendall(b"x" * 299_999)
        assert b" 201 " in known.recv(100)
    wait_until(lambda: promised(live_services) == 0)
    assert (home / "known").stat().st_size == 300_000
    assert not (home / "unknown").exists()
    assert ann.put("/files/ann/large.txt", content=b"x" * 250_000).status_code == 507
    assert ann.put("/files/ann/large.txt", content=b"x" * 190_000).status_code in {201, 204}
    ann.delete("/files/ann/known")
    assert ann.put("/files/ann/large.txt", content=b"x" * 250_000).status_code in {201, 204}


def promised(live: LiveServices) -> int:
    with sqlite3.connect(live.home / "run" / "claims.sqlite") as database:
        return int(database.execute("SELECT total(bytes) FROM claims WHERE ended IS NULL").fetchone()[0])


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_place_of_a_process_that_died_is_free_again(tmp_path: Path) -> None:
    store = ClaimStore(tmp_path / "claims.sqlite")
    assert store.set("a", "ann", 70, 100, 0.0)
    assert not store.set("b", "ann", 40, 100, 0.0)
    with sqlite3.connect(tmp_path / "claims.sqlite") as database:
        database.execute("UPDATE claims SET process = process || '0'")
    assert store.set("b", "ann", 40, 100, 0.0)
    # A complete file counts until the folder has been measured after it.
    store.end("b", 40)
    assert not store.set("c", "ann", 70, 100, 0.0)
    assert store.set("c", "ann", 70, 100, time.time() + 1)
    assert store.set("other", "bob", 100, 100, 0.0)


def test_a_lock_outlives_the_process(ann: httpx.Client, live_services: LiveServices) -> None:
    path = "/files/ann/locked.txt"
    ann.put(path, content=b"1")
    locked = ann.request("LOCK", path, content=LOCK, headers={"Timeout": "Second-600"})
    token = locked.headers["lock-token"]
    settings = live_services.factory.settings
    other = create_app(settings, create_factory(settings, FakeIdentityClient(IDENTITIES)))
    with TestClient(other, base_url=settings.url, headers={"Authorization": f"Bearer {ANN}"}) as client:
        assert client.put(path, content=b"2").status_code == 423
        listed = client.request("PROPFIND", path, headers={"Depth": "0"}).text
        assert token.strip("<>") in listed
        assert client.put(path, content=b"3", headers={"If": f"({token})"}).status_code == 204
        assert client.request("UNLOCK", path, headers={"Lock-Token": token}).status_code == 204
    assert ann.put(path, content=b"4").status_code == 204


@pytest.mark.parametrize("source", ["/files", "/files/", "/files/ann", "/files/ann/"])
def test_the_folders_above_stay_as_they_are(ann: httpx.Client, home: Path, source: str) -> None:
    (home / "inside.txt").write_text("kept")
    target = f"{ann.base_url}/files/ann/elsewhere"
    for verb in ("COPY", "MOVE", "DELETE"):
        if verb == "COPY" and source.strip("/").endswith("ann"):
            continue
        answer = ann.request(verb, source, headers={"Destination": target})
        assert answer.status_code == 403, (verb, answer.text)
    for verb in ("COPY", "MOVE"):
        answer = ann.request(
            verb, "/files/ann/inside.txt", headers={"Destination": f"{ann.base_url}{source}"}
        )
        assert answer.status_code == 403, (verb, answer.text)
    # A folder is not copied into itself.
    into = ann.request("COPY", "/files/ann", headers={"Destination": target})
    assert into.status_code in {403, 409}
    assert (home / "inside.txt").read_text() == "kept"
    assert not (home / "elsewhere").exists()


def files_identity() -> object:
    from tests.support.services import IDENTITIES

    return IDENTITIES[ANN]


def test_odd_requests_get_plain_answers(ann: httpx.Client) -> None:
    for path, status in (("/files/ann/" + "x" * 300, 400), ("/files/ann/a%00b", 400), ("/files/ann", 400)):
        assert ann.get(path).status_code == status, path
    assert "this is a folder" in ann.get("/files/ann").json()["message"]
    assert ann.request("PROPFIND", "/files/ann", content="<a>", headers={"Depth": "0"}).status_code == 400
    bomb = (
        '<!DOCTYPE a [<!ENTITY b "' + "x" * 1000 + '">]><propfind xmlns="DAV:">' + "&b;" * 100 + "</propfind>"
    )
    assert ann.request("PROPFIND", "/files/ann", content=bomb, headers={"Depth": "0"}).status_code < 500
    assert (
        ann.request("PROPFIND", "/files/ann", content=b" " * 2_000_000, headers={"Depth": "0"}).status_code
        == 413
    )
    assert ann.request("PROPPATCH", "/files/ann", content="<x/>").status_code == 400
    assert ann.put("/files/ann/none/x", content=b"").status_code == 409
    assert ann.post("/files/ann").status_code == 405
    assert ann.request("COPY", "/files/ann", headers={"Destination": "http://[x"}).status_code == 400
