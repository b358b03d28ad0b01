"""Each check of the suites goes red over a model with the fault that it is there for, and a good model passes all."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.outputs import GenerationChunk, LLMResult
from pydantic import SecretStr

from chainkit.backends.fake import FakeChat, FakeLLM, cut, pieces
from chainkit.base.errors import StreamBroken
from chainkit.testing import ChatIntegrationTests, ChatUnitTests, LLMIntegrationTests, LLMUnitTests

SECRET = "sk-0123456789-hidden"


class GoodLLM(FakeLLM):
    """Repeats its prompt, and can be slow or break off."""

    api_key: SecretStr | None = None
    delay: float = 0.0
    breaks: bool = False
    busy: ClassVar[list[int]] = []

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "api_key": None}}

    @contextmanager
    def call(self) -> Iterator[None]:
        self.busy.append(1)
        try:
            yield
        finally:
            self.busy.pop()

    def count(self, prompt: str, text: str) -> dict[str, int]:
        read, written = len(pieces(prompt)), len(pieces(text))
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def _generate(self, prompts: list[str], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> LLMResult:
        with self.call():
            time.sleep(self.delay)
            result = super()._generate(prompts, stop, **kwargs)
            for prompt, (one,) in zip(prompts, result.generations, strict=True):
                one.generation_info = {"token_usage": self.count(prompt, one.text)}
            return result

    async def _agenerate(
        self, prompts: list[str], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> LLMResult:
        with self.call():
            await asyncio.sleep(self.delay)
            return GoodLLM._generate(self.model_copy(update={"delay": 0.0}), prompts, stop, **kwargs)

    def said_pieces(self, prompt: str, stop: Any, **kwargs: Any) -> Iterator[str]:
        yield from pieces(self.said(prompt, stop, kwargs)[0])

    def chunks(self, prompt: str, stop: Any, **kwargs: Any) -> Iterator[GenerationChunk]:
        text = ""
        for number, piece in enumerate(self.said_pieces(prompt, stop, **kwargs)):
            if self.breaks and number == 2:
                self.broken(text)
                return
            text += piece
            yield GenerationChunk(text=piece)
        yield GenerationChunk(text="", generation_info={"token_usage": self.count(prompt, text)})

    def broken(self, text: str) -> None:
        error = StreamBroken("it broke off")
        error.partial = text
        raise error

    def tell(self, run_manager: Any, chunk: GenerationChunk) -> Any:
        return run_manager.on_llm_new_token(chunk.text, chunk=chunk) if run_manager else None

    def _stream(
        self, prompt: str, stop: Any = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        with self.call():
            time.sleep(self.delay)
            for chunk in self.chunks(prompt, stop, **kwargs):
                self.tell(run_manager, chunk)
                yield chunk

    async def _astream(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        with self.call():
            await asyncio.sleep(self.delay)
            for chunk in self.chunks(prompt, stop, **kwargs):
                if told := self.tell(run_manager, chunk):
                    await told
                yield chunk


class GoodSuite(LLMUnitTests, LLMIntegrationTests):
    model_class: Any = GoodLLM
    secrets = {"api_key": SECRET}

    def slow_model(self) -> Any:
        return self.make(delay=0.15)

    def broken_model(self) -> Any:
        return self.make(breaks=True)

    def open_calls(self) -> int:
        return len(GoodLLM.busy)


class TestGoodModel(GoodSuite):
    """It passes everything; below it is seen that nothing is skipped."""


def runs(suite: Any, name: str) -> Iterator[Any]:
    """Calls of one test, one for each way."""
    method = getattr(suite, name)
    marks = [mark for mark in getattr(method, "pytestmark", []) if mark.name == "parametrize"]
    ways = marks[0].args[1] if marks else [None]
    for way in ways:
        given = {"way": way, "model": suite.make()}
        yield lambda given=given: method(**{p: given[p] for p in inspect.signature(method).parameters})


def red(suite: Any, name: str) -> bool:
    """Whether a test fails in some way; one that is skipped proves nothing."""
    for run in runs(suite, name):
        try:
            run()
        except pytest.skip.Exception as error:
            raise AssertionError(f"{name} was skipped: {error}") from None
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - however it fails, it is red
            return True
    return False


NAMES = [name for name in dir(GoodSuite) if name.startswith("test_")]


def test_a_good_model_passes_all_and_nothing_is_skipped() -> None:
    assert [name for name in NAMES if red(GoodSuite(), name)] == []


class IgnoresStop(GoodLLM):
    def said(self, prompt: str, stop: Any, settings: Any) -> tuple[str, str]:
        return super().said(prompt, None, settings)


class KeepsTheStop(GoodLLM):
    def said(self, prompt: str, stop: Any, settings: Any) -> tuple[str, str]:
        text, reason = super().said(prompt, stop, settings)
        return (text + stop[0] if stop and stop[0] in prompt else text), reason


class LooksAtEachPiece(GoodLLM):
    def said_pieces(self, prompt: str, stop: Any, **kwargs: Any) -> Iterator[str]:
        for piece in pieces(prompt):
            text, _ = cut(piece, stop)
            yield text
            if text != piece:
                return


class TakesTheStopsInTurn(GoodLLM):
    def said(self, prompt: str, stop: Any, settings: Any) -> tuple[str, str]:
        found = next(([text] for text in stop or () if text in prompt), None)
        return super().said(prompt, found, settings)


class KeepsWhatLookedLikeAStop(GoodLLM):
    def said_pieces(self, prompt: str, stop: Any, **kwargs: Any) -> Iterator[str]:
        text = "".join(super().said_pieces(prompt, stop, **kwargs))
        yield from pieces(text[:-2] if stop and stop[0].startswith(text[-2:]) else text)


class StreamsWhole(GoodLLM):
    def said_pieces(self, prompt: str, stop: Any, **kwargs: Any) -> Iterator[str]:
        yield "".join(super().said_pieces(prompt, stop, **kwargs))


class StreamsLess(GoodLLM):
    def said_pieces(self, prompt: str, stop: Any, **kwargs: Any) -> Iterator[str]:
        yield from list(super().said_pieces(prompt, stop, **kwargs))[:-1]


class SaysNothing(GoodLLM):
    reply: str | None = ""


class TurnsBatchesAround(GoodLLM):
    def _generate(self, prompts: list[str], *args: Any, **kwargs: Any) -> LLMResult:
        return super()._generate(prompts[::-1], *args, **kwargs)


class FailsOnEmptyBatches(GoodLLM):
    def batch(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return [inputs[0]] and super().batch(inputs, *args, **kwargs)


class SharesItsPrompt(GoodLLM):
    """One place for the prompt of every call."""

    now: ClassVar[str] = ""

    def said(self, prompt: str, stop: Any, settings: Any) -> tuple[str, str]:
        SharesItsPrompt.now = prompt
        time.sleep(0.05)  # for the other threads to begin
        return super().said(SharesItsPrompt.now, stop, settings)


class SharesItsPromptInTasks(GoodLLM):
    now: ClassVar[str] = ""

    async def _astream(self, prompt: str, *args: Any, **kwargs: Any) -> Any:
        SharesItsPromptInTasks.now = prompt
        await asyncio.sleep(0.002)
        async for chunk in super()._astream(SharesItsPromptInTasks.now, *args, **kwargs):
            yield chunk


class Blocks(GoodLLM):
    async def _agenerate(self, *args: Any, **kwargs: Any) -> LLMResult:
        return self._generate(*args, **kwargs)

    async def _astream(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        for chunk in self._stream(prompt, stop, **kwargs):
            yield chunk


class KeepsItsLoop(GoodLLM):
    loops: ClassVar[dict[int, Any]] = {}

    async def _agenerate(self, *args: Any, **kwargs: Any) -> LLMResult:
        if self.loops.setdefault(id(self), asyncio.get_running_loop()) is not asyncio.get_running_loop():
            raise RuntimeError("Event loop is closed")
        return await super()._agenerate(*args, **kwargs)


class StaysOpen(GoodLLM):
    """Its calls end with their answers only."""

    @contextmanager
    def call(self) -> Iterator[None]:
        self.busy.append(1)
        yield
        self.busy.pop()


class SwallowsCancelling(GoodLLM):
    async def _agenerate(self, prompts: list[str], stop: Any = None, *args: Any, **kwargs: Any) -> LLMResult:
        try:
            return await super()._agenerate(prompts, stop, *args, **kwargs)
        except asyncio.CancelledError:
            return FakeLLM._generate(self, prompts, stop)


class EndsQuietly(GoodLLM):
    def broken(self, text: str) -> None:
        """As if all had been said."""


class LosesWhatCame(GoodLLM):
    def broken(self, text: str) -> None:
        raise StreamBroken("it broke off")


class CountsNothing(GoodLLM):
    def count(self, prompt: str, text: str) -> dict[str, int]:
        return {}


class CountsStreamsTwice(GoodLLM):
    def chunks(self, prompt: str, stop: Any, **kwargs: Any) -> Iterator[GenerationChunk]:
        for chunk in super().chunks(prompt, stop, **kwargs):
            if chunk.generation_info:
                chunk.generation_info["token_usage"]["completion_tokens"] *= 2
                chunk.generation_info["token_usage"]["total_tokens"] += 1
            yield chunk


class CountsTheSame(GoodLLM):
    def count(self, prompt: str, text: str) -> dict[str, int]:
        return {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


class TellsNoTokens(GoodLLM):
    def tell(self, run_manager: Any, chunk: GenerationChunk) -> None:
        """Listeners have to wait for the end."""


class RunsTwice(GoodLLM):
    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> str:  # noqa: A002
        super().invoke(input, config, **kwargs)
        return super().invoke(input, config, **kwargs)


class AltersTheAnswer(GoodLLM):
    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> str:  # noqa: A002
        return super().invoke(input, config, **kwargs) + "."


class DropsTheConfig(GoodLLM):
    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> str:  # noqa: A002
        return super().invoke(input, {"callbacks": (config or {}).get("callbacks")}, **kwargs)


class DropsTheConfigOfBatches(GoodLLM):
    def batch(self, inputs: Any, config: Any = None, **kwargs: Any) -> Any:
        return super().batch(inputs, **kwargs)


class ShowsItsKey(GoodLLM):
    api_key: str | None = None  # type: ignore[assignment]
    __getstate__ = FakeLLM.__getstate__


class HasNoType(GoodLLM):
    @property
    def _llm_type(self) -> str:
        return ""


class IsSomethingElseEachTime(GoodLLM):
    numbers: ClassVar[Any] = itertools.count()

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"number": next(self.numbers)}


class CannotBeBound(GoodLLM):
    def bind(self, **kwargs: Any) -> Any:
        return self


class CountsAnyTextAsOne(GoodLLM):
    def get_token_ids(self, text: str) -> list[int]:
        return [1]


class SaysItIsAChat(GoodLLM):
    def _get_ls_params(self, *args: Any, **kwargs: Any) -> Any:
        return {**super()._get_ls_params(*args, **kwargs), "ls_model_type": "chat"}


class AnswersWithMore(GoodLLM):
    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:  # noqa: A002
        return {"text": super().invoke(input, config, **kwargs)}


class CachesWithoutStop(GoodLLM):
    def generate(self, prompts: Any, stop: Any = None, *args: Any, **kwargs: Any) -> LLMResult:
        return super().generate(prompts, None, *args, **kwargs)


STOPS_INSIDE = "test_an_answer_ends_before_a_stop_inside_a_piece"
STOPS_ACROSS = "test_an_answer_ends_before_a_stop_across_pieces"
FAULTS: list[tuple[type[GoodLLM], set[str]]] = [
    (IgnoresStop, {STOPS_INSIDE, STOPS_ACROSS}),
    (KeepsTheStop, {STOPS_INSIDE, STOPS_ACROSS}),
    (LooksAtEachPiece, {STOPS_ACROSS}),
    (TakesTheStopsInTurn, {"test_the_stop_that_comes_first_counts"}),
    (KeepsWhatLookedLikeAStop, {"test_a_stop_that_never_comes_changes_nothing"}),
    (StreamsWhole, {"test_a_stream_comes_in_pieces"}),
    (StreamsLess, {"test_every_way_gives_the_same_answer"}),
    (SaysNothing, {"test_there_is_an_answer"}),
    (
        TurnsBatchesAround,
        {
            "test_a_batch_gives_what_single_calls_give_in_their_order",
            "test_generate_answers_each_prompt_in_order",
        },
    ),
    (FailsOnEmptyBatches, {"test_an_empty_batch_is_empty"}),
    (SharesItsPrompt, {"test_threads_do_not_mix_up_answers"}),
    (SharesItsPromptInTasks, {"test_tasks_do_not_mix_up_answers"}),
    (Blocks, {"test_ainvoke_does_not_block_the_event_loop", "test_astream_does_not_block_the_event_loop"}),
    (KeepsItsLoop, {"test_a_model_outlives_its_event_loop"}),
    (
        StaysOpen,
        {
            "test_a_stream_that_is_left_is_closed",
            "test_an_async_stream_that_is_left_is_closed",
            "test_a_task_that_is_cancelled_ends_its_call",
        },
    ),
    (SwallowsCancelling, {"test_a_task_that_is_cancelled_ends_its_call"}),
    (
        EndsQuietly,
        {
            "test_a_stream_that_breaks_is_an_error_with_the_text_so_far",
            "test_listeners_hear_of_a_stream_that_breaks",
        },
    ),
    (LosesWhatCame, {"test_a_stream_that_breaks_is_an_error_with_the_text_so_far"}),
    (CountsNothing, {"test_tokens_are_counted_by_every_way"}),
    (CountsStreamsTwice, {"test_every_way_counts_the_same", "test_tokens_are_counted_by_every_way"}),
    (CountsTheSame, {"test_a_longer_prompt_counts_more"}),
    (TellsNoTokens, {"test_every_piece_is_told"}),
    (RunsTwice, {"test_a_run_begins_and_ends_once"}),
    (AltersTheAnswer, {"test_the_end_tells_the_whole_answer"}),
    (DropsTheConfig, {"test_name_tags_and_metadata_of_a_call_are_told"}),
    (DropsTheConfigOfBatches, {"test_a_batch_tells_of_each_prompt"}),
    (ShowsItsKey, {"test_no_secret_is_shown", "test_no_secret_is_serialised", "test_no_secret_is_pickled"}),
    (HasNoType, {"test_it_says_what_kind_it_is"}),
    (IsSomethingElseEachTime, {"test_what_identifies_it_is_plain", "test_a_copy_is_equal"}),
    (CannotBeBound, {"test_options_can_be_bound"}),
    (CountsAnyTextAsOne, {"test_tokens_can_be_counted"}),
    (SaysItIsAChat, {"test_it_is_a_model_that_continues_text"}),
    (AnswersWithMore, {"test_answers_are_text"}),
    (CachesWithoutStop, {"test_a_cache_answers_the_same_prompt_and_no_other"}),
]


@pytest.mark.parametrize(("kind", "names"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found(kind: type[GoodLLM], names: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainkit.testing.suites.conduct.PATIENCE_SECONDS", 0.1)
    suite = type("Suite", (GoodSuite,), {"model_class": kind})()
    assert {name for name in names if not red(suite, name)} == set()
    GoodLLM.busy.clear()


def test_every_check_has_a_fault_that_it_finds() -> None:
    assert set(NAMES) == set().union(*(names for _, names in FAULTS))


class HasNoReasonInStreams(FakeChat):
    def _stream(self, *args: Any, **kwargs: Any) -> Any:
        for chunk in super()._stream(*args, **kwargs):
            chunk.message.response_metadata.pop("finish_reason", None)
            yield chunk


class SaysItContinuesText(FakeChat):
    def _get_ls_params(self, *args: Any, **kwargs: Any) -> Any:
        return {**super()._get_ls_params(*args, **kwargs), "ls_model_type": "llm"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (HasNoReasonInStreams, "test_the_chunks_of_a_stream_add_up_to_the_message"),
        (SaysItContinuesText, "test_it_is_a_chat_model"),
    ],
)
def test_a_fault_of_a_chat_is_found(kind: type[FakeChat], name: str) -> None:
    good = type("Suite", (ChatUnitTests, ChatIntegrationTests), {"model_class": FakeChat})()
    bad = type("Suite", (ChatUnitTests, ChatIntegrationTests), {"model_class": kind})()
    assert (red(good, name), red(bad, name)) == (False, True)
