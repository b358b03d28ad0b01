"""Programs on models that are steered token by token.

All jobs of a `Work` go on side by side: each step of all of them is one forward pass. What the template gives is read
in the pass that computes the next choice of the model, never in one of its own.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from chainkit.base.session import Piece, TokenScore
from chainkit.local.completion import LocalLLM
from chainkit.local.lookup import Lookup
from chainkit.local.rows import Done, Row, Rows, Steps
from chainkit.local.session import LocalSession
from chainkit.local.settings import Call
from chainkit.local.soft_prompt import as_soft_prompt
from chainkit.programs.model import cache
from chainkit.programs.model.engines import (
    Abilities,
    Context,
    Form,
    Job,
    News,
    Score,
    Scored,
    Slot,
    Tally,
    ToolCall,
    Written,
)
from chainkit.programs.model.texts import ROLE_END
from chainkit.programs.model.tokens import Part, TokenContext, cuts

_GROWTH = 64  # tokens that a slot is expected to add: most end long before their max_tokens


class LocalEngine:
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
        """An empty context, behind a soft prompt; `...` leaves that to the model, None takes the model's own away."""
        cancelled = threading.Event()
        make = self.model._session if self._chat else lambda event: self.model.session(cancelled=event)
        session = make(cancelled)
        if soft_prompt is not ...:
            session.begin_with(as_soft_prompt(soft_prompt))
        return TokenContext(session, self.model if self._chat and roles else None, tally, self.abilities.name)

    def work(self, *, streaming: bool, rows: int | None = None) -> LocalWork:
        """A place for jobs."""
        return LocalWork(self.model, rows)


class LocalWork:
    """Slots and scores on a local model, side by side."""

    def __init__(self, model: Any, rows: int | None) -> None:
        self._model, self._most = model, rows
        self._rows: Rows | None = None
        self._numbers: dict[int, int] = {}
        self._open: dict[int, Row] = {}

    def submit(self, number: int, job: Job) -> None:
        """Take up a job."""
        context = job.context
        assert isinstance(context, TokenContext)
        if self._rows is None:
            self._rows = Rows(context.session.engine, self._most)
        steps = self._score(context, job) if isinstance(job, Score) else self._slot(context, job.slot)
        growth = 0 if isinstance(job, Score) else min(job.slot.max_tokens, _GROWTH)
        row = Row(context.session, steps, growth)
        self._numbers[id(row)], self._open[number] = number, row
        self._rows.submit(row)

    def step(self) -> Sequence[tuple[int, News | BaseException]]:
        """One pass, or as many as are needed until there is something to tell."""
        news: list[tuple[int, News | BaseException]] = []
        while self._rows and not news:
            for row, item in self._rows.step():
                number = self._numbers[id(row)]
                if isinstance(item, Piece):
                    news.append((number, item))
                    continue
                del self._numbers[id(row)], self._open[number]
                news.append((number, item.result if isinstance(item, Done) else item))
        return news

    async def astep(self) -> Sequence[tuple[int, News | BaseException]]:
        """As `step`, in a thread."""
        return await asyncio.to_thread(self.step)

    def close(self) -> None:
        """Drop all jobs, also those that another thread computes."""
        for row in self._open.values():
            row.session.cancel()
            with suppress(ValueError):  # it runs in another thread, which will notice
                row.steps.close()
        self._rows = None
        self._open.clear()

    def _slot(self, context: TokenContext, slot: Slot) -> Steps:
        toolbox = self._toolbox(slot, context)
        if toolbox is not None and context.chat is None:
            session = self._with_tools_in_text(context, slot, toolbox)
        else:
            session = context.synchronise(toolbox)
        call = self._call(context, slot)
        kept, key = cache.results(), None
        if kept is not None and toolbox is None and (fingerprint := getattr(session.engine, "fingerprint", None)):
            key = cache.key_of_slot(fingerprint, session.tokens, slot, call.sampling)
            if key is not None and isinstance(found := kept.get(key), Written):
                context.replay(found)
                return found
        written: Written = yield from self._generated(context, session, slot, call, toolbox)
        if kept is not None and key is not None:
            kept.put(key, written)
        return written

    def _call(self, context: TokenContext, slot: Slot) -> Call:
        """The settings of the slot, and those of the model where the slot has none."""
        role_end = (ROLE_END,) if context.chat is None and context.held.opened else ()
        if context.ending:  # of a message that another than the assistant writes
            role_end = (context.ending,)
        settings = {"temperature": slot.temperature, "top_p": slot.top_p, "max_tokens": slot.max_tokens}
        # where a form is followed, a stop text counts behind what fulfils it only; see `Guide`
        ends = () if slot.form is not None else slot.stop
        return self._model.call([*ends, *role_end], {**settings, "seed": slot.seed, **slot.settings})

    def _generated(self, context: TokenContext, session: LocalSession, slot: Slot, call: Call, toolbox: Any) -> Steps:
        healed, matcher = self._matcher(context, session, slot, toolbox)
        session.lookup = session.lookup or Lookup()
        session.lookup.end = len(session.tokens) + slot.max_tokens if slot.form is None else 0
        answer = _Answer(slot, healed, held=bool(slot.stop_regex) or toolbox is not None)
        for piece in session.steps(call.sampling, logprobs=slot.logprobs, matcher=matcher, known=healed.encode()):
            if piece is None:
                yield None
                continue
            shown = answer.add(piece)
            if answer.found:
                break
            if shown:
                yield Piece(shown)
        return self._written(context, answer, call.sampling.stop, toolbox)

    def _matcher(self, context: TokenContext, session: LocalSession, slot: Slot, toolbox: Any) -> tuple[str, Any]:
        """What the tokens must follow, and the end of the text before that they stand for as well."""
        form = slot.form
        if form is None and toolbox is None:
            return self._healing(context, session, slot)
        from chainkit.decoding.guide import Guide  # llguidance is only needed for constraints

        constraint = toolbox.constraint() if toolbox is not None else _constraint(form)
        if constraint is None:
            return "", None
        plain = form is not None and (form.pattern is not None or form.options)
        behind = (*slot.stop, slot.following) if plain else slot.stop
        vocabulary: Any = session.vocabulary
        return "", Guide(vocabulary.guide_tokens(), constraint, behind=behind, vocabulary=vocabulary)

    def _healing(self, context: TokenContext, session: LocalSession, slot: Slot) -> tuple[str, Any]:
        if slot.token_healing is False:
            return "", None
        from chainkit.decoding.healing import Healing, taken_back

        vocabulary: Any = session.vocabulary
        count = taken_back(context.tail, vocabulary)
        if not count:
            return "", None
        healing = Healing(vocabulary, session.tokens[-count:])
        session.rewind(len(session.tokens) - count)
        return healing.data.decode(), healing

    def _written(self, context: TokenContext, answer: _Answer, stops: Sequence[str], toolbox: Any) -> Written:
        text, last = answer.text, answer.last
        said, calls = toolbox.read(text) if toolbox is not None else (text, [])
        if calls:
            wanted = tuple(ToolCall(name=one["name"], arguments=one["args"], id=one["id"] or "") for one in calls)
            context.called(text, wanted)
            return Written(text="", calls=wanted, data=text, tokens=tuple(answer.tokens))
        context.take(said, answer.tokens, answer.healed)
        return Written(
            text=said,
            finish="stop" if answer.found else last.finish or "stop",
            detail=last.detail,
            stop_text=answer.stop_text(context.session.vocabulary, stops),
            tokens=tuple(answer.tokens),
            scores=tuple(answer.scores),
            data=answer.healed or None,
        )

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
            context.held = replace(before, parts=(Part(f"{toolbox.instructions()}\n\n"), *before.parts))
        session = context.synchronise()
        context.held = before
        return session

    def _score(self, context: TokenContext, job: Score) -> Steps:
        session = context.synchronise()
        kept, key = cache.results(), None
        if kept is not None and (fingerprint := getattr(session.engine, "fingerprint", None)):
            key = cache.key_of(fingerprint, session.tokens, (job.options, job.following, job.method))
            if key is not None and isinstance(found := kept.get(key), Scored):
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
        scored = Scored(tuple(scores))
        if kept is not None and key is not None:
            kept.put(key, scored)
        return scored


class _Answer:
    """What a slot has written so far.

    Attributes:
        text: Without the stop text.
        found: What a regular expression has found, behind which nothing counts.
    """

    def __init__(self, slot: Slot, healed: str, *, held: bool) -> None:
        self.healed, self.text = healed, ""
        self.tokens: list[int] = []
        self.scores: list[TokenScore] = []
        self.last = Piece("")
        self.found: re.Match[str] | None = None
        self._patterns, self._held = slot.stop_regex, held

    def add(self, piece: Piece) -> str:
        """Take up a piece; what of it may be shown."""
        self.tokens.extend(piece.tokens)
        self.scores.extend(piece.scores)
        self.last = piece
        self.text += piece.text
        matches = [match for pattern in self._patterns if (match := re.search(pattern, self.text))]
        if matches:
            self.found = min(matches, key=lambda match: match.start())
            self.text = self.text[: self.found.start()]
        return "" if self._held else piece.text

    def stop_text(self, vocabulary: Any, stops: Sequence[str]) -> str:
        """Which stop text came behind the text."""
        if self.found:
            return self.found[0]
        if self.last.finish != "stop":
            return ""
        whole = b"".join(map(vocabulary.piece, self.tokens)).decode("utf-8", "replace")
        rest = whole[len(self.healed) + len(self.text) :]
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


def _cut_options(session: LocalSession, tail: Sequence[int], job: Score) -> tuple[int, list[list[int]]]:
    """The options as tokens behind the first so many tokens of the session.

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
    """The tokens up to so many bytes, or up to the first one that goes beyond."""
    taken: list[int] = []
    for token in tokens:
        if length < 0 or (length == 0 and not beyond):
            break
        taken.append(token)
        length -= len(vocabulary.piece(token))
    return taken
