"""A trace keeps what happened, whole, and no key."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool

import chainkit
from chainkit.base.errors import LogFileError
from chainkit.base.redaction import Redaction
from chainkit.chains.fallback import fallback
from chainkit.observe import log
from chainkit.observe.prices import price
from chainkit.testing import Scripted, ScriptedChat
from tests.prompts.cases import Failing, Native

PROMPT = [("system", "Speak {language}."), ("human", "{question}")]
INPUT = {"language": "French", "question": "Why?"}


class Priced(Native):
    """A model that says it is one of OpenAI's."""

    model: str = "gpt-4o-mini-2024-07-18"

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_provider": "openai"}

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        usage: Any = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
        usage["input_token_details"] = {"cache_read": 400}
        message = AIMessage("ok", usage_metadata=usage, response_metadata={"model_name": self.model})
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        yield ChatGenerationChunk(message=AIMessageChunk("o"))
        yield ChatGenerationChunk(message=AIMessageChunk("k"))


def chain(model: Any) -> Any:
    return chainkit.prompt(PROMPT) | model | StrOutputParser()


def test_the_prompt_answer_tokens_and_time_of_each_step_are_kept() -> None:
    with chainkit.trace() as trace:
        chain(ScriptedChat("Parce que.").bind(stop=["!"])).invoke(INPUT)
    (root,) = trace.steps
    assert [(step.kind, step.name) for step in root.walk()] == [
        ("chain", "RunnableSequence"),
        ("prompt", "ChatPromptTemplate"),
        ("model", "ScriptedChat"),
        ("parser", "StrOutputParser"),
    ]
    (model,) = trace.models
    assert model.messages == (("system", "Speak French."), ("human", "Why?"))
    assert (model.answer, model.input_tokens, model.output_tokens, model.model) == ("Parce que.", 3, 2, "scripted")
    assert model.settings == {"stop": ["!"]}
    assert model.details["finish_reason"] == "stop"
    assert root.inputs == INPUT
    assert root.output == "Parce que."
    assert root.seconds is not None
    assert root.seconds >= (model.seconds or 0)


@pytest.mark.parametrize("way", ["stream", "batch", "ainvoke", "astream", "abatch"])
async def test_every_way_to_run_is_kept(way: str) -> None:
    steps = chain(ScriptedChat("Parce que."))
    with chainkit.trace() as trace:
        match way:
            case "stream":
                list(steps.stream(INPUT))
            case "batch":
                steps.batch([INPUT, INPUT])
            case "astream":
                [chunk async for chunk in steps.astream(INPUT)]
            case _:
                await getattr(steps, way)([INPUT] * 2 if way == "abatch" else INPUT)
    assert {model.answer for model in trace.models} == {"Parce que."}
    assert len(trace.steps) == (2 if "batch" in way else 1)
    assert all(model.input_tokens == 3 for model in trace.models)


def test_a_text_model_and_one_alone_are_kept() -> None:
    with chainkit.trace() as trace:
        Scripted("yes").invoke("no?")
    assert trace.models[0].messages == (("text", "no?"),)
    assert trace.models[0].answer == "yes"
    assert trace.cost is None


def test_an_error_is_kept_and_raised() -> None:
    with chainkit.trace() as trace, pytest.raises(ConnectionError):
        chain(Failing()).invoke(INPUT)
    assert trace.models[0].error == "ConnectionError('no line')"
    assert trace.models[0].output is None
    assert "error: ConnectionError('no line')" in str(trace)


def test_after_the_trace_nothing_is_kept_and_nobody_listens() -> None:
    with chainkit.trace() as trace:
        pass
    chain(ScriptedChat("x")).invoke(INPUT)
    assert trace.steps == ()
    assert str(trace) == "no model was called"


def test_traces_inside_traces_each_keep_all_that_happens_in_them() -> None:
    steps = chain(ScriptedChat("x"))
    with chainkit.trace() as outer:
        steps.invoke(INPUT)
        with chainkit.trace() as inner:
            steps.invoke(INPUT)
        steps.invoke(INPUT)
    assert (len(outer.steps), len(inner.steps)) == (3, 1)


def test_a_trace_inside_a_step_keeps_what_is_below() -> None:
    inner: list[Any] = []

    def step(value: Any) -> Any:
        with chainkit.trace() as trace:
            result = chain(ScriptedChat("x")).invoke(value)
        inner.append(trace)
        return result

    with chainkit.trace() as outer:
        chainkit.chain(step, str).invoke(INPUT)
    assert len(inner[0].models) == 1
    assert len(outer.models) == 1
    assert len(outer.steps) == 1


async def test_tasks_do_not_hear_each_other() -> None:
    async def one(answer: str) -> list[str]:
        with chainkit.trace() as trace:
            for _ in range(3):
                await chain(ScriptedChat(answer)).ainvoke(INPUT)
                await asyncio.sleep(0)
        return [model.answer for model in trace.models]

    assert await asyncio.gather(*(one(str(n)) for n in range(5))) == [[str(n)] * 3 for n in range(5)]


def test_threads_with_the_context_are_heard() -> None:
    steps = chain(ScriptedChat("x"))
    with chainkit.trace() as trace, ThreadPoolExecutor(4) as pool:
        contexts = [copy_context() for _ in range(20)]
        list(pool.map(lambda context: context.run(steps.invoke, INPUT), contexts))
    assert len(trace.steps) == 20


def test_a_stream_that_is_left_is_kept_as_far_as_it_went() -> None:
    with chainkit.trace() as trace:
        chunks = chain(ScriptedChat("one two three")).stream(INPUT)
        next(chunks)
    assert "not ended" in str(trace) or trace.steps
    chunks.close()


def test_the_cost_is_worked_out_with_the_cached_tokens() -> None:
    with chainkit.trace() as trace:
        chain(Priced()).invoke(INPUT)
    assert trace.cost == pytest.approx((600 * 0.15 + 400 * 0.075 + 100 * 0.60) / 1e6)
    assert "about $0.000180 at prices of 2026-04" in str(trace)


@pytest.mark.parametrize("model", ["gpt-4o-maxi", "gpt-4o-mini-audio", "", "openai/gpt-4o-mini"])
def test_the_price_of_an_unknown_model_is_unknown(model: str) -> None:
    assert price("openai", model) is None
    assert price("openrouter", "gpt-4o-mini") is None
    with chainkit.trace() as trace:
        chain(Priced(model=model)).invoke(INPUT)
    assert trace.cost is None
    assert "cost unknown" in str(trace)


def test_no_key_gets_into_a_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets = ["word-from-the-environment", "sk-proj-0123456789abcdefghij", "tell-nobody-this"]
    monkeypatch.setenv("OPENAI_API_KEY", secrets[0])
    question = f"{secrets[0]} and {secrets[1]}"
    with chainkit.trace(tmp_path / "log") as trace:
        chain(ScriptedChat(f"I heard {secrets[0]}")).invoke(
            {"language": "x", "question": question, "api_key": secrets[2]}
        )
        with pytest.raises(ValueError, match="bad"):
            chainkit.chain(lambda _: (_ for _ in ()).throw(ValueError(f"bad {secrets[1]}")), str).invoke(1)
    stored = (tmp_path / "log").read_bytes()
    for secret in secrets:
        assert secret not in trace.tree(shorten=None)
        assert secret not in repr(trace.steps)
        assert secret.encode() not in stored


def test_the_text_around_a_key_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "abcdefgh.1")
    assert Redaction().text("a abcdefgh.1 b abcdefghx1") == "a *** b abcdefghx1"


def test_long_texts_are_cut_on_the_screen_only(tmp_path: Path) -> None:
    text = "long " * 1000
    with chainkit.trace(tmp_path / "log") as trace:
        chain(ScriptedChat("x")).invoke({"language": "x", "question": text})
    assert len(str(trace)) < 2000
    assert "(5000 characters)" in str(trace)
    assert text.strip() in trace.tree(shorten=None)
    assert log.recent(tmp_path / "log")[0].models[0].messages[1] == ("human", text)


def test_tools_and_fallbacks_are_part_of_the_tree() -> None:
    @tool
    def double(n: int) -> int:
        """Twice as much."""
        return 2 * n

    with chainkit.trace() as trace:
        double.invoke({"n": 2})
        fallback(Failing(), ScriptedChat("x")).invoke("?")
    assert trace.steps[0].kind == "tool"
    assert [bool(model.error) for model in trace.models] == [True, False]


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "log.sqlite3"
    with chainkit.trace(path) as trace:
        chain(ScriptedChat("Parce que.")).invoke(INPUT)
        chain(Priced()).invoke({"language": "x", "question": 'a "quoted" 50%_ line\nbreak'})
    assert log.recent(path) == list(reversed(trace.steps))
    assert log.read(path, trace.steps[0].id) == trace.steps[0]
    assert log.read(path, trace.steps[1].id[-8:]) == trace.steps[1]
    with pytest.raises(LogFileError, match="2 traces"):
        log.read(path, trace.steps[0].id[:4])
    for part in ['a "quoted" 50%_', "line\nbreak"]:
        assert log.recent(path, containing=part) == [trace.steps[1]]
    assert log.recent(path, containing="Parce") == [trace.steps[0]]
    assert log.recent(path, containing="50%x") == []
    assert log.recent(path, limit=1) == [trace.steps[1]]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert log.forget(path, before=trace.steps[1].started) == 1
    assert log.recent(path) == [trace.steps[1]]
    assert log.forget(path) == 1


def test_writing_twice_keeps_one(tmp_path: Path) -> None:
    with chainkit.trace() as trace:
        chain(ScriptedChat("x")).invoke(INPUT)
    for _ in range(2):
        trace.to_sqlite(tmp_path / "log")
    assert len(log.recent(tmp_path / "log")) == 1


def test_a_file_that_is_no_log_is_refused_and_left_alone(tmp_path: Path) -> None:
    text, other = tmp_path / "text", tmp_path / "other"
    text.write_text("no database " * 100)
    with closing(sqlite3.connect(other)) as base, base:
        base.execute("CREATE TABLE steps (x)")
    base.close()
    for path in (text, other, tmp_path):
        with pytest.raises(LogFileError):
            log.write(path, [])
        with pytest.raises(LogFileError):
            log.recent(path)
    assert text.read_text("utf-8") == "no database " * 100
    with pytest.raises(LogFileError, match="there is no such file"):
        log.recent(tmp_path / "missing")
    log.write(tmp_path / "new", [])
    with pytest.raises(LogFileError, match="no traces"):
        log.read(tmp_path / "new", "x")


def test_an_open_trace_cannot_be_opened_again() -> None:
    with chainkit.trace() as trace, pytest.raises(RuntimeError, match="open already"), trace:
        pass


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_the_tokens_of_a_model_that_continues_text_are_counted(way: str, openai_server: Any) -> None:
    model = chainkit.llm(f"openai:gpt-3.5-turbo-instruct?base_url={openai_server.base_url}", api_key=openai_server.key)
    with chainkit.trace() as trace:
        list(model.stream("say:one two")) if way == "stream" else model.invoke("say:one two")
    assert (trace.input_tokens, trace.output_tokens) == (2, 2)
