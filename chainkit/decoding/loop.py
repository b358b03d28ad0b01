"""The one loop in which every local model generates: mask, choose, show what is certain, stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from chainkit.base.sampling import Sampling
from chainkit.base.session import FinishReason, Piece, TokenScore
from chainkit.decoding.sampler import Logits, Sampler, log_softmax
from chainkit.decoding.stops import StopScanner, TextAssembler


class Vocabulary(Protocol):
    """What the loop must know about tokens."""

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a control token."""
        ...

    def is_end(self, token: int) -> bool:
        """Whether a token ends the model's text."""
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
    def limit(self) -> int:
        """How many tokens the context holds."""
        ...

    def push(self, tokens: Sequence[int], *, forced: bool) -> None:
        """Put tokens at the end."""
        ...

    def logits(self) -> Logits:
        """The scores of the next token, [V]; valid until the next call."""
        ...


class Matcher(Protocol):
    """A constraint on the way through one generation."""

    def forced(self) -> list[int]:
        """Tokens that are the only way on."""
        ...

    def allowed(self, logits: Logits) -> Logits:
        """A copy of the scores with -inf for every token that is not allowed."""
        ...

    def permits(self, token: int) -> bool:
        """Whether this token may come; far cheaper than `allowed`."""
        ...

    def accept(self, tokens: Sequence[int]) -> None:
        """Go on behind these tokens."""
        ...

    def closes(self, token: int) -> bool:
        """Whether this token is no part of the text, but the beginning of what stands behind it."""
        ...

    @property
    def complete(self) -> bool:
        """Whether nothing can follow."""
        ...


def generate(
    reader: Reader, sampling: Sampling, matcher: Matcher | None = None, *, logprobs: int | None = None
) -> Iterator[Piece]:
    """Continue the reader's tokens, one piece per step; the last piece says why it ended.

    Args:
        reader: The model; its tokens grow.
        sampling: How tokens are chosen, and when to stop.
        matcher: What may be generated.
        logprobs: Give the log-probability of each token, with so many of its likeliest rivals.
    """
    return (step for step in steps(reader, sampling, matcher, logprobs=logprobs) if step is not None)


def steps(
    reader: Reader,
    sampling: Sampling,
    matcher: Matcher | None = None,
    *,
    logprobs: int | None = None,
    known: bytes = b"",
) -> Iterator[Piece | None]:
    """`generate` with a None before each step that needs logits.

    Who runs several texts at once can so collect them, and compute the logits of all in one pass.

    Args:
        reader: The model; its tokens grow.
        sampling: How tokens are chosen, and when to stop.
        matcher: What may be generated.
        logprobs: Give the log-probability of each token, with so many of its likeliest rivals.
        known: What the tokens begin with belongs to the text before: it is not shown, and no stop text stands in it.
    """
    text, sampler = _Text(reader.vocabulary, sampling.stop, known), Sampler(sampling)
    budget = sampling.max_tokens
    while (end := _end(reader, sampling, matcher, budget)) is None:
        tokens = matcher.forced()[: _least(budget, reader.limit - len(reader.tokens))] if matcher is not None else []
        forced = bool(tokens)
        scores: tuple[TokenScore, ...] = ()
        if not forced:
            yield None
            tokens = [_chosen(reader, sampler, matcher)]
            if reader.vocabulary.is_end(tokens[0]):
                yield Piece(text.end(), finish="eos")
                return
            if matcher is not None and matcher.closes(tokens[0]):
                yield Piece(text.end(), finish="stop")
                return
            if logprobs is not None:
                scores = (token_score(reader.logits(), tokens[0], reader.vocabulary, logprobs),)
        reader.push(tokens, forced=forced)
        if matcher is not None:
            matcher.accept(tokens)
        budget = None if budget is None else budget - len(tokens)
        shown = text.feed(tokens)
        if text.stopped:
            yield Piece(shown, tuple(tokens), forced, scores, finish="stop")
            return
        yield Piece(shown, tuple(tokens), forced, scores)
    yield Piece(text.end(), finish=end[0], detail=end[1])


def _end(
    reader: Reader, sampling: Sampling, matcher: Matcher | None, budget: int | None
) -> tuple[FinishReason, str] | None:
    """Why no further token may come, and which limit it was."""
    if matcher is not None and matcher.complete:
        return "complete", ""
    if budget is not None and budget <= 0:
        return "length", f"max_tokens={sampling.max_tokens} is reached"
    if len(reader.tokens) >= reader.limit:
        return "length", f"the context of {reader.limit} tokens is full"
    return None


def _chosen(reader: Reader, sampler: Sampler, matcher: Matcher | None) -> int:
    """The next token.

    A mask over a large vocabulary costs milliseconds, so a token is drawn first and the mask made if it is refused:
    p(t) + (1 - p(allowed)) p(t) / p(allowed) is p(t) / p(allowed), just what drawing behind the mask gives. What cuts
    the candidates must see the masked scores, so it begins with the mask.
    """
    logits = reader.logits()
    if matcher is None:
        return sampler.pick(logits, reader.tokens)
    if not sampler.cuts:
        token = sampler.pick(logits, reader.tokens)
        if matcher.permits(token):
            return token
    return sampler.pick(matcher.allowed(logits), reader.tokens)


def token_score(logits: Logits, token: int, vocabulary: Vocabulary, rivals: int) -> TokenScore:
    """The log-probability of a token and of the likeliest ones beside it."""
    chances = log_softmax(logits)
    best = np.argsort(-chances, kind="stable")[:rivals] if rivals else ()
    others = tuple((_shown(vocabulary, int(other)), float(chances[other])) for other in best)
    return TokenScore(token, _shown(vocabulary, token), float(chances[token]), others)


class _Text:
    """Tokens in, text that may be shown out."""

    def __init__(self, vocabulary: Vocabulary, stops: Sequence[str], known: bytes) -> None:
        self._vocabulary, self._known = vocabulary, len(known)
        self._assembler = TextAssembler()
        self._scanner = StopScanner(stops)

    @property
    def stopped(self) -> bool:
        return self._scanner.stopped

    def feed(self, tokens: Sequence[int]) -> str:
        new = b"".join(map(self._vocabulary.piece, tokens))
        if self._known:
            length, new = len(new), new[self._known :]
            self._known -= length - len(new)
        return self._scanner.feed(self._assembler.feed(new))

    def end(self) -> str:
        """What was held back; half a character at the very end is left out, as no text could show it."""
        return self._scanner.flush()


def _shown(vocabulary: Vocabulary, token: int) -> str:
    return vocabulary.piece(token).decode("utf-8", "replace")


def _least(budget: int | None, room: int) -> int:
    return room if budget is None else min(budget, room)
