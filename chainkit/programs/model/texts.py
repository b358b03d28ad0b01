"""Programs on models that continue a text, and programs that need no model at all."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chainkit.base.errors import FormMissed, ProgramError
from chainkit.programs.model import forms
from chainkit.programs.model.hosted import (
    HostedJobRunner,
    HostedReply,
    HostedRequest,
    Talk,
    cut,
    sent_stops,
    settings_of,
    spend,
)
from chainkit.programs.model.protocol import Abilities, Context, Job, Slot, SlotResult, Tally, ToolCall
from chainkit.programs.model.record import ROLE_BEGIN, ROLE_END

_WARMER = 0.7  # asking a model again at temperature 0 would give the same answer


@dataclass
class TextContext:
    """Text, with roles as marks in it."""

    tally: Tally
    config: Any = None
    parts: tuple[str, ...] = ()
    role: str | None = None

    @property
    def prompt(self) -> str:
        """All the model would read now."""
        return "".join(self.parts)

    def append(self, text: str) -> None:
        """Put text at the end."""
        self.parts = (*self.parts[-1000:], text) if len(self.parts) < 1000 else ("".join(self.parts), text)

    def open(self, role: str, attributes: Mapping[str, str]) -> None:
        """Begin a message."""
        marks = "".join(f' {name}="{value}"' for name, value in attributes.items())
        self.append(f"{ROLE_BEGIN}{role}{marks}\n")
        self.role = role

    def close(self) -> None:
        """End the message that is open."""
        self.append(ROLE_END)
        self.role = None

    def add_tool_result(self, call: ToolCall, result: str) -> None:
        """The result of a call."""
        self.append(f"\nResult of the tool {call.name}: {result}\n")

    def mark(self) -> object:
        """A place to go back to."""
        return self.parts, self.role

    def rewind(self, mark: Any) -> None:
        """Forget all that came after the mark."""
        self.parts, self.role = mark

    def fork(self) -> TextContext:
        """A second context with the same text."""
        return replace(self)

    def replay(self, written: SlotResult) -> None:
        """Take up what a slot wrote in an earlier run."""
        self.append(written.text if not written.calls else written.data)

    def release(self) -> None:
        """Nothing is held."""


class TextProgramModel:
    """A model of langchain-core that continues a text."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.abilities = Abilities(
            name=type(model).__name__,
            continues=True,
            roles="text",
            forces=False,
            scores=False,
            logprobs=False,
            grammars=False,
        )

    def context(self, tally: Tally, *, roles: bool, config: Any = None) -> Context:
        """An empty text."""
        return TextContext(tally, config)

    def runner(self, *, streaming: bool, rows: int | None = None) -> TextJobRunner:
        """A place for jobs."""
        return TextJobRunner(self.model, streaming=streaming, rows=rows)


class TextJobRunner(HostedJobRunner):
    """Slots on a model that continues a text."""

    def __init__(self, model: Any, *, streaming: bool, rows: int | None) -> None:
        super().__init__(streaming=streaming, rows=rows)
        self._model = model
        self._seen: dict[int, Tally] = {}

    def talk(self, context: TextContext, slot: Slot) -> Talk:
        """Ask, and ask again where the answer has another form."""
        stop = (*slot.stop, *((ROLE_END,) if context.role else ()))
        prompt = f"{_instructions(slot)}{context.prompt}"
        settings = settings_of(self._model, slot, length=True)
        plain = slot.form is None and not slot.tools and not slot.stop_regex
        request = HostedRequest(prompt, stop, settings, context.config, streamed=plain)
        answer = ""
        for attempt in range(slot.retries + 1):
            reply = cut(by_regex((yield request), slot), stop)
            spend(context.tally, reply.message, reply.text)
            if slot.tools and (calls := _calls(reply.text, slot)):
                said = reply.text[: reply.text.rindex("}") + 1]
                context.append(said)
                return SlotResult(text="", calls=calls, data=said)
            written = formed(reply, slot, goes_on=True)
            if written is not None:
                context.append(written.text)
                return written
            answer = reply.text
            if attempt == 0 and settings.get("temperature") == 0:
                settings = settings | {"temperature": _WARMER}
            if attempt == 0 and "seed" in settings:
                settings = settings | {"seed": settings["seed"] + 1}
            request = replace(request, settings=settings)
        raise missed(slot, answer)

    def reply(self, request: HostedRequest) -> HostedReply:
        """Call the model."""
        return _read(self._model.generate([request.prompt], **_options(request)))

    async def areply(self, request: HostedRequest) -> HostedReply:
        """Call the model without blocking the event loop."""
        return _read(await self._model.agenerate([request.prompt], **_options(request)))

    def chunks(self, request: HostedRequest) -> Generator[tuple[str, HostedReply | None], None, None]:
        """Stream an answer."""
        ending, config = _heard(request.config)
        stop, settings = sent_stops(request.stop), dict(request.settings)
        parts: list[str] = []
        for text in self._model.stream(request.prompt, config, stop=stop, **settings):
            parts.append(text)
            yield text, None
        yield "", replace(ending.reply, text="".join(parts))

    async def achunks(self, request: HostedRequest) -> AsyncGenerator[tuple[str, HostedReply | None], None]:
        """Stream an answer without blocking the event loop."""
        ending, config = _heard(request.config)
        stop, settings = sent_stops(request.stop), dict(request.settings)
        parts: list[str] = []
        async for text in self._model.astream(request.prompt, config, stop=stop, **settings):
            parts.append(text)
            yield text, None
        yield "", replace(ending.reply, text="".join(parts))


def _options(request: HostedRequest) -> dict[str, Any]:
    config = request.config or {}
    traced = {name: config.get(name) for name in ("callbacks", "tags", "metadata")}
    return {"stop": sent_stops(request.stop), **traced, **request.settings}


def _heard(config: Any) -> tuple[Any, Any]:
    """A listener for how a stream ends, which the stream of a text model does not tell, and the config with it."""
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.runnables.config import merge_configs

    class Ending(BaseCallbackHandler):
        reply = HostedReply("")

        def on_llm_end(self, response: Any, **_: Any) -> None:
            self.reply = _read(response)

    ending = Ending()
    return ending, merge_configs(config, {"callbacks": [ending]})


def _read(result: Any) -> HostedReply:
    generation = result.generations[0][0]
    info = generation.generation_info or {}
    spent = (result.llm_output or {}).get("token_usage") or {}
    usage = {"input_tokens": spent.get("prompt_tokens", 0), "output_tokens": spent.get("completion_tokens", 0)}
    finish = "length" if info.get("finish_reason") == "length" else "stop"
    return HostedReply(generation.text, finish, message=usage if spent else None)


def _instructions(slot: Slot) -> str:
    if not slot.tools or slot.tool_choice == "none":
        return ""
    described = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in slot.tools)
    return (
        f"These tools can be called:\n{described}\n"
        'A call is one line of JSON and nothing else: {"name": its name, "arguments": its arguments}\n\n'
    )


def _calls(text: str, slot: Slot) -> tuple[ToolCall, ...]:
    """The call that a text is, if it is one."""
    if slot.tool_choice == "none" or not text.lstrip().startswith("{"):
        return ()
    try:
        call, _ = json.JSONDecoder().raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return ()
    arguments = call.get("arguments", {})
    names = [tool["function"]["name"] for tool in slot.tools]
    if call.get("name") not in names or not isinstance(arguments, dict):
        return ()
    return (ToolCall(name=call["name"], arguments=arguments, id="call"),)


def by_regex(reply: HostedReply, slot: Slot) -> HostedReply:
    """The answer up to the first match of a `stop_regex`."""
    matches = [match for pattern in slot.stop_regex if (match := re.search(pattern, reply.text))]
    if not matches:
        return reply
    first = min(matches, key=lambda match: match.start())
    return replace(reply, text=reply.text[: first.start()], finish="stop", stop_text=first[0])


def formed(reply: HostedReply, slot: Slot, *, goes_on: bool = False) -> SlotResult | None:
    """What a slot holds after an answer, or None if the answer has another form; see `forms.taken`."""
    finish = "length" if reply.finish == "length" else "stop"
    detail = "the model's bound on new tokens is reached" if finish == "length" else ""
    if slot.form is None:
        return SlotResult(text=reply.text, finish=finish, detail=detail, stop_text=reply.stop_text, scores=reply.scores)
    text = forms.taken(slot.form, reply.text, goes_on=goes_on)
    cut = finish == "length" and text is not None and reply.text.strip().endswith(text)  # it may be half of another
    if text is not None and (not cut or slot.form.schema is not None):
        return SlotResult(text=text, finish="complete", stop_text=reply.stop_text, scores=reply.scores)
    if cut or (finish == "length" and slot.form.schema is not None):
        return SlotResult(text=reply.text, finish="length", detail=detail)
    return None


def missed(slot: Slot, text: str) -> FormMissed:
    """The error for a model that answered in another form each time."""
    named = f" for '{slot.name}'" if slot.name else ""
    error = FormMissed(f"the model was asked {slot.retries + 1} times{named}, and {text[:80]!r} is not {slot.form}")
    error.text = text
    return error


class NoProgramModel:
    """Runs programs in which no model writes anything."""

    def __init__(self) -> None:
        self.abilities = Abilities(
            name="no model", continues=True, roles="text", forces=True, scores=True, logprobs=True, grammars=True
        )

    def context(self, tally: Tally, *, roles: bool, config: Any = None) -> Context:
        """An empty text."""
        return TextContext(tally, config)

    def runner(self, *, streaming: bool, rows: int | None = None) -> _NoJobRunner:
        """A place where jobs fail."""
        return _NoJobRunner()


class _NoJobRunner:
    def __init__(self) -> None:
        self._numbers: list[int] = []

    def submit(self, number: int, job: Job) -> None:
        self._numbers.append(number)

    def step(self) -> Sequence[tuple[int, Any]]:
        numbers, self._numbers = self._numbers, []
        reason = "here a model is needed, and none was given: program(text, model) or run(model=...)"
        return [(number, ProgramError(reason)) for number in numbers]

    async def astep(self) -> Sequence[tuple[int, Any]]:
        return self.step()

    def close(self) -> None:
        self._numbers.clear()
