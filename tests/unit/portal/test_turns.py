"""Long answers wait for each other, short ones for nobody."""

from __future__ import annotations

import asyncio

import pytest

from skydesk_portal.api.turns import Turn, Turns

LONG = 5_000_000


def test_a_short_answer_never_waits() -> None:
    async def run() -> None:
        turns = Turns(1)
        with Turn(turns) as long, Turn(turns) as short:
            long.begin_sending()
            await long.has_sent(LONG)
            for _ in range(3):
                short.begin_sending()
                await short.has_sent(1_000_000)

    asyncio.run(asyncio.wait_for(run(), 30))


def test_the_second_long_answer_waits_for_the_end_of_the_first() -> None:
    async def run() -> list[str]:
        turns, order = Turns(1), []

        async def send(name: str, wait: asyncio.Event, done: asyncio.Event) -> None:
            with Turn(turns) as turn:
                turn.begin_sending()
                await turn.has_sent(LONG)
                order.append(f"{name} goes on")
                done.set()
                await wait.wait()
                order.append(f"{name} ends")

        first, second, go = asyncio.Event(), asyncio.Event(), asyncio.Event()
        one = asyncio.create_task(send("first", go, first))
        await first.wait()
        two = asyncio.create_task(send("second", go, second))
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(one, two)
        return order

    assert asyncio.run(asyncio.wait_for(run(), 30)) == [
        "first goes on",
        "first ends",
        "second goes on",
        "second ends",
    ]


def test_a_slow_client_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        turns = Turns(1)
        with Turn(turns) as slow, Turn(turns) as other:
            slow.begin_sending()
            await slow.has_sent(LONG)
            with monkeypatch.context() as patched:
                patched.setattr("skydesk_portal.api.turns._SLOW_S", -1.0)
                slow.begin_sending()
                await slow.has_sent(LONG)
            other.begin_sending()
            await other.has_sent(LONG)

    asyncio.run(asyncio.wait_for(run(), 30))
