"""How close the texts of some passages come to a question, character by character: what forms of a word share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from chainkit.knowledge.readers.plain import words
from chainkit.knowledge.readers.scripts import is_unspaced, normal

LENGTH = 4
K1, B = 1.2, 0.75  # of BM25, as in SQLite
_GAP = re.compile(r"[^\w\u0900-\u0963\u0966-\u0dff]+")
_FACTOR = np.int64(1_000_003)

Scores = NDArray[np.float64]


class Closeness:
    """A question to compare texts with: by four characters in a row inside words, and by words that are neighbours.

    Sequences of characters find "Arbeiter" for "Arbeitern" and "والكتاب" for "كتاب" without knowing the language
    (McNamee and Mayfield, "Character N-Gram Tokenization for European Language Text Retrieval", 2004, take four for
    most languages). Scripts without spaces have pairs of characters as their words, and are left out here.

    Attributes:
        share: How much of the question can be compared so, 0 to 1.
    """

    def __init__(self, question: str) -> None:
        found = words(question)
        spaced = [word for word in found if not is_unspaced(word)]
        self.share = sum(map(len, spaced)) / max(1, sum(map(len, found)))
        self._grams = np.unique(_sequences("".join(f" {word} " for word in dict.fromkeys(spaced))))
        self._pairs = list(dict.fromkeys(f" {one} {other}" for one, other in pairwise(spaced)))

    def to(self, texts: Sequence[str]) -> tuple[Scores, Scores]:
        """By characters and by neighbours, (N,) each.

        The first is BM25 over sequences of characters, as if there were no other texts; the second counts the words of
        the question that stand beside the same word there, in any form.
        """
        flat = [f" {_GAP.sub(' ', normal(text).lower())} " for text in texts]
        neighbours = np.array([float(sum(pair in text for pair in self._pairs)) for text in flat])
        return self._by_characters(flat), neighbours

    def _by_characters(self, flat: Sequence[str]) -> Scores:
        if not len(self._grams) or not flat:
            return np.zeros(len(flat))
        lengths = np.array([len(text) for text in flat])
        sequences = _sequences("".join(flat))
        owner = np.repeat(np.arange(len(flat)), lengths)[: len(sequences)]
        places = np.searchsorted(self._grams, sequences)
        places[places == len(self._grams)] = 0
        held = self._grams[places] == sequences
        size = len(flat), len(self._grams)
        times = np.bincount(owner[held] * size[1] + places[held], minlength=size[0] * size[1]).reshape(size)
        frequency = (times > 0).sum(axis=0)
        weights = np.log(1 + (size[0] - frequency + 0.5) / (frequency + 0.5))
        norms = K1 * (1 - B + B * lengths / lengths.mean())[:, None]
        return (times * (K1 + 1) / (times + norms)) @ weights


def _sequences(text: str) -> NDArray[np.int64]:
    """A number for each `LENGTH` characters in a row; (characters - LENGTH + 1,)."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
    count = max(0, len(codes) - LENGTH + 1)
    numbers = np.zeros(count, np.int64)
    for at in range(LENGTH):
        numbers = numbers * _FACTOR + codes[at : at + count]  # wraps around, as hashes do
    return numbers
