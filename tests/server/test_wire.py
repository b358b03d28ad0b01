"""Streams of events: what is there is sent together, and nothing that is there waits for what is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chainkit.server.faults import RequestFault
from chainkit.server.wire import EventReply


async def sent_of(events: AsyncIterator[bytes], *, gone: asyncio.Event | None = None, slow: bool = False) -> list[Any]:
    """The messages that a reply sends; with `slow` each send waits for a moment."""
    messages: list[Any] = []

    async def receive() -> Any:
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if slow:
            await asyncio.sleep(0.001)
        messages.append(message)

    await EventReply(events)({"type": "http"}, receive, send)
    return messages


def bodies(messages: list[Any]) -> list[bytes]:
    return [message["body"] for message in messages if message["type"] == "http.response.body"]


async def test_events_that_are_there_are_sent_together() -> None:
    async def events() -> AsyncIterator[bytes]:
        for place in range(5):
            yield b"%d" % place

    messages = await sent_of(events())
    assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
    assert bodies(messages) == [b"01234"]
    assert messages[-1]["more_body"] is False


@pytest.mark.parametrize("slow", [False, True])
async def test_what_is_there_is_sent_before_the_next_is_waited_for(slow: bool) -> None:
    go_on = [asyncio.Event(), asyncio.Event()]
    found: list[bytes] = []

    async def events() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"
        asyncio.get_running_loop().call_later(0.01, go_on[0].set)
        await go_on[0].wait()
        yield b"c"
        await asyncio.sleep(0)
        yield b"d"
        await asyncio.sleep(0.01)
        yield b"e"
        found.append(b"all")

    assert bodies(await sent_of(events(), slow=slow)) == [b"ab", b"c", b"d", b"e"]
    assert found == [b"all"]


async def test_many_bytes_do_not_wait_for_the_rest() -> None:
    async def events() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 30_000

    assert [len(body) for body in bodies(await sent_of(events()))] == [90_000, 90_000, 90_000, 30_000]


async def test_an_error_after_events_is_an_event_behind_them() -> None:
    async def events() -> AsyncIterator[bytes]:
        yield b"a"
        raise RequestFault(422, "not so", code="refused")

    messages = await sent_of(events())
    assert messages[0]["status"] == 200
    assert bodies(messages)[0] == b"a"
    assert b'"code":"refused"' in b"".join(bodies(messages)[1:])


async def test_an_error_at_the_beginning_has_its_status() -> None:
    async def events() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.001)
        raise RequestFault(422, "not so", code="refused")
        yield b""

    messages = await sent_of(events())
    assert messages[0]["status"] == 422


@pytest.mark.parametrize("slow", [False, True])
async def test_events_are_closed_when_the_client_goes_away(slow: bool) -> None:
    gone, closed = asyncio.Event(), list[str]()

    async def events() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            gone.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            closed.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0)  # what ends may itself wait
            closed.append("closed")

    await asyncio.wait_for(sent_of(events(), gone=gone, slow=slow), 10)
    assert closed == ["cancelled", "closed"]


async def test_a_timeout_within_the_events_is_told_there() -> None:
    async def events() -> AsyncIterator[bytes]:
        async with asyncio.timeout(0.01):
            yield b"a"
            await asyncio.sleep(60)

    messages = await asyncio.wait_for(sent_of(events()), 10)
    assert bodies(messages)[0] == b"a"
    assert b'"code":"timeout"' in b"".join(bodies(messages)[1:])
