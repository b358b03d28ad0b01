"""The generation loop of all local models: mask, sample, emit final text, stop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from chainkit.base.errors import TimedOut
from chainkit.base.generation import GenerationRequest
from chainkit.base.patterns import pattern as read_pattern
from chainkit.base.repetition import Repetition
from chainkit.base.session import FinishReason, Piece, TokenScore
from chainkit.decoding.sampler import Logits, Sampler, log_softmax
from chainkit.decoding.stops import StopScanner, TextAssembler


class Vocabulary(Protocol):
    """The tokens of a model.

    Attributes:
        size: V, the number of tokens.
        bos: The token that begins a text, or None.
        eos: The token that ends one; negative if there is none.
        adds_bos: Whether the model expects a text to begin with `bos`.
    """

    size: int
    bos: int | None
    eos: int
    adds_bos: bool

    def tokenize(self, text: str, *, special: bool = False, whole: bool = False) -> list[int]:
        """The tokens of a text.

        Args:
            text: Any text.
            special: Read names of special tokens in the text as those tokens.
            whole: The text is complete: begin it with the BOS token if the model expects one.
        """
        ...

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens; control tokens are left out."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes of a token; empty for a control token."""
        ...

    def name(self, token: int) -> bytes:
        """The bytes of a token, or the name of a control token."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether a token ends the model's text."""
        ...

    def is_control(self, token: int) -> bool:
        """Whether it is a control token, which has no text."""
        ...

    def guide_tokens(self) -> Any:
        """The tokens as llguidance's `LLTokenizer`; making it takes seconds for large vocabularies, so it is kept."""
        ...


class Reader(Protocol):
    """A model with the tokens it has read: what a session gives to the loop."""

    @property
    def tokens(self) -> Sequence[int]:
        """All tokens so far."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""
        ...

    @property
    def context_length(self) -> int:
        """How many tokens the context holds."""
        ...

    def push(self, tokens: Sequence[int], *, forced: bool) -> None:
        """Put tokens at the end."""
        ...

    def logits(self) -> Logits:
        """The scores of the next token, [V]; valid until the next call."""
        ...

    def rewind(self, length: int) -> Any:
        """Forget all but the first tokens; asked for by checked constraints only."""
        ...

    def score_tokens(self, options: Sequence[Sequence[int]]) -> list[float]:
        """The joint log-probability of each continuation; used where a list of strings begins."""
        ...


class Matcher(Protocol):
    """The state of a constraint during one generation."""

    def forced(self) -> list[int]:
        """Tokens that must come next because nothing else may."""
        ...

    def ending(self, room: int) -> list[int]:
        """Tokens that complete the text before a limit `room` tokens away cuts it; usually empty."""
        ...

    def allowed(self, logits: Logits) -> Logits:
        """A copy of the logits with -inf for every forbidden token."""
        ...

    def permits(self, token: int) -> bool:
        """Whether this token is allowed next; far cheaper than `allowed`."""
        ...

    def accept(self, tokens: Sequence[int]) -> None:
        """Advance by these tokens."""
        ...

    def fits(self, text: str) -> bool:
        """Whether the constraint allows this text as a whole, so that it may be stopped after it."""
        ...

    def closes(self, token: int) -> bool:
        """Whether this token ends the text because it begins the text that follows."""
        ...

    def openings(self, token: int) -> list[list[int]]:
        """Alternative continuations where a token opens a list that the vocabulary can also spell with other tokens."""
        ...

    @property
    def complete(self) -> bool:
        """Whether nothing can follow."""
        ...


class Checked(Matcher, Protocol):
    """A constraint that checks complete values and backtracks on a fault."""

    @property
    def held(self) -> bool:
        """Whether text is held back until it cannot be removed any more."""
        ...

    @property
    def pending(self) -> float:
        """Number of tokens at the end that backtracking may remove; infinite if no text is final before the end."""
        ...

    @property
    def stuck(self) -> bool:
        """Whether no token is allowed here."""
        ...

    def retreat(self) -> int:
        """Backtrack; returns the number of tokens removed."""
        ...


def generate(reader: Reader, request: GenerationRequest, matcher: Matcher | None = None) -> Iterator[Piece]:
    """Continue the reader's tokens, one piece per step; the last piece says why it ended.

    Args:
        reader: The model; its tokens grow.
        request: How tokens are chosen, when to stop, and which log-probabilities to give.
        matcher: What may be generated.
    """
    return (step for step in steps(reader, request, matcher) if step is not None)


def steps(
    reader: Reader, request: GenerationRequest, matcher: Matcher | None = None, *, known: bytes = b""
) -> Iterator[Piece | None]:
    """`generate` with a None before each step that needs logits, so that one pass can compute them for several texts.

    Args:
        reader: The model; its tokens grow.
        request: How tokens are chosen, when to stop, and which log-probabilities to give.
        matcher: What may be generated.
        known: The first bytes of the tokens repeat the end of the text before: they are not shown, and no stop text
            is looked for in them.

    Raises:
        TimedOut: The text is not complete within the request's `timeout`.
    """
    text = _Text(reader.vocabulary, request, matcher, known)
    looping = Repetition() if request.stop_repetition and request.constraint is None else None
    taken = _taken(reader, request, matcher)
    deadline = None if request.timeout is None else time.monotonic() + request.timeout
    checked = _checked(matcher)
    for step in taken if checked is None else _settled(taken, checked):
        if step is None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimedOut(
                    f"the text was not complete within timeout={request.timeout:g} s; raise it, or lower max_tokens"
                )
            yield None
            continue
        assert isinstance(step, _Taken)
        if step.finish is not None:
            finish = "stop" if text.stopped and step.finish == "eos" else step.finish
            yield Piece(text.end(), finish=finish, detail=step.detail, stop_text=text.stop_text)
            return
        shown = text.feed(step.tokens)
        if text.stopped:
            shown += text.end()
            yield Piece(shown, step.tokens, step.forced, step.scores, finish="stop", stop_text=text.stop_text)
            return
        if looping is not None and looping.feed(shown):
            detail = "the text repeats itself; stop_repetition=False lets it go on"
            shown += text.end()
            yield Piece(shown, step.tokens, step.forced, step.scores, finish="repetition", detail=detail)
            return
        yield Piece(shown, step.tokens, step.forced, step.scores)


@dataclass(frozen=True, slots=True)
class _Taken:
    """Tokens that were taken, or the end and its reason."""

    tokens: tuple[int, ...] = ()
    forced: bool = False
    scores: tuple[TokenScore, ...] = ()
    finish: FinishReason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Back:
    """The last tokens were removed by backtracking."""

    count: int


def _checked(matcher: Matcher | None) -> Checked | None:
    found: Any = matcher
    return found if getattr(matcher, "held", False) else None


def _settled(taken: Iterator[_Taken | _Back | None], matcher: Checked) -> Iterator[_Taken | None]:
    """Steps that are shown when they cannot be taken back any more."""
    kept: deque[_Taken] = deque()
    tokens = 0  # of the steps that are kept
    for step in taken:
        if step is None:
            yield None
        elif isinstance(step, _Taken):
            kept.append(step)
            tokens += len(step.tokens)
            open_ = matcher.pending
            while kept and tokens - len(kept[0].tokens) >= open_ and not matcher.stuck:
                tokens -= len(kept[0].tokens)
                yield kept.popleft()
        else:
            end = tokens - step.count
            while tokens > end:
                tokens -= len(kept.pop().tokens)
    yield from kept


def _taken(reader: Reader, request: GenerationRequest, matcher: Matcher | None) -> Iterator[_Taken | _Back | None]:
    """The steps of a generation, with a None before each that needs logits."""
    sampler, budget, checked = Sampler(request), request.max_tokens, _checked(matcher)
    while (end := _end(reader, request, matcher, budget)) is None:
        room = reader.context_length - len(reader.tokens)
        room = room if budget is None else min(budget, room)
        if matcher is not None and (tokens := matcher.ending(room)):
            yield from _closed(reader, matcher, tokens)
            return
        tokens = matcher.forced()[:room] if matcher is not None else []
        forced = bool(tokens)
        scores: tuple[TokenScore, ...] = ()
        if not forced and not (checked and checked.stuck):
            yield None
            tokens = _opened(reader, _chosen(reader, sampler, matcher), matcher)
        if checked is not None and checked.stuck:
            back = checked.retreat()
            reader.rewind(len(reader.tokens) - back)
            budget = None if budget is None else budget + back
            yield _Back(back)
            continue
        if not forced:
            if reader.vocabulary.is_end(tokens[0]):
                yield _Taken(finish="eos")
                return
            if matcher is not None and matcher.closes(tokens[0]):
                yield _Taken(finish="stop")
                return
            if request.logprobs is not None:
                scores = (token_score(reader.logits(), tokens[0], reader.vocabulary, request.logprobs),)
        reader.push(tokens, forced=forced)
        if matcher is not None:
            matcher.accept(tokens)
        budget = None if budget is None else budget - len(tokens)
        yield _Taken(tuple(tokens), forced, scores)
    yield _Taken(finish=end[0], detail=end[1])


def _closed(reader: Reader, matcher: Matcher, tokens: Sequence[int]) -> Iterator[_Taken]:
    """An end that a limit asks for."""
    reader.push(tokens, forced=True)
    matcher.accept(tokens)
    yield _Taken(tuple(tokens), forced=True)
    yield _Taken(finish="length", detail="max_tokens or the context would have cut it; open brackets were closed")


def _end(
    reader: Reader, request: GenerationRequest, matcher: Matcher | None, budget: int | None
) -> tuple[FinishReason, str] | None:
    """Why no further token may come, and which limit it was."""
    if matcher is not None and matcher.complete:
        return "complete", ""
    if budget is not None and budget <= 0:
        return "length", f"max_tokens={request.max_tokens} is reached"
    if len(reader.tokens) >= reader.context_length:
        return "length", f"the context of {reader.context_length} tokens is full"
    return None


def _chosen(reader: Reader, sampler: Sampler, matcher: Matcher | None) -> int:
    """The next token.

    A mask over a large vocabulary costs milliseconds, so a token is drawn first and the mask made if it is refused:
    p(t) + (1 - p(allowed)) p(t) / p(allowed) is p(t) / p(allowed), exactly the masked distribution. Settings that cut
    the candidates (top_p and others) must see the masked scores, so the mask comes first there.
    """
    logits = reader.logits()
    if matcher is None:
        return sampler.pick(logits, reader.tokens)
    if not sampler.cuts:
        token = sampler.pick(logits, reader.tokens)
        if matcher.permits(token):
            return token
    checked = _checked(matcher)
    if checked is None:
        return sampler.pick(matcher.allowed(logits), reader.tokens)
    while True:
        masked = checked.allowed(logits)
        token = -1 if checked.stuck else sampler.pick(masked, reader.tokens)
        if checked.stuck or checked.permits(token):
            return token


def _opened(reader: Reader, token: int, matcher: Matcher | None) -> list[int]:
    """The token, or the one that also holds the first quotation mark of a list, whichever leads further.

    Models never write a bracket and a quotation mark as two tokens where one token covers both. After the bracket alone
    they would end the list, since its first text seems ruled out.
    """
    stuck = token < 0  # nothing may follow here, and the text goes back
    options = matcher.openings(token) if matcher is not None and not stuck else []
    if not options:
        return [token]
    scores = reader.score_tokens(options)
    return options[max(range(len(options)), key=scores.__getitem__)][:1]


def token_score(logits: Logits, token: int, vocabulary: Vocabulary, rivals: int) -> TokenScore:
    """The log-probability of a token and of the likeliest ones beside it."""
    chances = log_softmax(logits)
    best = np.argsort(-chances, kind="stable")[:rivals] if rivals else ()
    others = tuple((_shown(vocabulary, int(other)), float(chances[other])) for other in best)
    return TokenScore(token, _shown(vocabulary, token), float(chances[token]), others)


class _Text:
    """Tokens in, text that may be shown out."""

    def __init__(
        self, vocabulary: Vocabulary, request: GenerationRequest, matcher: Matcher | None, known: bytes
    ) -> None:
        self._vocabulary, self._known = vocabulary, len(known)
        self._assembler = TextAssembler()
        self._scanner = StopScanner(request.stop, matcher.fits if matcher is not None else None)
        self._patterns = [read_pattern(pattern) for pattern in request.stop_regex]
        self._held = ""  # all of the text, while a pattern may still match in it
        self._matched = ""

    @property
    def stopped(self) -> bool:
        return self._scanner.stopped or bool(self._matched)

    @property
    def stop_text(self) -> str:
        return self._matched or self._scanner.stop_text

    def feed(self, tokens: Sequence[int]) -> str:
        new = b"".join(map(self._vocabulary.piece, tokens))
        if self._known:
            length, new = len(new), new[self._known :]
            self._known -= length - len(new)
        shown = self._scanner.feed(self._assembler.feed(new))
        if not self._patterns:
            return shown
        self._held += shown
        found = [match for pattern in self._patterns if (match := pattern.search(self._held))]
        if found:
            first = min(found, key=lambda match: match.start())
            self._held, self._matched = self._held[: first.start()], first[0]
        return ""

    def end(self) -> str:
        """The text held back; an incomplete character at the very end is dropped."""
        held, self._held = self._held, ""
        return held if self._matched else held + self._scanner.flush()


def _shown(vocabulary: Vocabulary, token: int) -> str:
    return vocabulary.piece(token).decode("utf-8", "replace")
