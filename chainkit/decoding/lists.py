"""Lists in JSON that small models fill: where one begins, and where one that repeats itself ends."""

from __future__ import annotations

import weakref
from typing import Any

import llguidance.numpy as bitmasks
import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from chainkit.base.repetition import Repetition
from chainkit.decoding.healing import spellings
from chainkit.decoding.loop import Vocabulary

_WHITE = b" \n\t\r"
_SPIN, _TURNS, _LONGEST = 80, 8, 32  # bytes at the end of one text that are a unit over and over, and its length


class Lists:
    """Watches the lists of one answer.

    Args:
        matcher: The grammar on its way; only asked.
        tokenizer: The same tokens as llguidance has them.
        vocabulary: The tokens of the model.
    """

    def __init__(self, matcher: LLMatcher, tokenizer: LLTokenizer, vocabulary: Vocabulary) -> None:
        self._matcher, self._vocabulary = matcher, vocabulary
        self._mask = bitmasks.allocate_token_bitmask(1, tokenizer.vocab_size)
        self._looping = Repetition()
        self._text = bytearray()  # of the text in a list that is open
        self._spins = False  # whether that text, or the last one of a list that is open, is a unit over and over
        self._inside = False  # a text
        self._open = ""  # brackets
        self._escaped = False

    @property
    def _signs(self) -> _Signs:
        """Made when a list begins: a look at each token of a large vocabulary takes a third of a second, once."""
        return _signs(self._vocabulary)

    def openings(self, token: int) -> list[list[int]]:
        """The ways on where a token opens a list of texts that may be empty; none where there is no choice.

        The first is the token with the closing bracket, the others hold the quotation mark of the first text.
        """
        piece = self._vocabulary.piece(token)
        if not piece.endswith(b"[") or self._signs.bracket is None:
            return []
        longer = [int(one) for one in spellings(self._vocabulary).beginning_with(piece + b'"')]
        longer = [one for one in longer if self._matcher.validate_tokens([one]) == 1]
        if not longer or not self._only_texts_after(token):
            return []
        return [[token, self._signs.bracket], *([one] for one in longer)]

    def restart(self, data: bytes) -> None:
        """Begin anew after these bytes, since text was taken back."""
        self._looping, self._inside, self._open, self._escaped = Repetition(), False, "", False
        self._text, self._spins = bytearray(), False
        self.watch(data)

    def watch(self, data: bytes) -> None:
        """Look at new text."""
        text = data.decode("utf-8", "replace")
        found = self._looping.feed(text)
        for sign in text:
            within = self._open.endswith("[")
            self._step(sign)
            if (found or self._spins) and within and not self._open.endswith("["):
                self._looping, self._spins = Repetition(), False

    def refuses(self, token: int) -> bool:
        """Whether a list repeats itself and this token would go on with it, though it may end."""
        if not self._over:
            return False
        bits = self._allowed()
        fits = bool(bits[token])
        self.narrow(bits)
        return fits and not bits[token]

    def narrow(self, bits: NDArray[np.uint8]) -> None:
        """Leave out what would go on with a list that repeats itself, where something is left.

        Args:
            bits: [V], 1 for each token that is allowed; changed.
        """
        if not self._over or not self._open.endswith("["):
            return
        ending = bits & self._signs.ends[: len(bits)]
        if ending.any():
            bits[:] = ending

    @property
    def _over(self) -> bool:
        return self._looping.found or self._spins

    def _step(self, sign: str) -> None:
        if self._inside and self._open.endswith("["):
            self._text += sign.encode()
            self._spins = self._spins or _spins(self._text)
        else:
            self._text.clear()
        if self._escaped or (sign == "\\" and self._inside):
            self._escaped = not self._escaped
        elif sign == '"':
            self._inside = not self._inside
        elif self._inside:
            return
        elif sign in "[{":
            self._open += sign
        elif sign in "]}":
            self._open = self._open[:-1]

    def _only_texts_after(self, token: int) -> bool:
        probe = self._matcher.deep_copy()
        if not probe.consume_token(token):
            return False
        bitmasks.fill_next_token_bitmask(probe, self._mask)
        bits = np.unpackbits(self._mask.view(np.uint8).ravel(), bitorder="little")[: len(self._signs.texts)]
        return bool(bits[self._signs.bracket]) and not (bits & ~self._signs.texts).any()

    def _allowed(self) -> NDArray[np.uint8]:
        bitmasks.fill_next_token_bitmask(self._matcher, self._mask)
        return np.unpackbits(self._mask.view(np.uint8).ravel(), bitorder="little")[: len(self._signs.ends)]


def _spins(text: bytearray) -> bool:
    """Whether a text ends with a short unit over and over: sooner seen than what `Repetition` looks for.

    A text that is cut takes its list with it; one in which a unit goes on and on comes to no other end.
    """
    for period in range(1, _LONGEST + 1 if len(text) >= _SPIN else 1):
        run = max(_SPIN, _TURNS * period)
        if len(text) >= run and text[-run:-period] == text[period - run :]:
            return True
    return False


class _Signs:
    """What tokens are to a list, one bit for each.

    Attributes:
        ends: They may end a text or the list, and begin no other item.
        texts: They begin with white space, a quotation mark or the closing bracket.
        bracket: The token of the closing bracket alone.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.ends, self.texts = (np.zeros(vocabulary.size, np.uint8) for _ in range(2))
        self.bracket: int | None = None
        for token in range(vocabulary.size):
            piece = vocabulary.piece(token)
            bare = piece.lstrip(_WHITE)
            behind = piece.removeprefix(b'"').lstrip(_WHITE)
            self.ends[token] = piece.startswith((b"]", b'"')) and not behind.startswith(b",")
            self.texts[token] = bool(piece) and (not bare or bare.startswith((b'"', b"]")))
            if piece == b"]":
                self.bracket = token


_known: weakref.WeakKeyDictionary[Any, _Signs] = weakref.WeakKeyDictionary()


def _signs(vocabulary: Vocabulary) -> _Signs:
    found = _known.get(vocabulary)
    if found is None:
        found = _known[vocabulary] = _Signs(vocabulary)
    return found
