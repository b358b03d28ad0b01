"""The slots of local models as langchain-core's listeners know them: one call of a language model each.

Calls of hosted models tell of themselves; a local model is steered without any call.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any

from chainkit.programs.model.protocol import Abilities, Generate, Job, OptionScores, SlotResult, Tally


class Observer:
    """Tells the listeners of one run what its slots were and what came of them."""

    def __init__(self, manager: Any, abilities: Abilities, tally: Tally) -> None:
        self._manager, self._abilities, self._tally = manager, abilities, tally
        self._open: dict[int, tuple[Any, Job, int]] = {}
        self.pending: list[Awaitable[Any]] = []

    async def flush(self) -> None:
        """Tell the asynchronous listeners what has happened since the last time."""
        while self.pending:
            await self.pending.pop(0)

    def begin(self, number: int, job: Job) -> None:
        """A job begins."""
        kind, _, name = self._abilities.name.partition(" ")
        settings: dict[str, Any] = {"model": name or kind}
        if isinstance(job, Generate):
            slot = job.slot
            settings |= {"temperature": slot.temperature, "max_tokens": slot.max_tokens, "stop": list(slot.stop)}
        else:
            settings["options"] = list(job.options)
        started = self._manager.on_llm_start(
            {"name": kind, "id": ["chainkit", kind], "lc": 1, "type": "not_implemented"},
            [job.context.prompt],
            invocation_params=settings,
            options={"stop": settings.get("stop")},
            name=kind,
        )
        if inspect.isawaitable(started):
            self.pending.append(self._begun(number, job, started))
        else:
            self._open[number] = started[0], job, self._read()

    async def _begun(self, number: int, job: Job, started: Awaitable[Any]) -> None:
        self._open[number] = (await started)[0], job, self._read()

    def end(self, number: int, result: SlotResult | OptionScores | BaseException) -> None:
        """A job has ended."""
        if inspect.iscoroutinefunction(self._manager.on_llm_start):
            self.pending.append(self._ended(number, result))
        elif number in self._open:
            self._close(number, result)

    async def _ended(self, number: int, result: SlotResult | OptionScores | BaseException) -> None:
        closing = self._close(number, result) if number in self._open else None
        if inspect.isawaitable(closing):
            await closing

    def _close(self, number: int, result: SlotResult | OptionScores | BaseException) -> Any:
        from langchain_core.outputs import Generation, LLMResult

        manager, job, before = self._open.pop(number)
        if isinstance(result, BaseException):
            return manager.on_llm_error(result)
        text, tokens, finish = "", 0, "stop"
        if isinstance(result, SlotResult):
            text, tokens = result.text, len(result.tokens)
            finish = "length" if result.finish == "length" else "stop"
        elif not isinstance(job, Generate):
            scores = zip(job.options, result.logprobs, strict=True)
            text = ", ".join(f"{option!r}: {score:.2f}" for option, score in scores)
        # sampled tokens are read as well, except the last one
        read = max(0, self._read() - before - max(0, tokens - 1))
        spent = {"prompt_tokens": read, "completion_tokens": tokens}
        spent["total_tokens"] = sum(spent.values())
        generation = Generation(text=text, generation_info={"finish_reason": finish})
        output = {"token_usage": spent, "model_name": self._abilities.name}
        return manager.on_llm_end(LLMResult(generations=[[generation]], llm_output=output))

    def _read(self) -> int:
        return self._tally.read + self._tally.cached


def observer(config: Any, abilities: Abilities, tally: Tally) -> Observer | None:
    """The observer of a run, or None if nobody listens or the model tells of itself."""
    manager = (config or {}).get("callbacks")
    if not abilities.forces or not getattr(manager, "handlers", None):
        return None
    return Observer(manager, abilities, tally)
