"""Functions as steps, without their run manager."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from contextvars import copy_context
from operator import attrgetter, itemgetter, methodcaller
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType
from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.config import DEFAULT_RECURSION_LIMIT, patch_config, run_in_executor
from langchain_core.runnables.utils import coro_with_context

from chainkit.prompts.direct.route import Direct, Kwargs, runs
from chainkit.prompts.stock import Stock

_CALLS = ("invoke", "ainvoke", "_invoke", "_ainvoke", "batch", "abatch")
_STREAMS = ("stream", "astream", "transform", "atransform", "_transform", "_atransform")
_ENTRANCES = Stock(RunnableLambda, *_CALLS, *_STREAMS)

_GETTERS = (itemgetter, attrgetter, methodcaller)
_BUILTIN_KINDS = (BuiltinFunctionType, MethodDescriptorType, type)
_MADE_ANEW = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_MADE_AHEAD = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


@runs(RunnableLambda)
class FunctionRoute(Direct):
    """The function itself, in a context of its own; if it answers with a Runnable, that is run next."""

    buffers = True

    def open(self, step: Any) -> bool:
        """If the functions take the input alone and give their result at once."""
        function, afunction = _functions(step)
        return (
            _ENTRANCES.kept_by(step)
            and (function is None or _takes_input_alone(function, _MADE_ANEW))
            and (afunction is None or _takes_input_alone(afunction, _MADE_AHEAD))
        )

    def slow(self, step: Any) -> bool:
        """All but getters and builtins such as `len` and `str.upper`."""
        function, afunction = _functions(step)
        return afunction is not None or not _instant(function)

    def invoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """The function's result."""
        function, _ = _functions(step)
        if function is None:
            return step.invoke(value, config, **kwargs)  # says that it must be awaited
        output = copy_context().run(function, value, **kwargs)
        if isinstance(output, Runnable):
            return cast("Runnable[Any, Any]", output).invoke(value, _deeper(step, value, config))
        return output

    async def ainvoke(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Any:
        """The function's result, from a thread unless it is a coroutine function."""
        output = await _acall(step, value, kwargs)
        if isinstance(output, Runnable):
            return await cast("Runnable[Any, Any]", output).ainvoke(value, _deeper(step, value, config))
        return output

    def stream(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Iterator[Any]:
        """The function's result, in chunks if it is a Runnable."""
        function, _ = _functions(step)
        if function is None:
            yield from step.stream(value, config, **kwargs)
            return
        output = copy_context().run(function, value, **kwargs)
        if isinstance(output, Runnable):
            yield from cast("Runnable[Any, Any]", output).stream(value, _deeper(step, value, config))
        else:
            yield output

    async def astream(self, step: Any, value: Any, config: RunnableConfig, kwargs: Kwargs) -> AsyncGenerator[Any]:
        """The function's result, in chunks if it is a Runnable."""
        output = await _acall(step, value, kwargs)
        if not isinstance(output, Runnable):
            yield output
            return
        chunks = cast("Runnable[Any, Any]", output).astream(value, _deeper(step, value, config))
        async with aclosing(cast("AsyncGenerator[Any]", chunks)):
            async for chunk in chunks:
                yield chunk


def _functions(step: Any) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
    own: dict[str, Any] = step.__dict__
    return own.get("func"), own.get("afunc")


def _instant(function: Any) -> bool:
    if isinstance(function, _BUILTIN_KINDS):
        return getattr(function, "__objclass__", function).__module__ == "builtins"
    return isinstance(function, _GETTERS)


def _takes_input_alone(function: Any, refused: int) -> bool:
    if _instant(function):
        return True
    if type(function) is not FunctionType or function.__dict__:  # a decorator may have left another signature there
        return False
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return not (code.co_flags & refused or "config" in names or "run_manager" in names)


async def _acall(step: Any, value: Any, kwargs: Kwargs) -> Any:
    function, afunction = _functions(step)
    if afunction is not None:
        return await coro_with_context(afunction(value, **kwargs), copy_context())
    assert function is not None
    if _instant(function):
        return function(value, **kwargs)
    return await run_in_executor(None, function, value, **kwargs)


def _deeper(step: object, value: Any, config: RunnableConfig) -> RunnableConfig:
    limit = config.get("recursion_limit", DEFAULT_RECURSION_LIMIT)
    if limit <= 0:
        raise RecursionError(f"Recursion limit reached when invoking {step} with input {value}.")
    return patch_config(config, recursion_limit=limit - 1)
