"""Programs on models that are steered token by token: the state is tokens, and what was read is not read again."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chainkit.base.errors import UnsupportedProgram
from chainkit.base.session import Piece, TokenScore
from chainkit.program.chats import Opened, message_of
from chainkit.program.engines import Abilities, Context, Form, Job, News, Score, Scored, Slot, Tally, ToolCall, Written
from chainkit.program.texts import ROLE_BEGIN, ROLE_END
from chainkit.steered.completion import SteeredLLM
from chainkit.steered.session import SteeredSession


@dataclass(frozen=True, slots=True)
class Part:
    """Text at the end of a context, with its tokens once they are known.

    Attributes:
        text: As a person reads it.
        tokens: None until the text was read.
        special: Whether names of special tokens in it are those tokens.
    """

    text: str
    tokens: tuple[int, ...] | None = None
    special: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """What a context holds; frozen, so that a mark is the state itself.

    Attributes:
        messages: Those that are complete, on a chat model.
        opened: The one that is open, without its text.
        parts: Text behind the messages.
        tools: Descriptions that the template shows.
    """

    messages: tuple[Any, ...] = ()
    opened: Opened | None = None
    parts: tuple[Part, ...] = ()


@dataclass
class TokenContext:
    """Tokens in a session; text becomes tokens when something is generated.

    Attributes:
        session: The tokens that were read.
        chat: The chat model whose template writes the messages, or None if roles are marks in the text.
        held: What should be read.
    """

    session: SteeredSession
    chat: Any
    tally: Tally
    name: str
    held: Read = field(default_factory=Read)

    def __post_init__(self) -> None:
        self.session.counters = self.tally

    @property
    def prompt(self) -> str:
        """All the model would read now."""
        text = "".join(part.text for part in self.held.parts)
        if self.chat is None:
            return text
        return (self.chat.prompt_text(self.held.messages) if self.held.messages else "") + text

    def append(self, text: str) -> None:
        """Put text at the end."""
        if self.chat is not None and self.held.opened is None:
            if text.strip():
                raise UnsupportedProgram(
                    f"{self.name} takes messages, and {text.strip()[:40]!r} stands outside of them"
                )
            return
        self._add(Part(text))

    def open(self, role: str, attributes: Mapping[str, str]) -> None:
        """Begin a message."""
        if self.chat is None:
            told = "".join(f' {name}="{value}"' for name, value in attributes.items())
            self._add(Part(f"{ROLE_BEGIN}{role}", special=True))
            self._add(Part(f"{told}\n"))
        self.held = replace(self.held, opened=Opened(role, attributes))

    def close(self) -> None:
        """End the message that is open."""
        assert self.held.opened is not None
        if self.chat is None:
            self._add(Part(ROLE_END, special=True))
            self.held = replace(self.held, opened=None)
            return
        opened = replace(self.held.opened, text="".join(part.text for part in self.held.parts))
        said = opened.text or opened.role != "assistant"
        messages = (*self.held.messages, message_of(opened)) if said else self.held.messages
        self.held = Read(messages)

    def told(self, call: ToolCall, result: str) -> None:
        """The result of a call."""
        from langchain_core.messages import ToolMessage

        if self.chat is None:
            self._add(Part(f"\nResult of the tool {call.name}: {result}\n"))
        else:
            message = ToolMessage(result, tool_call_id=call.id, name=call.name)
            self.held = replace(self.held, messages=(*self.held.messages, message))

    def called(self, text: str, calls: Sequence[ToolCall]) -> None:
        """The model has asked for calls."""
        from langchain_core.messages import AIMessage

        if self.chat is None:
            self._add(Part(text))
            return
        wanted = [{"name": call.name, "args": dict(call.arguments), "id": call.id} for call in calls]
        message = AIMessage("", tool_calls=wanted)
        self.held = replace(self.held, messages=(*self.held.messages, message), parts=())

    def mark(self) -> object:
        """A place to go back to."""
        return self.held

    def rewind(self, mark: Any) -> None:
        """Forget all that came after the mark."""
        self.held = mark

    def fork(self) -> TokenContext:
        """A second context with the same text."""
        return TokenContext(self.session.fork(), self.chat, self.tally, self.name, self.held)

    def replay(self, written: Written) -> None:
        """Take up what a slot wrote in an earlier run."""
        if written.calls:
            self.called(written.data, written.calls)
        else:
            self.take(written.text, written.tokens)

    def release(self) -> None:
        """Give the memory to others."""
        self.session.close()

    def take(self, text: str, tokens: Sequence[int]) -> None:
        """Text that the model has written, as the tokens in which it wrote it."""
        piece = self.session.vocabulary.piece
        data, used, length = text.encode("utf-8", "replace"), 0, 0
        for token in tokens:
            if data[length : length + len(piece(token))] != piece(token):
                break
            length += len(piece(token))
            used += 1
        certain = data[:length].decode("utf-8", "ignore")
        while used and certain.encode() != data[:length]:  # half a character
            used -= 1
            length -= len(piece(tokens[used]))
            certain = data[:length].decode("utf-8", "ignore")
        if certain:
            self._add(Part(certain, tuple(tokens[:used])))
        if text[len(certain) :]:
            self._add(Part(text[len(certain) :]))

    def synchronise(self, tools: Any = None) -> SteeredSession:
        """The session with all tokens of this context, and no others."""
        tokens = self._beginning(tools)
        parts: list[Part] = []
        for part in _joined(self.held.parts):
            known = part.tokens
            if known is None:
                known = tuple(
                    self.session.vocabulary.tokenize(part.text, special=part.special, whole=not tokens and not parts)
                )
            parts.append(replace(part, tokens=known))
            tokens.extend(known)
        self.held = replace(self.held, parts=tuple(parts))
        shared = _common(self.session.tokens, tokens)
        self.session.rewind(shared)
        self.session.append(tokens[shared:])
        return self.session

    def _beginning(self, toolbox: Any) -> list[int]:
        if self.chat is None:
            return []
        if self.held.opened is None or self.held.opened.role != "assistant":
            where = f"in a message of '{self.held.opened.role}'" if self.held.opened else "outside of every role"
            raise UnsupportedProgram(f"{self.name} writes messages of the assistant, and this slot stands {where}")
        from chainkit.steered.tools import without_tools

        conversation = self.chat.conversation
        messages = without_tools(self.held.messages, toolbox, conversation.template)
        shown = {"tools": list(toolbox.tools)} if toolbox is not None and toolbox.native else {}
        return list(conversation.tokens(messages, **shown))

    def _add(self, part: Part) -> None:
        if part.text:
            self.held = replace(self.held, parts=(*self.held.parts, part))


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbours without tokens as one text, so that tokens may stand across their border."""
    result: list[Part] = []
    for part in parts:
        last = result[-1] if result else None
        if last and last.tokens is None and part.tokens is None and last.special == part.special:
            result[-1] = replace(last, text=last.text + part.text)
        else:
            result.append(part)
    return result


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


class SteeredEngine:
    """A local model."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._chat = not isinstance(model, SteeredLLM)
        name = getattr(model, "model", "")
        self.abilities = Abilities(
            name=f"{type(model).__name__} {name}".strip(),
            continues=True,
            roles="either" if self._chat else "text",
            forces=True,
            scores=True,
            logprobs=True,
            grammars=True,
        )

    def context(self, tally: Tally, *, roles: bool, config: Any = None) -> Context:
        """An empty context."""
        cancelled = threading.Event()
        make = self.model._session if self._chat else lambda event: self.model.session(cancelled=event)
        session = make(cancelled)
        return TokenContext(session, self.model if self._chat and roles else None, tally, self.abilities.name)

    def work(self, *, streaming: bool, rows: int | None = None) -> SteeredWork:
        """A place for jobs."""
        return SteeredWork(self.model)


class SteeredWork:
    """Slots and scores on a local model, in turn."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._jobs: dict[int, tuple[Job, Iterator[News]]] = {}

    def submit(self, number: int, job: Job) -> None:
        """Take up a job."""
        self._jobs[number] = job, self._answers(job)

    def step(self) -> Sequence[tuple[int, News | BaseException]]:
        """One step of each job."""
        news: list[tuple[int, News | BaseException]] = []
        for number, (_, answers) in list(self._jobs.items()):
            try:
                what = next(answers)
            except Exception as error:  # noqa: BLE001 - told to the one who asked
                del self._jobs[number]
                news.append((number, error))
                continue
            if not isinstance(what, Piece):
                del self._jobs[number]
            news.append((number, what))
        return news

    async def astep(self) -> Sequence[tuple[int, News | BaseException]]:
        """As `step`, in a thread."""
        return await asyncio.to_thread(self.step)

    def close(self) -> None:
        """Drop all jobs."""
        for job, _ in self._jobs.values():
            job.context.session.cancel()  # pyright: ignore[reportAttributeAccessIssue]
        self._jobs.clear()

    def _answers(self, job: Job) -> Iterator[News]:
        context = job.context
        assert isinstance(context, TokenContext)
        if isinstance(job, Score):
            yield _scored(context, job)
        else:
            yield from self._slot(context, job.slot)

    def _slot(self, context: TokenContext, slot: Slot) -> Iterator[News]:
        toolbox = self._toolbox(slot, context)
        if toolbox is not None and context.chat is None:
            yield from self._with_tools_in_text(context, slot, toolbox)
            return
        session = context.synchronise(toolbox)
        constraint = toolbox.constraint() if toolbox is not None else _constraint(slot.form)
        ends = (*slot.stop, *((ROLE_END,) if context.chat is None and context.held.opened else ()))
        yield from self._generated(context, session, slot, constraint, ends, toolbox)

    def _generated(
        self,
        context: TokenContext,
        session: SteeredSession,
        slot: Slot,
        constraint: Any,
        ends: tuple[str, ...],
        toolbox: Any,
    ) -> Iterator[News]:
        settings = {"temperature": slot.temperature, "top_p": slot.top_p, "max_tokens": slot.max_tokens}
        call = self._model.call(list(ends), {**settings, "seed": slot.seed, **slot.settings})
        text, tokens, scores = "", list[int](), list[TokenScore]()
        held = bool(slot.stop_regex) or toolbox is not None
        last: Piece | None = None
        for piece in session.generate(call.sampling, constraint, logprobs=slot.logprobs):
            text += piece.text
            tokens.extend(piece.tokens)
            scores.extend(piece.scores)
            last = piece
            if found := _first(slot.stop_regex, text):
                yield self._written(context, text[: found.start()], tokens, scores, "stop", "", found[0], toolbox)
                return
            if not held and piece.text:
                yield Piece(piece.text)
        assert last is not None
        assert last.finish is not None
        stop_text = _stopped(session, text, tokens, call.sampling.stop) if last.finish == "stop" else ""
        yield self._written(context, text, tokens, scores, last.finish, last.detail, stop_text, toolbox)

    def _written(
        self,
        context: TokenContext,
        text: str,
        tokens: list[int],
        scores: list[TokenScore],
        finish: Any,
        detail: str,
        stop_text: str,
        toolbox: Any,
    ) -> Written:
        said, found = toolbox.read(text) if toolbox is not None else (text, [])
        if found:
            calls = tuple(ToolCall(name=one["name"], arguments=one["args"], id=one["id"] or "") for one in found)
            context.called(text, calls)
            return Written(text="", calls=calls, data=text, tokens=tuple(tokens))
        context.take(said, tokens)
        return Written(
            text=said, finish=finish, detail=detail, stop_text=stop_text, tokens=tuple(tokens), scores=tuple(scores)
        )

    def _toolbox(self, slot: Slot, context: TokenContext) -> Any:
        if not slot.tools:
            return None
        from chainkit.steered.tools import Toolbox

        native = context.chat is not None and context.chat.conversation.template.mentions("tools")
        return Toolbox(tuple(dict(tool) for tool in slot.tools), slot.tool_choice, native)

    def _with_tools_in_text(self, context: TokenContext, slot: Slot, toolbox: Any) -> Iterator[News]:
        """A text has no place for tools: they are described before it while this slot is filled."""
        before = context.held
        if slot.tool_choice != "none":
            context.held = replace(before, parts=(Part(f"{toolbox.instructions()}\n\n"), *before.parts))
        session = context.synchronise()
        context.held = before
        ends = (*slot.stop, *((ROLE_END,) if context.held.opened else ()))
        yield from self._generated(context, session, slot, toolbox.constraint(), ends, toolbox)


def _first(patterns: tuple[str, ...], text: str) -> re.Match[str] | None:
    matches = [match for pattern in patterns if (match := re.search(pattern, text))]
    return min(matches, key=lambda match: match.start()) if matches else None


def _stopped(session: SteeredSession, text: str, tokens: Sequence[int], stops: Sequence[str]) -> str:
    """Which stop text came behind the text."""
    whole = b"".join(session.vocabulary.piece(token) for token in tokens).decode("utf-8", "replace")
    rest = whole[len(text) :]
    return next((stop for stop in stops if rest.startswith(stop)), "")


def _constraint(form: Form | None) -> Any:
    if form is None:
        return None
    from chainkit.decoding import constraints  # llguidance is only needed for constraints

    if form.pattern is not None:
        return constraints.regex(form.pattern)
    if form.options:
        return constraints.choices(form.options)
    if form.grammar is not None:
        return constraints.lark(form.grammar)
    return constraints.json_schema(form.schema)


def _scored(context: TokenContext, job: Score) -> Scored:
    session = context.synchronise()
    ahead = job.following[:1]
    scores = session.score([option + ahead for option in job.options])
    if job.method == "normalised":
        lengths = [len(session.vocabulary.tokenize(option + ahead)) for option in job.options]
        scores = [score / max(1, length) for score, length in zip(scores, lengths, strict=True)]
    if job.method == "unconditional":
        alone = session.fork().rewind(0)
        scores = [one - other for one, other in zip(scores, alone.score(job.options), strict=True)]
        alone.close()
    return Scored(tuple(scores))
