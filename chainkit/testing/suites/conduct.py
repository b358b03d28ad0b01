"""A model does not block, closes abandoned streams, reports errors, and sends callbacks all events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chainkit.testing.suites.model import (
    PATIENCE_SECONDS,
    Model,
    ModelTests,
    Recorder,
    Way,
    every_stream,
    every_way,
    invoke,
    text_of,
)

_TICK_SECONDS = 0.005
_SHORTEST_SECONDS = 0.1
_TRIES = 3


class LoopTests(ModelTests):
    """Asynchronous methods leave the event loop free."""

    def test_ainvoke_does_not_block_the_event_loop(self) -> None:
        """Other tasks run while an answer is waited for."""
        self._stays_free(_call)

    def test_astream_does_not_block_the_event_loop(self) -> None:
        """Other tasks run while a stream is waited for."""
        self._stays_free(_read)

    def test_a_model_outlives_its_event_loop(self, model: Model) -> None:
        """The same model works in a second event loop."""
        for _ in range(2):
            asyncio.run(_call(model, self.prompt))
            asyncio.run(_read(model, self.prompt))

    def _stays_free(self, ask: Callable[[Model, str], Awaitable[None]]) -> None:
        """Once is enough: on a busy machine an event loop may stall through no fault of the model."""
        took = longest = 0.0
        for _ in range(_TRIES):
            took, longest = asyncio.run(self._watched(self.slow_model(), ask))
            if took < _SHORTEST_SECONDS:
                pytest.skip(f"answers come within {took:.3f} s; slow_model can give a slower model")
            if longest < took / 2:
                return
        pytest.fail(f"the event loop stood still for {longest:.2f} of {took:.2f} s")

    async def _watched(self, model: Model, ask: Callable[[Model, str], Awaitable[None]]) -> tuple[float, float]:
        """How long a call took, and the longest time in it that the event loop stood still."""
        gaps: list[float] = []
        ticking = asyncio.create_task(_tick(gaps))
        await asyncio.sleep(4 * _TICK_SECONDS)
        gaps.clear()
        begin = time.perf_counter()
        await ask(model, self.prompt)
        took = time.perf_counter() - begin
        await asyncio.sleep(2 * _TICK_SECONDS)
        ticking.cancel()
        return took, max(gaps)


class CancelTests(ModelTests):
    """Abandoned calls are closed, and the model still works."""

    def test_a_stream_that_is_left_is_closed(self) -> None:
        """`close()` ends the call of a stream."""
        model = self.waiting_model()
        pieces: Any = model.stream(self.prompt)
        next(pieces)
        pieces.close()
        self._let_go()
        assert "".join(invoke(self.make(), self.prompt)).strip()

    def test_an_async_stream_that_is_left_is_closed(self) -> None:
        """`aclose()` ends the call of a stream."""
        model = self.waiting_model()

        async def leave() -> None:
            pieces: Any = model.astream(self.prompt)
            async for _ in pieces:
                break
            await pieces.aclose()
            await asyncio.to_thread(self._let_go)

        asyncio.run(leave())

    def test_a_task_that_is_cancelled_ends_its_call(self) -> None:
        """Cancelling `ainvoke` ends the call, and is not swallowed."""
        model = self.slow_model()

        async def cancel() -> None:
            task = asyncio.create_task(_call(model, self.prompt))
            await asyncio.sleep(0.05)
            if task.done():
                pytest.skip("answers come at once; slow_model can give a slower model")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(self._let_go)

        asyncio.run(cancel())

    def _let_go(self) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while (busy := self.open_calls()) and time.monotonic() < end:
            time.sleep(0.01)
        assert not busy, f"{busy} calls are still open {PATIENCE_SECONDS:g} s after they were left"


class BreakTests(ModelTests):
    """A stream that breaks is an error, with the text so far."""

    @every_stream
    def test_a_stream_that_breaks_is_an_error_with_the_text_so_far(self, way: Way) -> None:
        """It does not look like a short answer, and nothing that came is lost."""
        text, caught = self._broken(way)
        assert text, "no text came before the stream broke"
        assert self.partial_of(caught) == text, "the error does not hold the text that had arrived (partial_of)"

    @every_stream
    def test_listeners_hear_of_a_stream_that_breaks(self, way: Way) -> None:
        """They get an error and no end."""
        recorder = Recorder()
        self._broken(way, config={"callbacks": [recorder]})
        assert recorder.names == ["start", "error"]

    def _broken(self, way: Way, **options: Any) -> tuple[str, BaseException]:
        model = self.broken_model()
        if model is None:
            pytest.skip("streams cannot be broken here (broken_model)")
        recorder = Recorder()
        config: dict[str, Any] = options.pop("config", {"callbacks": []})
        config["callbacks"] = [*config["callbacks"], recorder]
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has its own
            way(model, self.prompt, config=config)
        return "".join(recorder.tokens), caught.value


class EventTests(ModelTests):
    """Listeners get every event once, in order."""

    @every_way
    def test_a_run_begins_and_ends_once(self, model: Model, way: Way) -> None:
        """One start, one end, of the same run."""
        recorder = Recorder()
        way(model, self.prompt, config={"callbacks": [recorder]})
        assert recorder.names == ["start", "end"]
        assert len({run for _, run, _ in recorder.events}) == 1, "events of one run have different ids"

    @every_way
    def test_the_end_tells_the_whole_answer(self, model: Model, way: Way) -> None:
        """What listeners get at the end is what the caller got."""
        recorder = Recorder()
        text = "".join(way(model, self.prompt, config={"callbacks": [recorder]}))
        assert recorder.result is not None
        assert text_of(recorder.result.generations[0][0]) == text

    @every_stream
    def test_every_piece_is_told(self, model: Model, way: Way) -> None:
        """The pieces that listeners hear make up the answer, in time."""
        recorder = Recorder()
        text = "".join(way(model, self.prompt, config={"callbacks": [recorder]}))
        assert "".join(recorder.tokens) == text

    @every_way
    def test_name_tags_and_metadata_of_a_call_are_told(self, model: Model, way: Way) -> None:
        """The config of a call reaches listeners."""
        recorder = Recorder()
        config = {"callbacks": [recorder], "tags": ["one"], "metadata": {"two": 2}, "run_name": "three"}
        way(model, self.prompt, config=config)
        start = recorder.events[0][2]
        assert "one" in start["tags"]
        assert start["metadata"]["two"] == 2
        assert start["name"] == "three"

    def test_a_batch_tells_of_each_prompt(self, model: Model) -> None:
        """As many runs begin and end as there are prompts."""
        recorder = Recorder()
        model.batch([*self.prompts], config={"callbacks": [recorder]})
        for name in ("start", "end"):
            runs = [run for event, run, _ in recorder.events if event == name]
            assert len(runs) == len(set(runs)) == len(self.prompts), f"{len(runs)} runs reported their {name}"


async def _tick(gaps: list[float]) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now


async def _call(model: Model, prompt: str) -> None:
    await model.ainvoke(prompt)


async def _read(model: Model, prompt: str) -> None:
    async for _ in model.astream(prompt):
        pass
