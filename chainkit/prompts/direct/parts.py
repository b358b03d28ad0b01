"""Templates, text parsers, passing through, functions and dictionaries of steps, without their run managers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextvars import copy_context
from operator import attrgetter, itemgetter, methodcaller
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType
from typing import Any, Literal, TypeAlias, cast
from weakref import WeakKeyDictionary

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.prompts.chat import BaseChatPromptTemplate
from langchain_core.runnables import (
    Runnable,
    RunnableBinding,
    RunnableConfig,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.runnables.config import (
    DEFAULT_RECURSION_LIMIT,
    get_executor_for_config,
    patch_config,
    run_in_executor,
)
from langchain_core.runnables.passthrough import RunnableAssign
from langchain_core.runnables.utils import AddableDict, coro_with_context

from chainkit.prompts.direct.chat import ChatStep
from chainkit.prompts.direct.step import NOTHING, Direct, StepRun, agathered, gathered, of_core, once

_GETTERS = (itemgetter, attrgetter, methodcaller)
_BUILTINS = (BuiltinFunctionType, MethodDescriptorType, type)
_GENERATORS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


class _TemplateStep(Direct):
    """Formatting of a dictionary that has all variables; langchain-core formats, or refuses, every other input."""

    waits = False

    def fits(self) -> bool:
        """If no part asks a service for examples."""
        return not any(isinstance(part, BaseChatPromptTemplate) for part in getattr(self.step, "messages", ()))

    def invoke(self, value: Any) -> Any:
        complete = _is_dict(value) and all(map(value.__contains__, self.step.input_variables))
        return self.step.format_prompt(**value) if complete else StepRun.invoke(self, value)


class _PassStep(Direct):
    """The input itself."""

    waits = False
    buffers = False

    def fits(self) -> bool:
        """If nothing is called on the way."""
        return self.step.func is None and self.step.afunc is None

    def invoke(self, value: Any) -> Any:
        return value

    def transform(self, chunks: Iterator[Any]) -> Iterator[Any]:
        return map(self.invoke, chunks)

    async def atransform(self, chunks: AsyncIterator[Any]) -> AsyncGenerator[Any]:
        async for chunk in chunks:
            yield self.invoke(chunk)


class _TextParserStep(_PassStep):
    """The text of a message; a string is passed on unchanged."""

    def fits(self) -> bool:
        return True

    def invoke(self, value: Any) -> Any:
        if type(value) is str:
            return value
        # isinstance is slow with pydantic's classes
        text = BaseMessage in type(value).__mro__ and type(value.content) is str
        return value.text if text else StepRun.invoke(self, value)


class _FunctionStep(Direct):
    """Call the function in a separate context; if it returns a Runnable, run that next."""

    def __init__(self, step: Any, config: RunnableConfig, kwargs: Mapping[str, Any]) -> None:
        super().__init__(step, config, kwargs)
        self._function = step.__dict__.get("func")
        self._afunction = step.__dict__.get("afunc")
        self.waits = self._afunction is not None or not _instant(self._function)

    def fits(self) -> bool:
        """If the functions take the input alone and give their result at once."""
        return (self._function is None or _plain(self._function, _GENERATORS | inspect.CO_COROUTINE)) and (
            self._afunction is None or _plain(self._afunction, _GENERATORS)
        )

    def invoke(self, value: Any) -> Any:
        if self._function is None:
            return StepRun.invoke(self, value)  # says that it must be awaited
        output = copy_context().run(self._function, value, **self.kwargs)
        return output.invoke(value, self._deeper(value)) if _is_runnable(output) else output

    async def ainvoke(self, value: Any) -> Any:
        output = await self._called(value)
        return await output.ainvoke(value, self._deeper(value)) if _is_runnable(output) else output

    def stream(self, value: Any) -> Iterator[Any]:
        if self._function is None:
            yield self.invoke(value)
            return
        output = copy_context().run(self._function, value, **self.kwargs)
        yield from output.stream(value, self._deeper(value)) if _is_runnable(output) else [output]

    async def astream(self, value: Any) -> AsyncGenerator[Any]:
        output = await self._called(value)
        if _is_runnable(output):
            async for chunk in output.astream(value, self._deeper(value)):
                yield chunk
        else:
            yield output

    async def _called(self, value: Any) -> Any:
        if self._afunction is not None:
            return await coro_with_context(self._afunction(value, **self.kwargs), copy_context())
        assert self._function is not None
        if not self.waits:
            return self._function(value, **self.kwargs)
        return await run_in_executor(None, self._function, value, **self.kwargs)

    def _deeper(self, value: Any) -> RunnableConfig:
        limit = self.config.get("recursion_limit", DEFAULT_RECURSION_LIMIT)
        if limit <= 0:
            raise RecursionError(f"Recursion limit reached when invoking {self.step} with input {value}.")
        return patch_config(self.config, recursion_limit=limit - 1)


def _is_runnable(output: Any) -> bool:
    return isinstance(output, Runnable)


def _instant(function: Any) -> bool:
    """Whether a function is a getter or a builtin such as `len` and `str.upper`."""
    if isinstance(function, _BUILTINS):
        return getattr(function, "__objclass__", function).__module__ == "builtins"
    return isinstance(function, _GETTERS)


def _plain(function: Any, refused: int) -> bool:
    """Whether a function takes the input alone and is of no refused kind."""
    if _instant(function):
        return True
    if type(function) is not FunctionType or function.__dict__:  # a decorator may have left another signature there
        return False
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return not (code.co_flags & refused or "config" in names or "run_manager" in names)


class ParallelStep(Direct):
    """Every step on the same input; in threads or tasks if several of them may take long.

    Its stream is one dictionary: for each key the sum of the step's chunks, without the keys whose steps gave none.
    """

    def __init__(self, step: Any, config: RunnableConfig, kwargs: Mapping[str, Any]) -> None:
        super().__init__(step, config, kwargs)
        self._parts = {key: work(part, config, "invoke") for key, part in step.steps__.items()}
        waiting = sum([part.waits for part in self._parts.values()])
        self.waits = waiting > 0
        self._together = waiting > 1

    def invoke(self, value: Any) -> Any:
        """One value for each key."""
        return self._each(lambda part: part.invoke(value))

    async def ainvoke(self, value: Any) -> Any:
        """One value for each key."""
        return await self._aeach(lambda part: part.ainvoke(value))

    def _each(self, run: Callable[[StepRun], Any]) -> dict[str, Any]:
        if not self._together:
            return {key: run(part) for key, part in self._parts.items()}
        with get_executor_for_config(self.config) as executor:
            return dict(zip(self._parts, executor.map(run, self._parts.values()), strict=True))

    async def _aeach(self, run: Callable[[StepRun], Any]) -> dict[str, Any]:
        if self._together:
            return dict(zip(self._parts, await asyncio.gather(*map(run, self._parts.values())), strict=True))
        # Quick parts come first, as their errors come first when all start together.
        quick_first = sorted(self._parts, key=lambda key: self._parts[key].waits)
        done = {key: await run(self._parts[key]) for key in quick_first}
        return {key: done[key] for key in self._parts}

    def stream(self, value: Any) -> Iterator[Any]:
        """One dictionary, or nothing."""

        def run(part: StepRun) -> Any:
            return gathered(work(part.step, self.config, "transform", part.kwargs).transform(iter([value])))

        yield from _found(self._each(run))

    async def astream(self, value: Any) -> AsyncGenerator[Any]:
        """One dictionary, or nothing."""

        async def run(part: StepRun) -> Any:
            return await agathered(work(part.step, self.config, "transform", part.kwargs).atransform(once(value)))

        for found in _found(await self._aeach(run)):
            yield found


def _found(parts: dict[str, Any]) -> list[Any]:
    found = AddableDict({key: part for key, part in parts.items() if part is not NOTHING})
    return [found] if found else []


class _AssignStep(Direct):
    """The input, and beside it one value for each key."""

    buffers = False

    def invoke(self, value: Any) -> Any:
        if not _is_dict(value):
            return StepRun.invoke(self, value)
        return {**value, **work(self.step.mapper, self.config, "invoke").invoke(value)}

    async def ainvoke(self, value: Any) -> Any:
        if not _is_dict(value):
            return await StepRun.ainvoke(self, value)
        return {**value, **await work(self.step.mapper, self.config, "invoke").ainvoke(value)}

    transform = StepRun.transform
    atransform = StepRun.atransform  # pyright: ignore[reportAssignmentType]


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


Way: TypeAlias = Literal["invoke", "batch", "transform"]

# What must be langchain-core's own code, so that no subclass, patch or instrumentation is passed by.
_ENTRANCES: dict[Way, Callable[[type], tuple[Any, ...]]] = {
    "invoke": attrgetter("invoke", "ainvoke"),
    "batch": attrgetter("invoke", "ainvoke", "batch", "abatch"),
    "transform": attrgetter("invoke", "ainvoke", "stream", "astream", "transform", "atransform"),
}
_CLASSES: dict[type, type[StepRun]] = {
    PromptTemplate: _TemplateStep,
    ChatPromptTemplate: _TemplateStep,
    BaseChatModel: ChatStep,
    StrOutputParser: _TextParserStep,
    RunnablePassthrough: _PassStep,
    RunnableLambda: _FunctionStep,
    RunnableParallel: ParallelStep,
    RunnableAssign: _AssignStep,
    RunnableBinding: Direct,
}
_WITH_SUBCLASSES = (PromptTemplate, ChatPromptTemplate, BaseChatModel, RunnableBinding)
_KNOWN: dict[Way, WeakKeyDictionary[type, tuple[type[StepRun], tuple[Any, ...]]]] = {
    way: WeakKeyDictionary() for way in _ENTRANCES
}


def work(step: Any, config: RunnableConfig, way: Way, kwargs: Mapping[str, Any] | None = None) -> StepRun:
    """A step made ready: directly if its class is known and unchanged, else as langchain-core runs it."""
    kind: type = cast("Any", type(step))
    direct, entrances = _KNOWN[way].get(kind) or _look(kind, way)
    kwargs = kwargs or {}
    if direct is not StepRun and entrances == _ENTRANCES[way](kind):
        if direct is Direct:  # a binding
            # The name of a step is seen by listeners only.
            if not step.config_factories and not any(value for key, value in step.config.items() if key != "run_name"):
                return work(step.bound, config, way, {**step.kwargs, **kwargs})
        elif (ready := direct(step, config, kwargs)).fits():
            return ready
    return StepRun(step, config, kwargs)


def _look(kind: type, way: Way) -> tuple[type[StepRun], tuple[Any, ...]]:
    base = next((base for base in kind.__mro__ if base in _CLASSES), object)
    entrances = _ENTRANCES[way](kind) if base is kind or base in _WITH_SUBCLASSES else ()
    inherited = entrances and entrances == _ENTRANCES[way](base) and all(map(of_core, entrances))
    _KNOWN[way][kind] = found = (_CLASSES[base] if inherited else StepRun, entrances)
    return found
