"""The judges of tokens: the one that asks the hub and the one of the tests keep the same contract."""

from __future__ import annotations

import asyncio
import base64
import struct
import tempfile
from pathlib import Path

import httpx
import pytest

from skydesk_portal.exceptions import AuthenticationError, UpstreamError
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.identity import HubIdentityClient, IdentityClient, find_token
from skydesk_portal.testing import FakeIdentityClient

ANN = Identity("ann", frozenset({"read:tap", "exec:portal"}), frozenset({"astro"}))


class Hub:
    """Answers as JupyterHub's ``/user`` does."""

    def __init__(self) -> None:
        self.tokens = {"good": {"kind": "user", "name": "ann", "groups": ["astro"], "admin": False,
                                "scopes": ["custom:skydesk:read:tap", "custom:skydesk:exec:portal!user=ann", "read:users:name!user=ann"]},
                       "service": {"kind": "service", "name": "portal", "scopes": ["custom:skydesk:read:tap"]}}  # fmt: skip
        self.asked = 0
        self.status: int | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.status is not None:
            return httpx.Response(self.status)
        found = self.tokens.get(request.headers["authorization"].removeprefix("token "))
        return httpx.Response(200, json=found) if found else httpx.Response(403)


def make_client(hub: Hub, epoch: Path | None = None) -> HubIdentityClient:
    return HubIdentityClient("http://hub/nb/hub/api", epoch, httpx.MockTransport(hub))


@pytest.mark.parametrize("kind", ["hub", "fake"])
def test_every_client_knows_good_tokens_and_refuses_others(kind: str) -> None:
    async def run() -> None:
        client: IdentityClient = make_client(Hub()) if kind == "hub" else FakeIdentityClient({"good": ANN})
        assert await client.get_identity("good") == ANN
        for wrong in ("bad", "", "good ", "service"):
            with pytest.raises(AuthenticationError):
                await client.get_identity(wrong)
        await client.close()

    asyncio.run(run())


def test_answers_are_remembered_until_the_epoch_changes(tmp_path: Path) -> None:
    async def run() -> None:
        epoch = tmp_path / "epoch"
        epoch.write_bytes(struct.pack("<Q", 1))
        hub = Hub()
        client = make_client(hub, epoch)
        for _ in range(5):
            await client.get_identity("good")
        assert hub.asked == 1
        del hub.tokens["good"]
        await client.get_identity("good")
        with epoch.open("r+b") as out:
            out.write(struct.pack("<Q", 2))
        with pytest.raises(AuthenticationError):
            await client.get_identity("good")

    asyncio.run(run())


def test_an_answer_is_not_kept_if_something_was_revoked_meanwhile(tmp_path: Path) -> None:
    async def run() -> None:
        epoch = tmp_path / "epoch"
        epoch.write_bytes(struct.pack("<Q", 1))
        hub = Hub()

        def answer(request: httpx.Request) -> httpx.Response:
            with epoch.open("r+b") as out:
                out.write(struct.pack("<Q", 5 + hub.asked))
            return hub(request)

        client = HubIdentityClient("http://hub/api", epoch, httpx.MockTransport(answer))
        await client.get_identity("good")
        await client.get_identity("good")
        assert hub.asked == 2

    asyncio.run(run())


def test_a_hub_that_does_not_answer_is_not_the_callers_fault() -> None:
    async def run() -> None:
        hub = Hub()
        client = make_client(hub)
        hub.status = 502
        with pytest.raises(UpstreamError):
            await client.get_identity("good")
        hub.status = None
        assert (await client.get_identity("good")).name == "ann"

    asyncio.run(run())


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        (basic("x-oauth-basic", "abc"), "abc"),
        (basic("abc", "x-oauth-basic"), "abc"),
        (basic("abc", ""), "abc"),
        (basic("ann", "abc"), "abc"),
        ("Basic !!!", None),
        ("Bearer ", None),
        ("Digest abc", None),
        ("", None),
    ],
)
def test_tokens_are_found_in_every_usual_place(header: str, token: str | None) -> None:
    assert find_token({"authorization": header}) == token


def test_releases_are_open_to_their_groups_only() -> None:
    assert ANN.may_read(frozenset())
    assert ANN.may_read(frozenset({"*"}))
    assert ANN.may_read(frozenset({"astro", "other"}))
    assert not ANN.may_read(frozenset({"other"}))


@pytest.mark.parametrize(
    ("body", "quota"),
    [
        (b'{"quota": {"api": {"tap": 7}}}', {"api": {"tap": 7}}),
        (b'{"quota": null}', {}),
        (b'{"groups": [{"name": "admins", "id": 2001}, "odd"]}', {}),
        (b"[]", {}),
        (b"no json", {}),
        (None, {}),
    ],
)
def test_quota_and_rights_come_from_the_identity_provider(
    body: bytes | None, quota: dict[str, object]
) -> None:
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if body is not None:
            writer.write(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
        writer.close()

    async def run() -> None:
        # A short path: a socket's may have 107 bytes only.
        with tempfile.TemporaryDirectory() as folder:
            socket = Path(folder) / "identity.sock"
            client = HubIdentityClient("http://hub/api", None, httpx.MockTransport(Hub()), socket)
            assert (await client.get_identity("good")).quota == {}
            server = await asyncio.start_unix_server(answer, str(socket))
            client = HubIdentityClient("http://hub/api", None, httpx.MockTransport(Hub()), socket)
            for _ in range(2):
                identity = await client.get_identity("good")
                assert identity.quota == quota
                assert identity.admin is (body is not None and b"admins" in body)
            server.close()
            await client.close()

    asyncio.run(run())
    assert len(asked) == 1
    assert b"/auth/api/v1/user-info" in asked[0]
    assert b"authorization: bearer good" in asked[0].lower()


@pytest.mark.parametrize(
    ("body", "groups"),
    [
        # The hub still names "astro", which it learnt at the last sign-in.
        (b'{"groups": [{"name": "users", "id": 2000}, {"name": "g_new", "id": 2010}]}', {"users", "g_new"}),
        (b"no json", set()),
    ],
)
def test_groups_are_those_of_this_moment(body: bytes, groups: set[str]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        writer.close()

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            socket = Path(folder) / "identity.sock"
            client = HubIdentityClient("http://hub/api", None, httpx.MockTransport(Hub()), socket)
            server = await asyncio.start_unix_server(answer, str(socket))
            assert (await client.get_identity("good")).groups == groups
            server.close()
            await client.close()

    asyncio.run(run())
