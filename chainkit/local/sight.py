"""Inspect a model: the tokens of a text, and the probabilities of the next one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from langchain_core.messages import BaseMessage

from chainkit.base.generation import GenerationRequest
from chainkit.decoding.sampler import Logits, distribution, log_softmax
from chainkit.local.session import LocalSession

Readable = str | Sequence[BaseMessage]
"""Plain text, or messages, which a chat model formats with its chat template."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a text.

    Attributes:
        id: Its number.
        text: Its text; a broken character is U+FFFD, a control token has its name.
        data: Its bytes; none for a control token.
    """

    id: int
    text: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that may come next.

    Attributes:
        id: Its number.
        text: Its text.
        chance: Its probability according to the model.
        logprob: The natural logarithm of that.
        sampled: Its probability after temperature and cuts: 0 if it is cut; None if neither was asked for.
    """

    id: int
    text: str
    chance: float
    logprob: float
    sampled: float | None = None


class Sight:
    """`effective_context_length`, `tokens` and `next_tokens`, for every model that runs token by token."""

    @property
    def effective_context_length(self) -> int:
        """How many tokens a text may have, those that are written included; asking loads the model.

        Raises:
            ModelFileError: The model cannot be loaded.
        """
        with closing(self._opened()) as session:
            return session.context_length

    def tokens(self, text: Readable) -> list[Token]:
        """How a text is cut into what the model reads, its first token (BOS) included if the model expects one.

        Of messages, all that the model reads: those of the template too.

        Raises:
            TypeError: Messages are given to a model that continues text.
            TemplateError: The model has no chat template for messages.
        """
        vocabulary = self._seen()
        return [token_of(token, vocabulary) for token in self._ids(text, vocabulary)]

    def next_tokens(self, text: Readable, k: int = 10, **sampling: Any) -> list[Candidate]:
        """The likeliest tokens to come next, the likeliest first.

        Args:
            text: The text so far; for messages, the next token is the first of the answer.
            k: Number of tokens.
            sampling: `temperature`, `top_p`, `top_k`, `min_p`: how likely each is to be drawn with these.

        Raises:
            ValueError: A setting is out of range, or k is below 1.
            ContextOverflow: The text is longer than the context.
            Unsupported: The model reads with an encoder.
        """
        if k < 1:
            raise ValueError(f"k must be 1 or more, got {k}")
        values: dict[str, Any] = {"temperature": 1.0} | sampling
        settings = GenerationRequest(**values) if sampling else None
        with closing(self._opened()) as session:
            session.append(self._ids(text, session.vocabulary))
            return candidates(session.begun().logits(), session.vocabulary, k, settings)

    @property
    def parameter_count(self) -> int | None:
        """How many numbers the model has; None where that is not known before it is loaded."""
        return None

    @abstractmethod
    def _seen(self) -> Any:
        """The model's tokens."""

    @abstractmethod
    def _opened(self) -> LocalSession:
        """An empty session."""

    def _ids(self, text: Readable, vocabulary: Any) -> list[int]:
        special = bool(getattr(self, "special_tokens", False))
        if isinstance(text, str):
            return vocabulary.tokenize(text, special=special, whole=True)
        raise TypeError(f"a model that continues text reads a text and no {type(text).__name__}")


def token_of(token: int, vocabulary: Any) -> Token:
    """A token with its bytes; a control token has none, but a name."""
    data = vocabulary.piece(token)
    return Token(token, (data or vocabulary.name(token)).decode("utf-8", "replace"), data)


def candidates(logits: Logits, vocabulary: Any, count: int, sampling: GenerationRequest | None) -> list[Candidate]:
    """The likeliest tokens of logits, [V], with their chances before and after temperature and cuts."""
    logprobs = log_softmax(logits)
    drawn = _drawn(logits, sampling)
    best = np.argsort(-logprobs, kind="stable")[:count]
    return [
        Candidate(
            int(token),
            token_of(int(token), vocabulary).text,
            float(np.exp(logprobs[token])),
            float(logprobs[token]),
            None if drawn is None else drawn.get(int(token), 0.0),
        )
        for token in best
    ]


def _drawn(logits: Logits, sampling: GenerationRequest | None) -> dict[int, float] | None:
    """Token -> how likely it is to be drawn."""
    if sampling is None:
        return None
    if sampling.temperature == 0:
        return {int(logits.argmax()): 1.0}
    kept, chances = distribution(logits, sampling)
    return dict(zip(map(int, kept), map(float, chances), strict=True))
