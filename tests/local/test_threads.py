"""A model of the parent process is refused in a forked child; items of a thread reach an event loop in order."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest

import chainkit
from chainkit.base.errors import Unsupported
from chainkit.local.threads import stream_from_thread

DEMO = "gguf:examples/demo_model/demo-q8_0.gguf?n_threads=2&context_length=128&max_tokens=4"
fork = pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "fork"), reason="there is no fork")


def in_child(work) -> str:
    """What a forked child reports; it must end by itself."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            work()
            told = "went on"
        except Unsupported as error:
            told = str(error)
        except BaseException as error:  # noqa: BLE001 - the child must not go on as pytest
            told = repr(error)
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode()
    os.waitpid(child, 0)
    return said


@fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("used", [True, False])
def test_a_model_that_was_loaded_before_a_fork_says_so_in_the_child(used: bool) -> None:
    model = chainkit.llm(DEMO)
    if used:
        model.invoke("Hello")
    else:
        _ = model.runtime  # type: ignore[attr-defined]
    for work in (lambda: model.invoke("Hello"), lambda: list(model.stream("Hello"))):
        assert "load it after the fork" in in_child(work)
    assert model.invoke("Hello") == model.invoke("Hello")  # the parent's is as before


@fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_embeddings_that_were_loaded_before_a_fork_say_so_in_the_child() -> None:
    model = chainkit.embeddings("gguf:examples/demo_model/demo-q8_0.gguf")
    model.embed_query("Hello")
    assert "load it after the fork" in in_child(lambda: model.embed_query("Hello"))


async def test_items_of_a_thread_come_in_order_and_wake_the_event_loop_rarely(monkeypatch) -> None:
    loop, woken = asyncio.get_running_loop(), []
    call = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *what: (woken.append(what), call(*what))[1])

    def items(_):
        for number in range(1000):
            time.sleep(0.0001)
            yield number

    begin = time.monotonic()
    assert [one async for one in stream_from_thread(items)] == list(range(1000))
    pauses = (time.monotonic() - begin) / 0.01
    assert len(woken) <= pauses + 4  # the first one, the end, and that of its future


async def test_what_comes_slowly_comes_at_once() -> None:
    put = []

    def items(_):
        for number in range(4):
            time.sleep(0.05)
            put.append(time.monotonic())
            yield number

    late = [time.monotonic() - put[number] async for number in stream_from_thread(items)]
    assert min(late) < 0.009


async def test_the_end_does_not_wait_for_the_pause(monkeypatch) -> None:
    monkeypatch.setattr("chainkit.local.threads._PAUSE_SECONDS", 60)

    async def all_of() -> list[int]:
        return [one async for one in stream_from_thread(lambda _: iter(range(5)))]

    assert await asyncio.wait_for(all_of(), 10) == list(range(5))
