"""Lists in JSON that small models fill: where one begins, and where one that repeats itself ends."""

from __future__ import annotations

import json
import re
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import llguidance.numpy as bitmasks
import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from chainkit.base.repetition import Repetition
from chainkit.decoding.healing import spellings
from chainkit.decoding.loop import Vocabulary

_WHITE = b" \n\t\r"
_TRIES = 2  # texts of a list that are replaced; the list ends where there are more
_COUNTED = 12  # texts of a list that differ in a number alone
_DIGITS = re.compile(rb"\d+")
_FEW = 0.02  # share of the vocabulary: texts that may begin with fewer tokens are chosen from a few
_NUMBERED = re.compile(rb"\s*\d+[.)\]:]+\s")  # the number of an item at the beginning of its text
_SPIN, _TURNS, _LONGEST = 80, 8, 32  # bytes at the end of one text that are a unit over and over, and its length


@dataclass
class _Bracket:
    """An open bracket.

    Attributes:
        sign: It itself.
        place: The bytes before it.
        seen: The texts of a list so far.
        forms: How many of them differ in a number alone.
        comma: The tokens before the one that holds the comma of the item that is on its way; -1 for a first item.
        first: The tokens before the one that begins the text of that item; -1 if none has.
    """

    sign: str
    place: int
    seen: set[bytes] = field(default_factory=set[bytes])
    forms: Counter[bytes] = field(default_factory=Counter[bytes])
    comma: int = -1
    first: int = -1


class Lists:
    """Watches the lists of one answer.

    A text that stands in its list already, that goes round in circles, that begins with its number or that only counts
    on is taken back, and another one comes in its place; where there are more of them, the list ends before the next.

    Args:
        matcher: The grammar on its way; only asked.
        tokenizer: The same tokens as llguidance has them.
        vocabulary: The tokens of the model.
        question: What is answered; what stands there may stand in a list more than once.
        rewinds: Whether texts may be taken back.
    """

    def __init__(
        self, matcher: LLMatcher, tokenizer: LLTokenizer, vocabulary: Vocabulary, *, question: str = "", rewinds: bool
    ) -> None:
        self._matcher, self._vocabulary = matcher, vocabulary
        self._mask = bitmasks.allocate_token_bitmask(1, tokenizer.vocab_size)
        self._question, self.rewinds = question.lower(), rewinds
        self._refused: dict[int, set[int]] = {}  # tokens, by the number of those before
        self._tries: Counter[int] = Counter()  # texts taken back, by the place of their list
        self._free: dict[int, bool] = {}  # whether the texts of a list are not chosen from a few, by its place
        self._tokens: list[int] = []
        self.restart(b"")

    @property
    def _signs(self) -> _Signs:
        """Made when a list begins: a look at each token of a large vocabulary takes a third of a second, once."""
        return _signs(self._vocabulary)

    @property
    def stuck(self) -> bool:
        """Whether a text has to be taken back."""
        return self._fault is not None

    @property
    def pending(self) -> int:
        """How many tokens at the end may be taken back."""
        top = self._list
        begin = -1 if top is None or not self._free.get(top.place) else top.comma if top.comma >= 0 else top.first
        return len(self._tokens) - begin if begin >= 0 else 0

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
        self._looping, self._text, self._spins = Repetition(), bytearray(), False
        self._inside, self._escaped, self._size = False, False, 0
        self._open: list[_Bracket] = []
        self._fault: _Bracket | None = None
        self._feed(data)

    def watch(self, tokens: Sequence[int]) -> None:
        """Look at new text."""
        for token in tokens:
            self._feed(self._vocabulary.piece(token))
            self._tokens.append(token)
        top = self._list
        if self.rewinds and top is not None and self._inside and not self._text and top.place not in self._free:
            self._free[top.place] = self._allowed().mean() > _FEW

    def retreat(self) -> int:
        """The number of tokens to take back, after `stuck`."""
        top, here = self._fault, len(self._tokens)
        assert top is not None
        self._tries[top.place] += 1
        keep = top.first
        if self._tries[top.place] > _TRIES and top.comma >= 0:
            keep = top.comma
        elif keep < here:
            self._refused.setdefault(keep, set()).add(self._tokens[keep])
        self._refused = {place: tokens for place, tokens in self._refused.items() if place <= keep}
        kept, self._tokens = self._tokens[:keep], []
        self.restart(b"")
        self.watch(kept)
        return here - keep

    def refuses(self, token: int) -> bool:
        """Whether this token would bring back what was taken back, or go on with a list that shall end."""
        if not self._over and not self._refused.get(len(self._tokens)):
            return False
        bits = self._allowed()
        fits = bool(bits[token])
        self.narrow(bits)
        return fits and not bits[token]

    def narrow(self, bits: NDArray[np.uint8]) -> None:
        """Leave out the tokens that `refuses` means, where something is left.

        Args:
            bits: [V], 1 for each token that is allowed; changed.
        """
        if refused := self._refused.get(len(self._tokens)):
            others = bits.copy()
            others[list(refused)] = 0
            if others.any():
                bits[:] = others
        if not self._over or self._list is None:
            return
        ending = bits & self._signs.ends[: len(bits)]
        if ending.any():
            bits[:] = ending

    @property
    def _list(self) -> _Bracket | None:
        """The innermost bracket, if it is that of a list."""
        return self._open[-1] if self._open and self._open[-1].sign == "[" else None

    @property
    def _over(self) -> bool:
        top = self._list
        ended = top is not None and self._tries[top.place] > _TRIES
        return self._looping.found or self._spins or ended

    def _feed(self, data: bytes) -> None:
        found = self._looping.feed(data.decode("utf-8", "replace"))
        for byte in data:
            within = self._list is not None
            self._step(byte)
            self._size += 1
            if (found or self._spins) and within and self._list is None:
                self._looping, self._spins = Repetition(), False

    def _step(self, byte: int) -> None:
        top, sign = self._list, chr(byte)
        if self._inside and top is not None and (sign != '"' or self._escaped):
            self._text.append(byte)
            self._begun(top)
        if self._escaped or (sign == "\\" and self._inside):
            self._escaped = not self._escaped
        elif sign == '"':
            if self._inside and top is not None:
                self._ended(top)
            self._inside = not self._inside
            self._text.clear()
        elif self._inside:
            return
        elif sign in "[{":
            self._open.append(_Bracket(sign, self._size))
        elif sign in "]}":
            self._open = self._open[:-1]
        elif sign == "," and top is not None and self._fault is None:
            top.comma = len(self._tokens)

    def _begun(self, top: _Bracket) -> None:
        """Look at the text on its way in a list."""
        if top.first < 0:
            top.first = len(self._tokens)
        if _spins(self._text):
            self._blame(top)
            self._spins = True
        elif _NUMBERED.fullmatch(self._text):
            self._blame(top)

    def _ended(self, top: _Bracket) -> None:
        """Look at a whole text of a list."""
        if top.first < 0:
            top.first = len(self._tokens)
        text = bytes(self._text).strip()
        counted = _DIGITS.sub(b"0", text)
        loops = text in top.seen or (counted.strip(b"0") and top.forms[counted] >= _COUNTED)
        if loops and not self._is_asked_about(text):
            self._blame(top)
        if self._fault is None:
            top.seen.add(text)
            top.forms[counted] += counted != text
            top.first = top.comma = -1

    def _blame(self, top: _Bracket) -> None:
        if self._fault is None and self._free.get(top.place) and self._tries[top.place] <= _TRIES:
            self._fault = top

    def _is_asked_about(self, text: bytes) -> bool:
        """Whether the question has a text as a word or words of their own."""
        said = json.loads(b'"' + text + b'"').lower()
        return bool(said) and re.search(rf"(?<!\w){re.escape(said)}(?!\w)", self._question) is not None

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
