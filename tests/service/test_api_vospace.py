"""VOSpace on the files of people: nodes, properties, transfers with and without a token."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from cadcutils.net import ws
from vos import vos

from skydesk_portal.models.identity import Identity
from skydesk_portal.models.vospace import Transfer
from tests.support.services import ANN, BOB, JOE, LiveServices

VOS = "{http://www.ivoa.net/xml/VOSpace/v2.0}"
CORE = "ivo://ivoa.net/vospace/core#"
ROOT = (
    'xmlns:vos="http://www.ivoa.net/xml/VOSpace/v2.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)
XML = {"Content-Type": "text/xml"}


def node(path: str, kind: str = "ContainerNode", properties: str = "") -> str:
    return (
        f'<vos:node {ROOT} xsi:type="vos:{kind}" uri="vos://skydesk!files/{path}">'
        f"<vos:properties>{properties}</vos:properties></vos:node>"
    )


def transfer(target: str, direction: str, more: str = "") -> str:
    return (
        f"<vos:transfer {ROOT}><vos:target>vos://skydesk!files/{target}</vos:target>"
        f"<vos:direction>{direction}</vos:direction>{more}</vos:transfer>"
    )


@pytest.fixture
def ann(live_services: LiveServices) -> Iterator[httpx.Client]:
    with live_services.client(ANN) as client:
        client.delete("/api/files/nodes/ann/space")
        assert (
            client.put("/api/files/nodes/ann/space", content=node("ann/space"), headers=XML).status_code
            == 201
        )
        yield client


@pytest.fixture
def home(live_services: LiveServices) -> Path:
    return live_services.home / "users" / "ann" / "home"


@pytest.mark.requirement("DMS-API-REQ-0019")
def test_the_vos_package_works(
    worker: LiveServices, ann: httpx.Client, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ws, "DEFAULT_REGISTRY", f"{worker.url}/reg/resource-caps")
    monkeypatch.setattr(ws, "CACHE_LOCATION", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    client, base = vos.Client(vospace_token=ANN), "vos://skydesk!files/ann/space"
    client.mkdir(f"{base}/deep")
    with pytest.raises(Exception, match=r"DuplicateNode|exists"):
        client.mkdir(f"{base}/deep")
    source, back = tmp_path / "source.dat", tmp_path / "back.dat"
    source.write_bytes(b"\x00bytes of a file" * 1000)
    checksum = hashlib.md5(source.read_bytes()).hexdigest()
    assert client.copy(str(source), f"{base}/deep/a b.dat", send_md5=True) == checksum
    assert (home / "space" / "deep" / "a b.dat").read_bytes() == source.read_bytes()
    assert client.listdir(base) == ["deep"]
    assert client.get_node(f"{base}/deep/a b.dat").props["length"] == "16000"
    assert client.isdir(f"{base}/deep")
    client.copy(f"{base}/deep/a b.dat", str(back))
    assert back.read_bytes() == source.read_bytes()
    assert not client.move(f"{base}/deep/a b.dat", f"{base}/moved.dat")
    assert sorted(client.listdir(base, force=True)) == ["deep", "moved.dat"]
    client.delete(f"{base}/moved.dat")
    assert client.listdir(base, force=True) == ["deep"]
    with pytest.raises(Exception, match=r"NodeNotFound|no such"):
        client.get_node(f"{base}/moved.dat", force=True)


def test_nodes_are_paged_and_keep_properties(ann: httpx.Client, home: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (home / "space" / name).write_text(name)
    answer = ann.get("/api/files/nodes/ann/space", params={"limit": 2})
    shown = ElementTree.fromstring(answer.content)
    assert shown.get("uri") == "vos://skydesk!files/ann/space"
    uris = [child.get("uri") or "" for child in shown.iter(f"{VOS}node")][1:]
    assert [uri.rsplit("/", 1)[1] for uri in uris] == ["a", "b"]
    page = ann.get("/api/files/nodes/ann/space", params={"limit": 9, "uri": uris[1], "detail": "min"})
    rest = list(ElementTree.fromstring(page.content).iter(f"{VOS}node"))[1:]
    assert [(child.get("uri") or "").rsplit("/", 1)[1] for child in rest] == ["b", "c", "d"]
    assert not list(rest[0].iter(f"{VOS}property"))

    def properties(path: str) -> dict[str, str]:
        document = ElementTree.fromstring(ann.get(f"/api/files/nodes/{path}").content)
        return {p.get("uri") or "": p.text or "" for p in document.findall(f"{VOS}properties/{VOS}property")}

    own = f'<vos:property uri="{CORE}description">of &lt;mine&gt;</vos:property>'
    changed = ann.post(
        "/api/files/nodes/ann/space/a", content=node("ann/space/a", "DataNode", own), headers=XML
    )
    assert changed.status_code == 200
    assert properties("ann/space/a")[f"{CORE}description"] == "of <mine>"
    assert properties("ann/space/a")[f"{CORE}length"] == "1"
    fixed = f'<vos:property uri="{CORE}length">7</vos:property>'
    refused = ann.post(
        "/api/files/nodes/ann/space/a", content=node("ann/space/a", "DataNode", fixed), headers=XML
    )
    assert (refused.status_code, refused.text.split(":")[0]) == (403, "PermissionDenied")
    gone = f'<vos:property uri="{CORE}description" xsi:nil="true"/>'
    ann.post("/api/files/nodes/ann/space/a", content=node("ann/space/a", "DataNode", gone), headers=XML)
    assert f"{CORE}description" not in properties("ann/space/a")
    assert f"{CORE}quota" in properties("ann")
    top = ElementTree.fromstring(ann.get("/api/files/nodes").content)
    assert [child.get("uri") for child in top.iter(f"{VOS}node")][1:] == ["vos://skydesk!files/ann"]


def endpoints(client: httpx.Client, document: str) -> list[tuple[str, str | None]]:
    answer = client.post("/api/files/synctrans", content=document, headers=XML)
    assert answer.status_code == 200, answer.text
    found = ElementTree.fromstring(answer.content)
    out = []
    for protocol in found.findall(f"{VOS}protocol"):
        method = protocol.find(f"{VOS}securityMethod")
        out.append((protocol.findtext(f"{VOS}endpoint") or "", None if method is None else method.get("uri")))
    return out


def test_signed_addresses_are_good_for_one_thing(
    live_services: LiveServices, ann: httpx.Client, home: Path
) -> None:
    put = f'<vos:protocol uri="{CORE}httpput"/>'
    with_token = f'<vos:protocol uri="{CORE}httpput"><vos:securityMethod uri="ivo://ivoa.net/sso#token"/></vos:protocol>'
    (signed, none), (plain, method) = endpoints(
        ann, transfer("ann/space/x", "pushToVoSpace", put + with_token)
    )
    assert (none, method) == (None, "ivo://ivoa.net/sso#token")
    assert httpx.put(plain, content=b"1").status_code == 401
    sent = httpx.put(signed, content=b"content")
    assert sent.status_code == 201
    assert base64.b64decode(sent.headers["digest"][4:]) == hashlib.md5(b"content").digest()
    assert (home / "space" / "x").read_bytes() == b"content"
    assert httpx.get(signed).status_code == 403, "made for sending"
    ((fetch, _),) = endpoints(ann, transfer("ann/space/x", "pullFromVoSpace"))
    assert httpx.get(fetch).content == b"content"
    assert httpx.get(fetch, headers={"Range": "bytes=1-2"}).content == b"on"
    assert httpx.put(fetch, content=b"2").status_code == 403
    (home / "space" / "y").write_text("other")
    for wrong in (
        fetch.replace("/space/x", "/space/y"),
        fetch.replace("e=", "e=9"),
        fetch.replace("e=", "e=" + 5000 * "9"),
        fetch.replace("e=", "e=\u00b2"),
        fetch[:-1] + ("0" if fetch[-1] != "0" else "1"),
        fetch.replace("/ann/", "/bob/"),
        fetch.replace("/ann/space/x", "/ann/space/../space/y"),
        fetch.split("&s=")[0],
    ):
        assert httpx.get(wrong).status_code in {400, 403, 404}, wrong
    signer = live_services.factory.create_link_signer()
    route = "/api/files/content/ann/space/x"
    assert httpx.get(f"{live_services.url}{route}?{signer.sign(f'GET {route}', 60)}").status_code == 200
    assert httpx.get(f"{live_services.url}{route}?{signer.sign(f'GET {route}', -1)}").status_code == 403
    wrong_digest = ann.put(
        route, content=b"lost", headers={"Digest": "md5=" + base64.b64encode(b"0" * 16).decode()}
    )
    assert wrong_digest.status_code == 412
    assert (home / "space" / "x").read_bytes() == b"content"


def finished(client: httpx.Client, document: str) -> ElementTree.Element:
    made = client.post(
        "/api/files/transfers?PHASE=RUN", content=document, headers=XML, follow_redirects=False
    )
    assert made.status_code == 303
    end = time.monotonic() + 60
    while time.monotonic() < end:
        answer = client.get(made.headers["location"], params={"WAIT": "10"})
        job = ElementTree.fromstring(answer.content)
        if job.findtext("{*}phase") in {"COMPLETED", "ERROR"}:
            return job
    raise AssertionError("the transfer does not end")


@pytest.mark.requirement("DMS-API-REQ-0031")
def test_transfers_run_as_jobs(worker: LiveServices, ann: httpx.Client, home: Path) -> None:
    (home / "space" / "tree" / "inner").mkdir(parents=True)
    (home / "space" / "tree" / "inner" / "leaf").write_text("leaf")
    copied = transfer(
        "ann/space/tree", "vos://skydesk!files/ann/space/copy", "<vos:keepBytes>true</vos:keepBytes>"
    )
    assert finished(ann, copied).findtext("{*}phase") == "COMPLETED"
    assert (home / "space" / "copy" / "inner" / "leaf").read_text() == "leaf"
    moved = transfer("ann/space/copy", "vos://skydesk!files/ann/space/tree")
    assert finished(ann, moved).findtext("{*}phase") == "COMPLETED"
    assert (home / "space" / "tree" / "copy" / "inner" / "leaf").exists()
    again = finished(ann, transfer("ann/space/nothing", "vos://skydesk!files/ann/space/x"))
    assert again.findtext("{*}phase") == "ERROR"
    into_itself = finished(ann, transfer("ann/space/tree", "vos://skydesk!files/ann/space/tree/inner"))
    assert into_itself.findtext("{*}phase") == "ERROR"
    # The result of a query goes into a file without passing through the client.
    query = {"QUERY": "SELECT TOP 3 * FROM TAP_SCHEMA.tables", "PHASE": "RUN", "LANG": "ADQL"}
    job = ann.post("/api/tap/async", data=query, follow_redirects=False).headers["location"]
    end = time.monotonic() + 60
    while ann.get(f"{job}/phase").text != "COMPLETED":
        assert time.monotonic() < end
        time.sleep(0.05)

    def fetch(address: str) -> str | None:
        how = f'<vos:protocol uri="{CORE}httpget"><vos:endpoint>{address}</vos:endpoint></vos:protocol>'
        return finished(ann, transfer("ann/space/result.vot", "pullToVoSpace", how)).findtext("{*}phase")

    assert fetch(f"{job}/results/result") == "COMPLETED"
    assert (home / "space" / "result.vot").read_bytes() == ann.get(f"{job}/results/result").content
    for outside in ("http://other.example/x", f"{worker.url}/api/tap/tables", "file:///etc/passwd"):
        assert fetch(outside) == "ERROR"


def test_a_copy_goes_through_no_link_to_a_folder(
    live_services: LiveServices, ann: httpx.Client, home: Path
) -> None:
    tree = home / "space" / "tree"
    tree.mkdir()
    (tree / "x").write_text("x")
    for name in ("a", "b", "c", "d"):
        (tree / name).symlink_to(".")
    address = "vos://skydesk!files/ann/space/tree"
    moved = Transfer(address, f"{address}2", (), True)
    live_services.factory.create_vospace_service().relocate(Identity("ann"), moved)
    assert [path.name for path in (home / "space" / "tree2").iterdir()] == ["x"]


@pytest.mark.requirement("DMS-LSP-REQ-0027")
def test_nobody_elses_nodes_exist(live_services: LiveServices, ann: httpx.Client, home: Path) -> None:
    (home / "space" / "secret").write_text("mine")
    with live_services.client(BOB) as bob:
        for method, path, body in (
            ("GET", "nodes/ann/space/secret", None), ("GET", "content/ann/space/secret", None), ("GET", "nodes/ann", None),
            ("PUT", "nodes/ann/space/new", node("ann/space/new")), ("DELETE", "nodes/ann/space/secret", None),
            ("POST", "nodes/ann/space/secret", node("ann/space/secret", "DataNode")), ("PUT", "content/ann/space/secret", "x"),
            ("POST", "synctrans", transfer("ann/space/secret", "pullFromVoSpace")),
            ("POST", "synctrans", transfer("ann/space/secret", "pushToVoSpace")),
            ("GET", "nodes/bob/%2e%2e/ann/space/secret", None),
        ):  # fmt: skip
            answer = bob.request(method, f"/api/files/{path}", content=body, headers=XML)
            assert answer.status_code in {400, 404}, f"{method} {path}"
            assert "mine" not in answer.text
    with live_services.client(JOE) as joe:
        assert joe.get("/api/files/nodes/joe").status_code == 403
    assert (home / "space" / "secret").read_text() == "mine"


def test_odd_documents_get_faults(ann: httpx.Client) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "x">]>' + node("ann/space/n")
    for method, path, body, status, fault in (
        ("PUT", "nodes/ann/space", node("ann/space"), 409, "DuplicateNode"),
        ("PUT", "nodes/ann/space/a/b", node("ann/space/a/b"), 404, "NodeNotFound"),
        ("PUT", "nodes/ann/space/n", node("ann/space/other"), 400, "InvalidURI"),
        ("PUT", "nodes/ann/space/n", node("ann/space/n", "LinkNode"), 400, "InvalidURI"),
        ("PUT", "nodes/ann/space/n", bomb, 400, "InvalidURI"),
        ("PUT", "nodes/ann/space/n", "no xml", 400, "InvalidURI"),
        ("GET", "nodes/ann/space/none", None, 404, "NodeNotFound"),
        ("GET", "nodes/ann?limit=x", None, 400, "InvalidURI"),
        ("GET", "nodes/ann?limit=\u00b2", None, 400, "InvalidURI"),
        ("POST", "synctrans", transfer("ann/space", "pullFromVoSpace"), 409, "DuplicateNode"),
        ("POST", "synctrans", transfer("ann/space/n", "sideways"), 400, "InvalidURI"),
        ("POST", "synctrans", "<x/>", 400, "InvalidURI"),
        ("GET", "synctrans/zz/results/transferDetails", None, 404, "NodeNotFound"),
        ("GET", f"synctrans/{20_000 * '5b'}/phase", None, 404, "NodeNotFound"),
        ("DELETE", "nodes/ann", None, 403, "PermissionDenied"),
    ):  # fmt: skip
        answer = ann.request(method, f"/api/files/{path}", content=body, headers=XML if body else None)
        assert (answer.status_code, answer.text.split(":")[0]) == (status, fault), (
            f"{method} {path}: {answer.text}"
        )
    for name in ("protocols", "views", "properties", "capabilities", "availability"):
        assert ElementTree.fromstring(ann.get(f"/api/files/{name}").content) is not None
