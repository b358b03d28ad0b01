"""Programs that answer: the last message, or variables by name, are what they run on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata

from chainkit.base.errors import MissingVariable
from chainkit.programs.run.run import Run
from chainkit.programs.run.runnable import Program
from chainkit.server.speakers.call import ChatCall, Speaker, refuse_model_settings


class ProgramSpeaker(Speaker):
    """A program with its model.

    The answer is the text of its last message; without roles, all of its text.

    Args:
        program: The program.
    """

    def __init__(self, program: Program) -> None:
        self.program = program

    @property
    def models(self) -> Sequence[Any]:
        """The model it runs on, if any."""
        return [] if self.program.model is None else [self.program.model]

    async def stream(self, call: ChatCall) -> AsyncIterator[AIMessageChunk]:
        """The text as it grows."""
        refuse_model_settings(call, "programs")
        program = self.program.with_options(seed=call.settings.get("seed"))
        sent, run = "", None
        async with aclosing(program.astream(self._variables(call))) as runs:  # pyright: ignore[reportArgumentType]
            async for run in runs:
                text = shown(run)
                if len(text) > len(sent) and text.startswith(sent):
                    yield AIMessageChunk(content=text[len(sent) :])
                    sent = text
        assert run is not None
        yield _last(run)

    def _variables(self, call: ChatCall) -> dict[str, Any]:
        wanted = self.program.inputs
        given = dict(call.variables or {})
        missing = [name for name in wanted if name not in given]
        if len(missing) == 1 and call.question:
            given[missing[0]] = call.question
        elif missing:
            raise MissingVariable(f"the program needs {', '.join(missing)}; give them by name in 'variables'")
        return given


def shown(run: Run) -> str:
    """What of a run is its answer."""
    said = [text for role, text in run.messages if role == "assistant"]
    if run.messages:
        return said[-1] if said else ""
    return run.text


def _last(run: Run) -> AIMessageChunk:
    usage = run.usage
    read, written = usage.read + usage.cached, usage.forced + usage.sampled
    counts = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
    return AIMessageChunk(
        content="",
        usage_metadata=counts,
        response_metadata={"finish_reason": "length" if run.incomplete else "stop"},
        chunk_position="last",
    )
