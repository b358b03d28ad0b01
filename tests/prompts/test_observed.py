"""As soon as somebody listens, a chain does what langchain-core's does, event for event."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.runnables import RunnableSequence as CoreSequence
from langchain_core.tracers.base import BaseTracer

from chainkit.prompts.sequence import RunnableSequence
from chainkit.prompts.short import prompt
from tests.prompts.cases import ASYNC_ONLY, CASES, Case, Native, chat_prompt, plain

EVENTS = [name for name in dir(BaseCallbackHandler) if name.startswith("on_")]
TAGS = {"tags": ["t"], "metadata": {"m": 1}, "run_name": "outer"}

THREADED = {"dictionary", "models side by side", "dictionary of models", "slow dictionary", "assign", "assign model"}

# Steps in threads tell their events in any order.
ORDERED = [case for case in CASES if case.name not in THREADED]


class Recording:
    """Every event with its arguments; runs are numbered as they appear."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.runs: dict[Any, int] = {None: 0}

    def note(self, event: str, *args: Any, **kwargs: Any) -> None:
        for key in ("run_id", "parent_run_id"):
            kwargs[key] = self.runs.setdefault(kwargs.get(key), len(self.runs))
        self.events.append((event, shown(args), shown(kwargs)))


def shown(value: Any) -> Any:
    if isinstance(value, dict):
        # the reprs of functions and models hold addresses
        return {key: shown(part) for key, part in value.items() if key not in {"repr", "graph", "lc_versions"}}
    if isinstance(value, list | tuple):
        return [shown(part) for part in value]
    if hasattr(value, "generations"):
        return [
            [(type(one).__name__, shown(one.text), shown(getattr(one, "message", None))) for one in several]
            for several in value.generations
        ]
    if hasattr(value, "message") and hasattr(value, "generation_info"):
        return type(value).__name__, plain(value.message), value.generation_info
    if isinstance(value, Runnable | uuid.UUID):
        return type(value).__name__
    return plain(value)


def recorder(base: type, recording: Recording) -> BaseCallbackHandler:
    def method(name: str) -> Callable[..., Any]:
        async def anote(self: Any, *args: Any, **kwargs: Any) -> None:
            recording.note(name, *args, **kwargs)

        def note(self: Any, *args: Any, **kwargs: Any) -> None:
            recording.note(name, *args, **kwargs)

        return anote if base is AsyncCallbackHandler else note

    made = type("Recorder", (base,), {name: method(name) for name in EVENTS} | {"run_inline": True})
    return made()


def both(case: Case) -> list[tuple[Any, Recording]]:
    return [(RunnableSequence(*case.steps()), Recording()), (CoreSequence(*case.steps()), Recording())]


def run(call: Callable[[], Any]) -> Any:
    try:
        return plain(call())
    except Exception as error:  # noqa: BLE001 - whatever langchain-core raises
        return plain(error)


each = pytest.mark.parametrize("case", ORDERED, ids=lambda case: case.name)
each_async = pytest.mark.parametrize("case", ORDERED + ASYNC_ONLY, ids=lambda case: case.name)


@each
def test_a_handler_hears_the_same(case: Case) -> None:
    for way in ("invoke", "stream", "batch"):
        handler_hears_the_same(case, way)


def handler_hears_the_same(case: Case, way: str) -> None:
    heard = []
    for chain, recording in both(case):
        config: Any = {"callbacks": [recorder(BaseCallbackHandler, recording)], "max_concurrency": 1, **TAGS}
        value = [case.value] if way == "batch" else case.value
        call = partial(getattr(chain, way), value, config)
        result = run(lambda call=call, way=way: list(call()) if way == "stream" else call())
        heard.append((recording.events, result))
    assert heard[0] == heard[1]
    assert heard[0][0]


@each_async
async def test_an_async_handler_hears_the_same(case: Case) -> None:
    for way in ("ainvoke", "astream", "abatch"):
        await async_handler_hears_the_same(case, way)


async def async_handler_hears_the_same(case: Case, way: str) -> None:
    heard = []
    for chain, recording in both(case):
        config: Any = {"callbacks": [recorder(AsyncCallbackHandler, recording)], "max_concurrency": 1, **TAGS}
        try:
            if way == "astream":
                result = [chunk async for chunk in chain.astream(case.value, config)]
            else:
                result = await getattr(chain, way)([case.value] if way == "abatch" else case.value, config)
        except Exception as error:  # noqa: BLE001 - whatever langchain-core raises
            result = error
        heard.append((recording.events, plain(result)))
    assert heard[0] == heard[1]
    assert heard[0][0]


@each
async def test_astream_events_are_the_same(case: Case) -> None:
    for version in ("v1", "v2"):
        await astream_events_are_the_same(case, version)


async def astream_events_are_the_same(case: Case, version: Any) -> None:
    told = []
    for chain, recording in both(case):
        try:
            events = [event async for event in chain.astream_events(case.value, version=version)]
        except Exception as error:  # noqa: BLE001 - whatever langchain-core raises
            events = [plain(error)]
        for event in events:
            if isinstance(event, dict):
                ids = [event.pop("run_id", None), *event.pop("parent_ids", [])]
                told.append([recording.runs.setdefault(one, len(recording.runs)) for one in ids])
        told.append(shown(events))
    half = len(told) // 2
    assert told[:half] == told[half:]


class Tree(BaseTracer):
    """Keeps finished runs, as LangSmith's tracer does."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Any] = []

    def _persist_run(self, run: Any) -> None:
        self.roots.append(run)


def outline(run: Any) -> Any:
    return (
        run.name,
        run.run_type,
        shown(run.inputs),
        shown(run.outputs),
        shown(run.extra),
        shown(run.tags),
        [event["name"] for event in run.events],
        shown(run.serialized),
        [outline(child) for child in run.child_runs],
    )


@each
def test_a_tracer_sees_the_same_tree(case: Case) -> None:
    trees = []
    for chain, _ in both(case):
        tree = Tree()
        run(lambda chain=chain, tree=tree: chain.invoke(case.value, {"callbacks": [tree], "max_concurrency": 1}))
        trees.append([outline(root) for root in tree.roots])
    assert trees[0] == trees[1]


def test_a_prompt_of_chainkit_is_told_of_like_one_of_langchain_core() -> None:
    trees = []
    for template in (prompt([("system", "Speak {a}. {{ok}}"), ("human", "{b}")]), chat_prompt()):
        tree = Tree()
        (template | Native()).invoke({"a": 1, "b": 2}, {"callbacks": [tree]})
        trees.append([outline(root) for root in tree.roots])
    assert trees[0] == trees[1]
    assert trees[0][0][0] == "RunnableSequence"


def test_a_chain_inside_a_watched_function_is_watched() -> None:
    inner = prompt("{x}") | Native()
    outer = RunnableLambda(lambda value: inner.invoke(value).content)
    recording = Recording()
    outer.invoke({"x": 1}, {"callbacks": [recorder(BaseCallbackHandler, recording)]})
    assert [event for event, *_ in recording.events].count("on_chat_model_start") == 1
