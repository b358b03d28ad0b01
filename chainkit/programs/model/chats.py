"""Programs on chat models: roles become messages, and the model writes those of the assistant."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import UnsupportedProgram
from chainkit.base.session import TokenScore
from chainkit.programs.model import forms, structured, texts
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
from chainkit.programs.model.protocol import Abilities, Context, Form, Slot, SlotResult, Tally, ToolCall
from chainkit.programs.model.record import ROLE_BEGIN, ROLE_END

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

_ROLES = {"human": "user", "ai": "assistant"}
_LENGTHS = ("length", "max_tokens", "MAX_TOKENS")


@dataclass(frozen=True)
class OpenMessage:
    """The message that is being written.

    Attributes:
        role: Whose it is.
        attributes: As in `{{#user name='Ada'}}`.
        text: So far.
    """

    role: str
    attributes: Mapping[str, str]
    text: str = ""


@dataclass
class ChatContext:
    """Messages, and the one that is open."""

    tally: Tally
    name: str
    config: Any = None
    messages: tuple[BaseMessage, ...] = ()
    opened: OpenMessage | None = None

    @property
    def prompt(self) -> str:
        """The messages as text with marks, for people."""
        said = [
            f"{ROLE_BEGIN}{_ROLES.get(message.type, message.type)}\n{message.text}{ROLE_END}"
            for message in self.messages
        ]
        last = f"{ROLE_BEGIN}{self.opened.role}\n{self.opened.text}" if self.opened else ""
        return "\n".join([*said, last]) if last else "\n".join(said)

    def append(self, text: str) -> None:
        """Put text at the end of the message that is open."""
        if self.opened is not None:
            self.opened = replace(self.opened, text=self.opened.text + text)
        elif text.strip():
            raise UnsupportedProgram(f"{self.name} takes messages, and {text.strip()[:40]!r} is outside of them")

    def open(self, role: str, attributes: Mapping[str, str]) -> None:
        """Begin a message."""
        self.opened = OpenMessage(role, attributes)

    def close(self) -> None:
        """End the message that is open."""
        assert self.opened is not None
        if self.opened.text or self.opened.role != "assistant":
            self.messages = extended(self.messages, self.opened)
        self.opened = None

    def add_tool_result(self, call: ToolCall, result: str) -> None:
        """The result of a call."""
        from langchain_core.messages import ToolMessage

        self.messages = (*self.messages, ToolMessage(result, tool_call_id=call.id, name=call.name))

    def asked(self, text: str, calls: Sequence[ToolCall]) -> None:
        """The message of an assistant that wants tools called."""
        from langchain_core.messages import AIMessage

        wanted = [{"name": call.name, "args": dict(call.arguments), "id": call.id} for call in calls]
        self.messages = (*self.messages, AIMessage(text, tool_calls=wanted))

    def mark(self) -> object:
        """A place to go back to."""
        return self.messages, self.opened

    def rewind(self, mark: Any) -> None:
        """Forget all that came after the mark."""
        self.messages, self.opened = mark

    def fork(self) -> ChatContext:
        """A second context with the same messages."""
        return replace(self)

    def replay(self, written: SlotResult) -> None:
        """Take up what a slot wrote in an earlier run."""
        if written.calls:
            self.asked(written.text, written.calls)
        else:
            self.append(written.text)

    def release(self) -> None:
        """Nothing is held."""


def extended(messages: Sequence[BaseMessage], opened: OpenMessage) -> tuple[BaseMessage, ...]:
    """The messages with one more.

    The result of a tool belongs to a call: where the assistant has made none, one without arguments is put into its
    message, since services refuse a result without a call.
    """
    from langchain_core.messages import AIMessage, ToolMessage

    if opened.role not in ("tool", "function"):
        return (*messages, _message(opened))
    name = opened.attributes.get("name", "tool")
    number = opened.attributes.get("tool_call_id") or f"call_{len(messages)}"
    result = ToolMessage(opened.text, tool_call_id=number, name=name)
    before = next((message for message in reversed(messages) if not isinstance(message, ToolMessage)), None)
    if isinstance(before, AIMessage) and any(call["id"] == number for call in before.tool_calls):
        return (*messages, result)
    call = {"name": name, "args": {}, "id": number}
    if isinstance(before, AIMessage) and before is messages[-1]:
        return (*messages[:-1], AIMessage(before.text, tool_calls=[*before.tool_calls, call]), result)
    return (*messages, AIMessage("", tool_calls=[call]), result)


def _message(opened: OpenMessage) -> BaseMessage:
    from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage

    named = {"name": opened.attributes["name"]} if "name" in opened.attributes else {}
    match opened.role:
        case "system":
            return SystemMessage(opened.text, **named)
        case "user":
            return HumanMessage(opened.text, **named)
        case "assistant":
            return AIMessage(opened.text, **named)
    return ChatMessage(content=opened.text, role=opened.role)


class ChatProgramModel:
    """A chat model of langchain-core."""

    def __init__(self, model: Any) -> None:
        self.model = model
        name = getattr(model, "model", None) or getattr(model, "model_name", None)
        self.abilities = Abilities(
            name=f"{type(model).__name__} {name}" if name else type(model).__name__,
            continues=False,
            roles="messages",
            forces=False,
            scores=False,
            logprobs="logprobs" in type(model).model_fields,
            grammars=False,
        )

    def context(self, tally: Tally, *, roles: bool, config: Any = None) -> Context:
        """No messages yet."""
        return ChatContext(tally, self.abilities.name, config)

    def runner(self, *, streaming: bool, rows: int | None = None) -> ChatJobRunner:
        """A place for jobs."""
        return ChatJobRunner(self.model, streaming=streaming, rows=rows)


class ChatJobRunner(HostedJobRunner):
    """Slots on a chat model."""

    def __init__(self, model: Any, *, streaming: bool, rows: int | None) -> None:
        super().__init__(streaming=streaming, rows=rows)
        self._model = model

    def talk(self, context: ChatContext, slot: Slot) -> Talk:
        """Ask; where the answer has another form, show it to the model and ask again."""
        messages = _ready(context, slot)
        settings = settings_of(self._model, slot, length=False)
        plain = slot.form is None and not slot.tools and not slot.stop_regex
        request = HostedRequest(messages, slot.stop, settings, context.config, streamed=plain)
        wanted = structured.asked(self._model, slot)
        if slot.tools:
            request = replace(request, bind=lambda model: _with_tools(model, slot))
        elif wanted is not None:
            request = replace(request, stop=(), bind=lambda model: structured.bound(model, wanted))
        elif slot.form is not None and slot.form.schema is not None:
            request = replace(request, prompt=[*messages, _told_form(slot.form)])
        answer = ""
        for _ in range(slot.retries + 1):
            reply = cut(texts.by_regex((yield request), slot), request.stop)
            usage = getattr(reply.message, "usage_metadata", None)
            spend(context.tally, usage, reply.text)
            if slot.tools and reply.calls:
                calls = tuple(_call(call) for call in reply.calls)
                context.asked(reply.text, calls)
                return SlotResult(text=reply.text, calls=calls)
            if wanted is not None and slot.form is not None:
                reply = replace(reply, text=structured.unboxed(wanted, slot.form, _answer_text(reply)))
            written = texts.formed(reply, slot)
            if written is not None:
                context.append(written.text)
                return written
            answer = reply.text
            request = replace(request, prompt=[*messages, *_again(answer, slot)])
        raise texts.missed(slot, answer)

    def reply(self, request: HostedRequest) -> HostedReply:
        """Call the model."""
        runnable = request.bind(self._model) if request.bind else self._model
        return _read(runnable.invoke(list(request.prompt), request.config, **_options(request)))

    async def areply(self, request: HostedRequest) -> HostedReply:
        """Call the model without blocking the event loop."""
        runnable = request.bind(self._model) if request.bind else self._model
        return _read(await runnable.ainvoke(list(request.prompt), request.config, **_options(request)))

    def chunks(self, request: HostedRequest) -> Generator[tuple[str, HostedReply | None], None, None]:
        """Stream an answer."""
        whole: Any = None
        for chunk in self._model.stream(list(request.prompt), request.config, **_options(request)):
            whole = chunk if whole is None else whole + chunk
            yield chunk.text, None
        yield "", _read(whole)

    async def achunks(self, request: HostedRequest) -> AsyncGenerator[tuple[str, HostedReply | None], None]:
        """Stream an answer without blocking the event loop."""
        whole: Any = None
        async for chunk in self._model.astream(list(request.prompt), request.config, **_options(request)):
            whole = chunk if whole is None else whole + chunk
            yield chunk.text, None
        yield "", _read(whole)


def _ready(context: ChatContext, slot: Slot) -> list[BaseMessage]:
    """The messages, if the model can write what comes now."""
    if context.opened is None or context.opened.role != "assistant":
        where = f"in a message of '{context.opened.role}'" if context.opened else "outside of every role"
        raise UnsupportedProgram(f"{context.name} writes messages of the assistant, and this slot is {where}")
    if context.opened.text.strip():
        raise UnsupportedProgram(
            f"{context.name} cannot go on inside a message that has begun with {context.opened.text.strip()[:40]!r}; "
            "the slot must be the first thing in its {{#assistant}}"
        )
    context.opened = replace(context.opened, text="")
    if not context.messages:
        raise UnsupportedProgram(f"{context.name} needs a message before it can write one")
    return list(context.messages)


def _with_tools(model: Any, slot: Slot) -> Any:
    tools = [dict(tool) for tool in slot.tools]
    choices = {"auto": {}, "none": {"tool_choice": "none"}, "any": {"tool_choice": "any"}}
    return model.bind_tools(tools, **choices.get(slot.tool_choice, {"tool_choice": slot.tool_choice}))


def _answer_text(reply: HostedReply) -> str:
    """The text of a structured answer: JSON, or the arguments of the tool call used for it."""
    if reply.text.strip() or not reply.calls:
        return reply.text
    return json.dumps(reply.calls[0].get("args", {}), ensure_ascii=False)


def _told_form(form: Form) -> BaseMessage:
    from langchain_core.messages import HumanMessage

    if form.schema is None:
        return HumanMessage(f"Answer with nothing but {form}.")
    schema = json.dumps(forms.json_schema(form.schema), ensure_ascii=False)
    return HumanMessage(f"Answer with nothing but JSON of this schema: {schema}")


def _again(text: str, slot: Slot) -> list[BaseMessage]:
    from langchain_core.messages import AIMessage

    assert slot.form is not None
    return [*([AIMessage(text)] if text.strip() else []), _told_form(slot.form)]


def _call(call: Mapping[str, Any]) -> ToolCall:
    return ToolCall(name=call["name"], arguments=call.get("args") or {}, id=call.get("id") or "")


def _options(request: HostedRequest) -> dict[str, Any]:
    if request.bind is not None:
        return {"stop": sent_stops(request.stop)} | dict(request.settings) if request.stop else dict(request.settings)
    return {"stop": sent_stops(request.stop), **request.settings}


def _read(answer: Any) -> HostedReply:
    message = answer["raw"] if isinstance(answer, Mapping) else answer
    metadata: Mapping[str, Any] = getattr(message, "response_metadata", None) or {}
    reason = metadata.get("finish_reason") or metadata.get("stop_reason")
    finish = "length" if reason in _LENGTHS else "stop"
    scored = (metadata.get("logprobs") or {}).get("content") or ()
    return HostedReply(
        message.text, finish, calls=tuple(message.tool_calls), scores=tuple(map(_score, scored)), message=message
    )


def _score(entry: Mapping[str, Any]) -> TokenScore:
    others = tuple((rival["token"], rival["logprob"]) for rival in entry.get("top_logprobs") or ())
    return TokenScore(-1, entry["token"], entry["logprob"], others)
