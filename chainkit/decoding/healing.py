"""Token healing: where a text ends and generation begins, a token may stand across the border.

The last tokens of the text are removed, and the generated text must begin with their bytes. This costs no computation:
these tokens have not been read yet, or are not read again.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from chainkit.decoding.loop import Vocabulary
from chainkit.decoding.sampler import Logits


class Spellings:
    """The tokens of a vocabulary in the order of their bytes."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        spelled = sorted((piece, token) for token in range(vocabulary.size) if (piece := vocabulary.piece(token)))
        self._bytes = [piece for piece, _ in spelled]
        self._tokens = np.array([token for _, token in spelled], dtype=np.int64)
        self.longest = max(map(len, self._bytes), default=0)

    def beginning_with(self, data: bytes) -> NDArray[np.int64]:
        """The tokens whose bytes begin with these."""
        first, last = self._range(data)
        return self._tokens[first:last]

    def going_on(self, data: bytes) -> bool:
        """Whether a token begins with these bytes and is longer."""
        first, last = self._range(data)
        while first < last and self._bytes[first] == data:
            first += 1
        return first < last

    def leading_to(self, data: bytes) -> Iterator[int]:
        """The tokens that these bytes begin with, and that are shorter."""
        for length in range(1, len(data)):
            first, last = bisect_left(self._bytes, data[:length]), len(self._bytes)
            while first < last and self._bytes[first] == data[:length]:
                yield int(self._tokens[first])
                first += 1

    def _range(self, data: bytes) -> tuple[int, int]:
        return bisect_left(self._bytes, data), bisect_left(self._bytes, data + b"\xff" * (self.longest + 1))


_known: weakref.WeakKeyDictionary[Vocabulary, Spellings] = weakref.WeakKeyDictionary()


def spellings(vocabulary: Vocabulary) -> Spellings:
    """The spellings of a vocabulary; made once."""
    found = _known.get(vocabulary)
    if found is None:
        found = _known[vocabulary] = Spellings(vocabulary)
    return found


def taken_back(tokens: Sequence[int], vocabulary: Vocabulary) -> int:
    """How many tokens at the end of a text a longer token could stand for, in part; 0 if there is none.

    As many as possible, but only whole characters.
    """
    table, data, found = spellings(vocabulary), b"", 0
    for count in range(1, len(tokens) + 1):
        data = vocabulary.piece(tokens[-count]) + data
        if len(data) >= table.longest:
            break
        if data and table.going_on(data) and not 0x80 <= data[0] < 0xC0:
            found = count
    return found


class Healing:
    """Constraint to regenerate the removed tokens, or a longer token that begins with their remaining bytes.

    See `chainkit.decoding.loop.Matcher`; after these tokens, everything is allowed.

    Attributes:
        data: The bytes that were removed.
    """

    def __init__(self, vocabulary: Vocabulary, tokens: Sequence[int]) -> None:
        self._vocabulary, self._tokens = vocabulary, list(tokens)
        self.data = self._left = b"".join(map(vocabulary.piece, tokens))

    @property
    def complete(self) -> bool:
        """Never: it says nothing about the end."""
        return False

    def forced(self) -> list[int]:
        """The tokens themselves, where no longer one could stand for their end."""
        if self._left and not spellings(self._vocabulary).going_on(self._left):
            return self._tokens[:1]
        return []

    def permits(self, token: int) -> bool:
        """Whether this token may come."""
        return not self._left or token == self._tokens[0] or self._vocabulary.piece(token).startswith(self._left)

    def closes(self, token: int) -> bool:
        """No token ends the text."""
        return False

    def fits(self, text: str) -> bool:
        """A stop text may come anywhere."""
        return True

    def openings(self, token: int) -> list[list[int]]:
        """No token opens a list."""
        return []

    def ending(self, room: int) -> list[int]:
        """Nothing is to be made whole."""
        return []

    def allowed(self, logits: Logits) -> Logits:
        """A copy of the scores with -inf for every token that may not come."""
        if not self._left:
            return logits
        masked = np.full_like(logits, -np.inf)
        chosen = [self._tokens[0], *spellings(self._vocabulary).beginning_with(self._left)]
        masked[chosen] = logits[chosen]
        return masked

    def accept(self, tokens: Sequence[int]) -> None:
        """Advance by these tokens."""
        for token in tokens:
            if not self._left:
                return
            self._left = self._left[len(self._vocabulary.piece(token)) :]
            del self._tokens[0]
