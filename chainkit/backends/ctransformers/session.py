"""A text that a model of ctransformers has read, token by token."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Self

from chainkit.backends.ctransformers.engine import Engine
from chainkit.backends.ctransformers.vocabulary import Vocabulary
from chainkit.local.session import LocalSession


class CTransformersSession(LocalSession):
    """Tokens on an engine, which has one memory: sessions that take turns read what they do not share again."""

    def __init__(self, engine: Engine, tokens: Sequence[int] = (), *, cancelled: threading.Event | None = None) -> None:
        super().__init__(tokens, cancelled=cancelled)
        self.engine = self._engine = engine

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""
        return self._engine.vocabulary

    def fork(self) -> Self:
        """A second session with the same tokens."""
        twin = type(self)(self._engine, self.tokens)
        twin._logits = self._logits  # the same text has the same next token
        return twin

    def close(self) -> None:
        """Nothing to give back: what was read stays until another text takes its place."""

    def _pause(self) -> None:
        """Nobody waits for a place in memory here."""
