"""Whether anybody can observe how a chain runs.

langchain-core answers that for every step, by building a callback manager; here it is asked once for a whole chain.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from contextvars import Context, copy_context
from typing import Any, cast

from langchain_core.callbacks import CallbackManager
from langchain_core.callbacks import manager as managers
from langchain_core.globals import get_debug
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.config import get_callback_manager_for_config, var_child_runnable_config
from langchain_core.utils.uuid import uuid7

from chainkit.prompts.direct.step import NOTHING, of_core

_SILENT = frozenset({"run_name", "recursion_limit", "max_concurrency", "callbacks"})
_NOBODY = uuid7()  # functions that dispatch events need a parent run, even if nobody hears them
_SWITCHES = (
    "LANGCHAIN_TRACING",
    "LANGSMITH_TRACING",
    "LANGCHAIN_TRACING_V2",
    "LANGSMITH_TRACING_V2",
    "LANGCHAIN_HANDLER",
)


def unheard(config: RunnableConfig | None) -> RunnableConfig | None:
    """The config for the steps of a run that nobody can observe, or None if somebody might.

    Somebody might if the config or the context brings callbacks, tags, metadata, configurable values or a run id, or if
    langchain-core's own callback manager for the run has a handler: debug mode, tracing, a registered hook.

    Raises:
        RuntimeError: The environment asks for a tracer that langchain-core no longer has.
    """
    quiet = ensure_config(config)
    for key, value in quiet.items():
        if value and key not in _SILENT:
            return None
    if quiet.get("callbacks") or _tracers_loaded():
        manager = get_callback_manager_for_config(quiet)
    else:
        manager = CallbackManager(handlers=[])
    if manager.handlers or manager.inheritable_handlers or manager.inheritable_tags or manager.inheritable_metadata:
        return None
    manager.parent_run_id = _NOBODY
    quiet["callbacks"] = manager
    return quiet


def _tracers_loaded() -> bool:
    """Whether a tracer can be on. Tracers are loaded by what switches them on; without, asking would load LangSmith."""
    return (
        "langchain_core.tracers.context" in sys.modules
        or "langsmith.run_helpers" in sys.modules
        or any(name in os.environ for name in _SWITCHES)
        or get_debug()
        or not of_core(managers._configure)
    )


def context_of(quiet: RunnableConfig) -> Context:
    """A copy of the context in which nested runs find the config."""
    context = copy_context()
    context.run(var_child_runnable_config.set, quiet)
    return context


def within(quiet: RunnableConfig, start: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """Chunks that are made in a context of their own, where nested runs find the config."""
    context = context_of(quiet)
    chunks = context.run(start)
    try:
        while (chunk := context.run(next, chunks, NOTHING)) is not NOTHING:
            yield chunk
    finally:
        if hasattr(chunks, "close"):
            cast("Any", chunks).close()


async def awithin(quiet: RunnableConfig, chunks: AsyncGenerator[Any]) -> AsyncGenerator[Any]:
    """Chunks that are made while nested runs find the config; the consumer does not see it."""
    async with aclosing(chunks):
        while True:
            token = var_child_runnable_config.set(quiet)
            try:
                chunk = await anext(chunks, NOTHING)
            finally:
                var_child_runnable_config.reset(token)
            if chunk is NOTHING:
                return
            yield chunk
