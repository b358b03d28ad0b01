"""A text that a transformers model has read, token by token: `Session` on the library's forward pass."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from chainkit.backends.huggingface.engine import Engine, Memory
from chainkit.backends.huggingface.vocabulary import Vocabulary
from chainkit.base.errors import ContextOverflow
from chainkit.base.sampling import Sampling
from chainkit.base.session import Counters, Piece, TokenScore
from chainkit.decoding import loop
from chainkit.decoding.sampler import Logits, log_softmax

if TYPE_CHECKING:
    from chainkit.decoding.constraints import Constraint


class TransformersSession:
    """Tokens on an engine. The tokens are here; what the engine has computed of them is only a cache.

    Attributes:
        tokens: All tokens so far.
        counters: What they have cost.
    """

    def __init__(self, engine: Engine, tokens: Sequence[int] = (), *, cancelled: threading.Event | None = None) -> None:
        self.engine = engine
        self.tokens = list(tokens)
        self.counters = Counters()
        self._memory: Memory | None = None
        self._counted = 0  # so many of our tokens are in the counters
        self._logits: tuple[int, Logits] | None = None
        self._cancelled = cancelled or threading.Event()

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""
        return self.engine.vocabulary

    @property
    def limit(self) -> int:
        """How many tokens the context holds."""
        return self.engine.limit

    def append(self, text: str | Sequence[int], *, special: bool = False) -> Self:
        """Put text or tokens at the end; nothing is computed before it is needed.

        The first text gets the model's own first token (BOS) if the model expects one.

        Raises:
            ContextOverflow: There is no room.
        """
        if isinstance(text, str):
            text = self.vocabulary.tokenize(text, special=special, whole=not self.tokens)
        if len(self.tokens) + len(text) > self.limit:
            raise ContextOverflow(len(self.tokens) + len(text), self.limit)
        self.tokens.extend(text)
        return self

    def generate(
        self, sampling: Sampling, constraint: Constraint | None = None, *, logprobs: int | None = None
    ) -> Iterator[Piece]:
        """Continue the text, piece by piece; the last piece has `finish`.

        Args:
            sampling: How tokens are chosen, and when to stop.
            constraint: What may be generated.
            logprobs: Give each token's log-probability, with so many of its likeliest rivals.
        """
        self.begun()
        yield from loop.generate(self, sampling, self._guide(constraint), logprobs=logprobs)

    def cancel(self) -> None:
        """Stop a generation that another thread runs; it raises `Cancelled` before its next computation."""
        self._cancelled.set()

    def push(self, tokens: Sequence[int], *, forced: bool) -> None:
        """Tokens that the loop has chosen; they are read when the next logits are asked for."""
        self.tokens.extend(tokens)
        if forced:
            self.counters.forced += len(tokens)
        else:
            self.counters.sampled += len(tokens)

    def logits(self) -> Logits:
        """The scores of the next token, [V]."""
        length = len(self.tokens)
        if self._logits is None or self._logits[0] != length:
            self._logits = length, self._advance(1)[0]
        return self._logits[1]

    def score(self, options: Sequence[str]) -> list[float]:
        """The joint log-probability of each text as the continuation of this one; the session stays as it is.

        Each text is computed in one pass; an empty text has the log-probability 0.
        """
        self.begun()
        length, start = len(self.tokens), self.logits()
        scores: list[float] = []
        try:
            for option in options:
                tokens = self.vocabulary.tokenize(option)
                rows = [start]
                if len(tokens) > 1:
                    self.append(tokens[:-1])
                    rows += list(self._advance(len(tokens) - 1))
                chances = (log_softmax(row)[token] for row, token in zip(rows, tokens, strict=False))
                scores.append(float(sum(chances)))
                self.rewind(length)
        finally:
            self.rewind(length)
            self._logits = length, start
        return scores

    def next_tokens(self, count: int) -> list[TokenScore]:
        """The likeliest next tokens with their log-probabilities, the likeliest first."""
        self.begun()
        logits = self.logits()
        best = np.argsort(-logits, kind="stable")[:count]
        return [loop.token_score(logits, int(token), self.vocabulary, 0) for token in best]

    def fork(self) -> Self:
        """A second session with the same tokens; what was read is copied and not read again."""
        twin = type(self)(self.engine, self.tokens)
        twin._logits = self._logits  # the same text has the same next token
        return twin

    def rewind(self, length: int) -> Self:
        """Forget all but the first `length` tokens.

        Raises:
            ValueError: There are not so many.
        """
        if not 0 <= length <= len(self.tokens):
            raise ValueError(f"cannot rewind to {length} tokens: the session has {len(self.tokens)}")
        if length < len(self.tokens):
            del self.tokens[length:]
            self._counted, self._logits = min(self._counted, length), None
        return self

    @property
    def text(self) -> str:
        """The text of all tokens; control tokens are left out."""
        return self.vocabulary.detokenize(self.tokens)

    def close(self) -> None:
        """Give the memory to others; what was read stays there for reuse until they need the place."""
        if self._memory is not None and self._memory.belongs_to(self):
            self._memory.owner = None
        self._memory = None

    def _guide(self, constraint: Constraint | None) -> loop.Matcher | None:
        if constraint is None:
            return None
        from chainkit.decoding.guide import Guide  # llguidance is only needed for constraints

        return Guide(self.vocabulary.guide_tokens(), constraint)

    def _advance(self, last: int) -> Logits:
        self._memory, computed, logits = self.engine.advance(
            self, self._memory, self.tokens, self._cancelled.is_set, last=last
        )
        unread = len(self.tokens) - self._counted
        self.counters.read += computed
        self.counters.cached += max(0, unread - computed)
        self._counted = len(self.tokens)
        return logits

    def begun(self) -> Self:
        """This session, with the model's first token if it was empty.

        Raises:
            ValueError: It was empty, and the model has no token that begins a text.
        """
        if not self.tokens:
            if self.vocabulary.bos is None:
                raise ValueError("there is no text to continue, and this model has no token that begins one")
            self.tokens.append(self.vocabulary.bos)
        return self
