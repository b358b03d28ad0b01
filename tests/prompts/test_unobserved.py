"""Every kind of listener is noticed, and without one no run manager is made."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from langchain_core import globals as settings
from langchain_core import prompts as core_prompts
from langchain_core.callbacks import (
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
    adispatch_custom_event,
    dispatch_custom_event,
    get_usage_metadata_callback,
)
from langchain_core.callbacks import manager as managers
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda, ensure_config
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.context import collect_runs, tracing_v2_enabled
from langsmith import tracing_context
from langsmith import utils as langsmith_utils

import chainkit
from chainkit.prompts.unobserved import unheard
from tests.prompts.cases import Native


@pytest.fixture(autouse=True)
def forgetful_langsmith() -> Iterator[None]:
    langsmith_utils.get_env_var.cache_clear()
    yield
    langsmith_utils.get_env_var.cache_clear()


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"run_name": "x"},
        {"max_concurrency": 2},
        {"recursion_limit": 3},
        {"tags": [], "metadata": {}, "callbacks": None, "configurable": {}},
        {"callbacks": []},
        {"callbacks": CallbackManager(handlers=[])},
        {"run_id": None},
    ],
)
def test_nobody_hears_through_this_config(config: Any) -> None:
    assert unheard(config) is not None


@pytest.mark.parametrize(
    "config",
    [
        {"callbacks": [BaseCallbackHandler()]},
        {"callbacks": CallbackManager(handlers=[BaseCallbackHandler()])},
        {"callbacks": CallbackManager(handlers=[], inheritable_tags=["x"])},
        {"tags": ["x"]},
        {"metadata": {"x": 1}},
        {"configurable": {"x": 1}},
        {"run_id": "x"},
        {"session_id": "a key that langchain-core moves to configurable"},
    ],
)
def test_somebody_may_hear_through_this_config(config: Any) -> None:
    assert unheard(config) is None


def test_limits_are_kept() -> None:
    quiet = unheard({"max_concurrency": 2, "recursion_limit": 3})
    assert quiet is not None
    assert (quiet["max_concurrency"], quiet["recursion_limit"]) == (2, 3)


def test_a_listener_around_is_heard() -> None:
    token = var_child_runnable_config.set({"tags": ["x"]})
    try:
        assert unheard(None) is None
    finally:
        var_child_runnable_config.reset(token)


def test_the_debug_switch_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_debug", True)
    assert unheard(None) is None


@pytest.mark.parametrize("variable", ["LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "LANGSMITH_TRACING_V2"])
def test_tracing_by_environment_is_heard(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "true")
    monkeypatch.setenv("LANGSMITH_API_KEY", "a key: without one langchain-core makes no tracer")
    assert unheard(None) is None


@pytest.mark.parametrize("variable", ["LANGCHAIN_TRACING", "LANGCHAIN_HANDLER"])
def test_the_refused_tracer_is_refused_as_ever(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(RuntimeError, match="LangChainTracerV1"):
        (chainkit.prompt("{x}") | Native()).invoke({"x": 1})


def test_langsmith_contexts_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_API_KEY", "a key: without one langchain-core makes no tracer")
    with tracing_context(enabled=True):
        assert unheard(None) is None
    with tracing_v2_enabled(client=object()):  # type: ignore[arg-type]
        assert unheard(None) is None
    with tracing_context(enabled=False):
        assert unheard(None) is not None


@pytest.mark.parametrize("hook", [collect_runs, get_usage_metadata_callback])
def test_hooks_are_heard(hook: Any) -> None:
    with hook():
        assert unheard(None) is None
    assert unheard(None) is not None


def test_instrumentation_that_wraps_the_constructor_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = BaseCallbackManager.__init__

    @functools.wraps(inner)
    def instrumented(self: Any, *args: Any, **kwargs: Any) -> None:
        inner(self, *args, **kwargs)
        self.inheritable_handlers.append(BaseCallbackHandler())

    monkeypatch.setattr(BaseCallbackManager, "__init__", instrumented)
    assert unheard(None) is None


@pytest.mark.parametrize("loaded", [True, False])
def test_instrumentation_that_wraps_the_configuration_is_heard(loaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = managers._configure

    @functools.wraps(inner)
    def instrumented(*args: Any, **kwargs: Any) -> Any:
        manager = inner(*args, **kwargs)
        manager.add_handler(BaseCallbackHandler())
        return manager

    monkeypatch.setattr(managers, "_configure", instrumented)
    if not loaded:
        monkeypatch.delitem(sys.modules, "langsmith.run_helpers", raising=False)
        monkeypatch.delitem(sys.modules, "langchain_core.tracers.context", raising=False)
    assert unheard(None) is None


def test_a_watched_class_of_steps_is_run_as_it_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instrumentation that wraps a step's own methods, before or after its first run."""
    chain = chainkit.prompt("{x}") | Native() | StrOutputParser() | RunnableLambda(len)
    chain.invoke({"x": 1})
    watched = []
    for kind in (core_prompts.PromptTemplate, BaseChatModel, StrOutputParser, RunnableLambda):
        inner = kind.invoke

        @functools.wraps(inner)
        def instrumented(*args: Any, inner: Any = inner, **kwargs: Any) -> Any:
            watched.append(type(args[0]).__name__)
            return inner(*args, **kwargs)

        monkeypatch.setattr(kind, "invoke", instrumented)
    chain.invoke({"x": 1})
    assert watched == ["PromptTemplate", "Native", "StrOutputParser", "RunnableLambda"]


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The run managers that langchain-core makes meanwhile."""
    made: list[str] = []
    for kind in (managers.CallbackManager, managers.AsyncCallbackManager):
        for name in ("on_chain_start", "on_chat_model_start", "on_llm_start"):
            inner = getattr(kind, name)

            def start(*args: Any, inner: Any = inner, **kwargs: Any) -> Any:
                made.append(inner.__name__)
                return inner(*args, **kwargs)

            monkeypatch.setattr(kind, name, start)
    yield made


CHAINS = {
    "chat": lambda: chainkit.prompt([("human", "{x}")]) | Native() | StrOutputParser(),
    "dictionary": lambda: {"x": RunnableLambda(str)} | chainkit.prompt("{x}") | Native(),
    "bound": lambda: chainkit.prompt("{x}") | Native().bind(stop=["a"]).bind(seed=1),
    "nested": lambda: chainkit.prompt("{x}") | (Native() | StrOutputParser()),
}


@pytest.mark.parametrize("name", CHAINS)
async def test_no_run_manager_is_made_for_nobody(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = CHAINS[name]()
    with counted(monkeypatch) as made:
        chain.invoke({"x": 1})
        await chain.ainvoke({"x": 1})
        list(chain.stream({"x": 1}))
        [chunk async for chunk in chain.astream({"x": 1})]
        chain.batch([{"x": 1}] * 3)
        await chain.abatch([{"x": 1}] * 3)
        assert made == []
        chain.invoke({"x": 1}, {"tags": ["somebody"]})
        assert made


def test_a_model_with_listeners_of_its_own_is_run_with_them() -> None:
    heard = []

    class Handler(BaseCallbackHandler):
        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            heard.append("start")

    (chainkit.prompt("{x}") | Native(callbacks=[Handler()])).invoke({"x": 1})
    assert heard == ["start"]


def test_a_verbose_model_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    class Said(BaseCallbackHandler):
        pass

    heard: list[str] = []
    Said.on_llm_end = lambda self, *args, **kwargs: heard.append("end")  # type: ignore[method-assign]
    (chainkit.prompt("{x}") | Native(verbose=True, callbacks=[Said()])).invoke({"x": 1})
    assert heard == ["end"]


def test_a_class_that_changed_invoke_is_called_by_it() -> None:
    class Own(Native):
        def invoke(self, *args: Any, **kwargs: Any) -> Any:
            return "its own"

    assert (chainkit.prompt("{x}") | Own()).invoke({"x": 1}) == "its own"


def test_a_patched_class_is_called_by_the_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = chainkit.prompt("{x}") | Native()
    chain.invoke({"x": 1})
    monkeypatch.setattr(BaseChatModel, "invoke", lambda *args, **kwargs: "patched")
    assert chain.invoke({"x": 1}) == "patched"


def test_functions_can_dispatch_events_that_nobody_hears() -> None:
    def tell(value: Any) -> Any:
        dispatch_custom_event("told", value)
        return value

    assert chainkit.chain(tell, tell).invoke(1) == 1
    assert list(chainkit.chain(tell, tell).stream(1)) == [1]


async def test_coroutines_can_dispatch_events_that_nobody_hears() -> None:
    async def tell(value: Any) -> Any:
        await adispatch_custom_event("told", value)
        return value

    assert await chainkit.chain(tell, tell).ainvoke(1) == 1
    assert [chunk async for chunk in chainkit.chain(tell, tell).astream(1)] == [1]


async def test_what_a_step_puts_into_the_context_stays_there() -> None:
    seen = []

    def look(value: Any) -> Any:
        seen.append(ensure_config()["recursion_limit"])
        return value

    chain = chainkit.chain(look, look)
    chain.invoke(1, {"recursion_limit": 7})
    for _ in chain.stream(1, {"recursion_limit": 7}):
        assert var_child_runnable_config.get() is None
    async for _ in chain.astream(1, {"recursion_limit": 7}):
        assert var_child_runnable_config.get() is None
    await chain.ainvoke(1, {"recursion_limit": 7})
    assert seen == [7] * 8
    assert var_child_runnable_config.get() is None


def test_a_function_that_answers_with_itself_ends() -> None:
    again: Any = chainkit.chain(lambda value: again, lambda value: value)
    with pytest.raises(RecursionError, match="Recursion limit"):
        again.invoke(1)


async def test_a_stream_that_is_left_closes_the_model() -> None:
    closed = []

    class Long(Native):
        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            try:
                yield from super()._stream(*args, **kwargs)
            finally:
                closed.append("sync")

        async def _astream(self, *args: Any, **kwargs: Any) -> Any:
            try:
                async for chunk in super()._astream(*args, **kwargs):
                    yield chunk
            finally:
                closed.append("async")

    chain = chainkit.prompt("{x}") | Long() | StrOutputParser()
    chunks = chain.stream({"x": 1})
    next(chunks)
    chunks.close()
    achunks = chain.astream({"x": 1})
    await anext(achunks)
    await achunks.aclose()
    assert "sync" in closed
    assert "async" in closed


def test_slow_steps_of_a_dictionary_run_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=60)

    def wait(value: Any) -> Any:
        meeting.wait()
        return value

    chain = chainkit.chain({"a": wait, "b": wait}, lambda both: both)
    assert chain.invoke(1) == {"a": 1, "b": 1}
    assert list(chain.stream(1)) == [{"a": 1, "b": 1}]
    assert chainkit.chain(wait, str).batch([1, 2]) == ["1", "2"]


async def test_slow_steps_of_a_dictionary_are_awaited_side_by_side() -> None:
    meeting = asyncio.Barrier(2)

    async def wait(value: Any) -> Any:
        await asyncio.wait_for(meeting.wait(), 60)
        return value

    chain = chainkit.chain({"a": wait, "b": wait}, lambda both: both)
    assert await chain.ainvoke(1) == {"a": 1, "b": 1}
    assert [chunk async for chunk in chain.astream(1)] == [{"a": 1, "b": 1}]
    assert await chainkit.chain(wait, str).abatch([1, 2]) == ["1", "2"]


async def test_no_more_run_at_once_than_is_allowed() -> None:
    running, most = 0, 0

    async def count(value: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return value

    await chainkit.chain(count, str).abatch(list(range(9)), {"max_concurrency": 3})
    assert most == 3


async def test_a_cancelled_chain_stops_and_leaves_no_config_behind() -> None:
    async def forever(_: Any) -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(chainkit.chain(forever, str).ainvoke(1))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert var_child_runnable_config.get() is None


def test_many_threads_share_a_chain() -> None:
    chain = chainkit.prompt("{x}") | chainkit.chat_model("fake:") | StrOutputParser()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: chain.invoke({"x": n}), range(200))) == [str(n) for n in range(200)]


def test_a_first_run_does_not_load_the_tracers() -> None:
    program = (
        "import sys, chainkit; (chainkit.prompt('{x}') | chainkit.chat_model('fake:')).invoke({'x': 1});"
        "assert 'langsmith.run_helpers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
