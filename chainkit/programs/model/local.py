"""Programs on local models.

The slots and scores of all runs go to the model's scheduler, where they share forward passes with everything else that
runs on the model. Literal text of the template is read in the pass that computes the model's next choice, never in a
separate one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from chainkit.base.generation import GenerationRequest, key_text
from chainkit.base.session import Piece, TokenScore
from chainkit.local.completion import LocalLLM
from chainkit.local.lookup import PromptLookup
from chainkit.local.scheduler import Client, GenerationEnd, GenerationTask, scheduler_of
from chainkit.local.session import LocalSession
from chainkit.local.soft_prompt import as_soft_prompt
from chainkit.programs.model import cache
from chainkit.programs.model.protocol import (
    Abilities,
    Context,
    Form,
    Job,
    JobUpdate,
    OptionScores,
    Score,
    Slot,
    SlotResult,
    Tally,
    ToolCall,
)
from chainkit.programs.model.record import ROLE_END
from chainkit.programs.model.tokens import TextPart, TokenContext, cuts

_GROWTH = 64  # tokens that a slot is expected to add: most end long before their max_tokens

SlotSteps = Generator[Any, Any, Any]


class LocalProgramModel:
    """A local model."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._chat = not isinstance(model, LocalLLM)
        name = getattr(model, "model", "")
        self.abilities = Abilities(
            name=f"{type(model).__name__} {name}".strip(),
            continues=True,
            roles="either" if self._chat else "text",
            forces=True,
            scores=True,
            logprobs=True,
            grammars=True,
            soft_prompts=True,
        )

    def context(self, tally: Tally, *, roles: bool, config: Any = None, soft_prompt: Any = ...) -> Context:
        """An empty context, after a soft prompt; `...` leaves that to the model, None takes the model's own away."""
        cancelled = threading.Event()
        session = self.model._session(cancelled) if self._chat else self.model.session(cancelled=cancelled)
        if soft_prompt is not ...:
            session.begin_with(as_soft_prompt(soft_prompt))
        return TokenContext(session, self.model if self._chat and roles else None, tally, self.abilities.name)

    def runner(self, *, streaming: bool, rows: int | None = None) -> LocalJobRunner:
        """A place for jobs."""
        return LocalJobRunner(self.model, rows)


class LocalJobRunner:
    """Slots and scores on a local model, side by side."""

    def __init__(self, model: Any, rows: int | None) -> None:
        self._model, self._most = model, rows
        self._client: Client | None = None
        self._open: dict[int, GenerationTask] = {}

    def submit(self, number: int, job: Job) -> None:
        """Take up a job."""
        context = job.context
        assert isinstance(context, TokenContext)
        if self._client is None:
            self._client = Client(scheduler_of(context.session.runtime), streaming=True, most=self._most)
        steps = self._score(context, job) if isinstance(job, Score) else self._slot(context, job.slot)
        growth = 0 if isinstance(job, Score) else min(job.slot.max_tokens, _GROWTH)
        self._open[number] = task = GenerationTask(context.session, steps, growth, continues=True, number=number)
        self._client.submit(task)

    def step(self) -> Sequence[tuple[int, JobUpdate | BaseException]]:
        """One pass, or as many as are needed until there is something to tell."""
        updates: list[tuple[int, JobUpdate | BaseException]] = []
        for task, update in self._client.wait() if self._client is not None else ():
            if not isinstance(update, Piece):
                self._open.pop(task.number, None)
            updates.append((task.number, update.result if isinstance(update, GenerationEnd) else update))
        return updates

    async def astep(self) -> Sequence[tuple[int, JobUpdate | BaseException]]:
        """As `step`, in a thread."""
        return await asyncio.to_thread(self.step)

    def close(self) -> None:
        """Drop all jobs, also those that another thread computes."""
        for task in self._open.values():
            task.session.cancel()
        if self._client is not None:
            self._client.close(list(self._open.values()))
        self._open.clear()

    def _slot(self, context: TokenContext, slot: Slot) -> SlotSteps:
        toolbox = self._toolbox(slot, context)
        if toolbox is not None and context.chat is None:
            session = self._with_tools_in_text(context, slot, toolbox)
        else:
            session = context.synchronise(toolbox)
        request = self._request(context, slot, toolbox)
        kept, key = cache.results(), None
        fingerprint = session.runtime.fingerprint()
        if kept is not None and toolbox is None and fingerprint and request.repeatable:
            key = cache.key_of(fingerprint, session.tokens, request.key)
            if isinstance(found := kept.get(key), SlotResult):
                context.replay(found)
                return found
        result: SlotResult = yield from self._generated(context, session, request, toolbox)
        if kept is not None and key is not None:
            kept.put(key, result)
        return result

    def _request(self, context: TokenContext, slot: Slot, toolbox: Any) -> GenerationRequest:
        """The slot's settings, with the model's settings as defaults."""
        role_end = (ROLE_END,) if context.chat is None and context.held.opened else ()
        if context.ending:  # of a message that another than the assistant writes
            role_end = (context.ending,)
        settings = {"temperature": slot.temperature, "top_p": slot.top_p, "max_tokens": slot.max_tokens}
        request = self._model.call([*slot.stop, *role_end], {**settings, "seed": slot.seed, **slot.settings})
        form = slot.form
        plain = form is not None and (form.pattern is not None or bool(form.options))
        return replace(
            request,
            stop_regex=slot.stop_regex,
            constraint=toolbox.constraint() if toolbox is not None else _constraint(form),
            following=slot.following if plain else "",
            logprobs=slot.logprobs,
            token_healing=slot.token_healing,
            soft_prompt=None,  # its tokens are the session's first
        )

    def _generated(
        self, context: TokenContext, session: LocalSession, request: GenerationRequest, toolbox: Any
    ) -> SlotSteps:
        healed, healing = "", None
        if request.constraint is None and request.token_healing is not False:
            healed, healing = self._healing(context, session)
        session.lookup = session.lookup or PromptLookup()
        session.lookup.end = len(session.tokens) + (request.max_tokens or 0) if request.constraint is None else 0
        text, tokens, scores, last = "", list[int](), list[TokenScore](), Piece("")
        for piece in session.steps(request, healing, known=healed.encode()):
            if piece is None:
                yield None
                continue
            text += piece.text
            tokens.extend(piece.tokens)
            scores.extend(piece.scores)
            last = piece
            if piece.text and toolbox is None:
                yield Piece(piece.text)
        calls = toolbox.read(text, last).calls if toolbox is not None else ()
        if calls:
            wanted = tuple(ToolCall(name=one["name"], arguments=one["args"], id=one["id"] or "") for one in calls)
            context.called(text, wanted)
            return SlotResult(text="", calls=wanted, data=text, tokens=tuple(tokens))
        context.take(text, tokens, healed)
        return SlotResult(
            text=text,
            finish=last.finish or "stop",
            detail=last.detail,
            stop_text=last.stop_text,
            tokens=tuple(tokens),
            scores=tuple(scores),
            data=healed or None,
        )

    def _healing(self, context: TokenContext, session: LocalSession) -> tuple[str, Any]:
        """The end of the text before that is written again, and what makes it so."""
        from chainkit.decoding.healing import Healing, taken_back

        count = taken_back(context.tail, session.vocabulary)
        if not count:
            return "", None
        healing = Healing(session.vocabulary, session.tokens[-count:])
        session.rewind(len(session.tokens) - count)
        return healing.data.decode(), healing

    def _toolbox(self, slot: Slot, context: TokenContext) -> Any:
        if not slot.tools:
            return None
        from chainkit.local.tools import Toolbox

        native = context.chat is not None and context.chat.conversation.template.mentions("tools")
        return Toolbox(tuple(dict(tool) for tool in slot.tools), slot.tool_choice, native)

    def _with_tools_in_text(self, context: TokenContext, slot: Slot, toolbox: Any) -> LocalSession:
        """A text has no place for tools: they are described before it while this slot is filled."""
        before = context.held
        if slot.tool_choice != "none":
            context.held = replace(before, parts=(TextPart(f"{toolbox.instructions()}\n\n"), *before.parts))
        session = context.synchronise()
        context.held = before
        return session

    def _score(self, context: TokenContext, job: Score) -> SlotSteps:
        session = context.synchronise()
        kept, key = cache.results(), None
        if kept is not None and (fingerprint := session.runtime.fingerprint()):
            key = cache.key_of(fingerprint, session.tokens, key_text((job.options, job.following, job.method)))
            if isinstance(found := kept.get(key), OptionScores):
                return found
        base, options = _cut_options(session, context.tail, job)
        whole = list(session.tokens)
        session.rewind(base)
        scores = yield session.begun().branches(options)
        assert scores is not None
        session.rewind(base).append(whole[base:])
        if job.method == "normalised":
            scores = [score / max(1, len(option)) for score, option in zip(scores, options, strict=True)]
        if job.method == "unconditional":
            alone = session.fork().rewind(0)
            scores = [one - other for one, other in zip(scores, alone.score(job.options), strict=True)]
            alone.close()
        scored = OptionScores(tuple(scores))
        if kept is not None and key is not None:
            kept.put(key, scored)
        return scored


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
    return constraints.json_schema(form.schema, other_keys=False)


def _cut_options(session: LocalSession, tail: Sequence[int], job: Score) -> tuple[int, list[list[int]]]:
    """Tokenize the options as continuations; returns how many tokens of the session to keep, and the options.

    An option is cut together with the end of the text before it and what follows it, so that tokens may stand across
    both borders. Of what follows, one token tells options apart that begin with one another.
    """
    vocabulary, known = session.vocabulary, cuts(session.vocabulary)
    before = b"".join(map(vocabulary.piece, tail)).decode("utf-8", "replace")
    if tuple(known.tokens(before)) != tuple(tail):  # it would be cut otherwise if it stood alone
        tail, before = (), ""
    ambiguous = any(one != other and other.startswith(one) for one in job.options for other in job.options)
    options: list[list[int]] = []
    for option in job.options:
        tokens, length = known.tokens(before + option + job.following), len((before + option).encode())
        cut = _reaching(vocabulary, tokens, length, beyond=bool(job.following))
        if not job.following and ambiguous and vocabulary.eos >= 0:
            cut = [*cut, vocabulary.eos]
        options.append(cut)
    shared = 0
    while shared < len(tail) and all(option[shared : shared + 1] == [tail[shared]] for option in options):
        shared += 1
    return len(session.tokens) - len(tail) + shared, [option[shared:] for option in options]


def _reaching(vocabulary: Any, tokens: Sequence[int], length: int, *, beyond: bool) -> list[int]:
    """Leading tokens that cover at most `length` bytes, or up to the first one that exceeds it."""
    taken: list[int] = []
    for token in tokens:
        if length < 0 or (length == 0 and not beyond):
            break
        taken.append(token)
        length -= len(vocabulary.piece(token))
    return taken
