"""Text models without their run manager."""
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, cast

from langchain_core import globals as settings
from langchain_core.callbacks.manager import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseLLM
from langchain_core.outputs import GenerationChunk, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.utils.uuid import uuid7

from chainkit.prompts.direct.chat import takes_run_manager
from chainkit.prompts.direct.route import NORMAL, Direct, Kwargs, runs
from chainkit.prompts.stock import Stock

_ENTRANCES = Stock(
    BaseLLM,
    *("invoke", "ainvoke", "batch", "abatch", "stream", "astream", "transform", "atransform"),
    *("generate", "agenerate", "generate_prompt", "agenerate_prompt", "_generate_helper", "_agenerate_helper"),
)


@runs(BaseLLM)
class TextRoute(Direct):
    """`_generate` and `_stream` of a text model; several prompts go in one call, as in `BaseLLM.batch`."""

    buffers = True

    def open(self, step: BaseLLM) -> bool:
        """If there is no cache, the model has no listeners, and its class did not change how it is called."""
        uncached = step.cache is False or (step.cache is None and settings._llm_cache is None)
        return uncached and not step.callbacks and not step.verbose and _ENTRANCES.kept_by(step)

    def invoke(self, step: BaseLLM, value: Any, config: RunnableConfig, kwargs: Kwargs) -> str:
        """The answer to one prompt."""
        return _generated(step, [value], kwargs).generations[0][0].text

    async def ainvoke(self, step: BaseLLM, value: Any, config: RunnableConfig, kwargs: Kwargs) -> str:
        """The answer to one prompt."""
        return (await _agenerated(step, [value], kwargs)).generations[0][0].text

    def batch(self, step: BaseLLM, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool) -> list[Any]:
        """The answers to all prompts from one call."""
        if config.get("max_concurrency") is not None:
            return NORMAL.batch(step, values, config, kwargs, keep)
        try:
            return [several[0].text for several in _generated(step, values, kwargs).generations]
        except Exception as error:
            if keep:
                return [error for _ in values]
            raise

    async def abatch(
        self, step: BaseLLM, values: list[Any], config: RunnableConfig, kwargs: Kwargs, keep: bool
    ) -> list[Any]:
        """The answers to all prompts from one call."""
        if config.get("max_concurrency") is not None:
            return await NORMAL.abatch(step, values, config, kwargs, keep)
        try:
            return [several[0].text for several in (await _agenerated(step, values, kwargs)).generations]
        except Exception as error:
            if keep:
                return [error for _ in values]
            raise

    def stream(self, step: BaseLLM, value: Any, config: RunnableConfig, kwargs: Kwargs) -> Iterator[str]:
        """The pieces of the answer."""
        if type(step)._stream is BaseLLM._stream:
            yield self.invoke(step, value, config, kwargs)
            return
        prompt = step._convert_input(value).to_string()
        run = CallbackManagerForLLMRun(run_id=uuid7(), handlers=[], inheritable_handlers=[])
        empty = True
        for chunk in step._stream(prompt, run_manager=run, **{"stop": None, **kwargs}):
            yield chunk.text
            empty = False
        if empty:
            raise ValueError("No generation chunks were returned")

    async def astream(self, step: BaseLLM, value: Any, config: RunnableConfig, kwargs: Kwargs) -> AsyncGenerator[str]:
        """The pieces of the answer."""
        if type(step)._astream is BaseLLM._astream and type(step)._stream is BaseLLM._stream:
            yield await self.ainvoke(step, value, config, kwargs)
            return
        prompt = step._convert_input(value).to_string()
        run = AsyncCallbackManagerForLLMRun(run_id=uuid7(), handlers=[], inheritable_handlers=[])
        chunks = step._astream(prompt, run_manager=run, **{"stop": None, **kwargs})
        empty = True
        async with aclosing(cast("AsyncGenerator[GenerationChunk]", chunks)) as parts:
            async for chunk in parts:
                yield chunk.text
                empty = False
        if empty:
            raise ValueError("No generation chunks were returned")


def _generated(model: BaseLLM, values: list[Any], kwargs: Kwargs) -> LLMResult:
    prompts = [model._convert_input(value).to_string() for value in values]
    if not takes_run_manager(type(model)._generate):
        return model._generate(prompts, stop=kwargs.get("stop"))
    run = CallbackManagerForLLMRun(run_id=uuid7(), handlers=[], inheritable_handlers=[])
    return model._generate(prompts, run_manager=run, **{"stop": None, **kwargs})


async def _agenerated(model: BaseLLM, values: list[Any], kwargs: Kwargs) -> LLMResult:
    prompts = [model._convert_input(value).to_string() for value in values]
    if not takes_run_manager(type(model)._agenerate):
        return await model._agenerate(prompts, stop=kwargs.get("stop"))
    run = AsyncCallbackManagerForLLMRun(run_id=uuid7(), handlers=[], inheritable_handlers=[])
    return await model._agenerate(prompts, run_manager=run, **{"stop": None, **kwargs})
