"""The words that set a group of texts apart from the other groups."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

_LETTER = r"[^\W_\u3040-\u30ff\u3400-\u9fff]"
# Latin and other spaced scripts by words; Han and Katakana by runs, since Chinese and Japanese do not put spaces and
# what stands between such runs is mostly grammar
_WORD = re.compile(rf"[\u3400-\u9fff々]{{2,}}|[ァ-ヺー]{{2,}}|(?!\d){_LETTER}(?:{_LETTER}|['’-])*{_LETTER}")


def keywords(groups: Sequence[Sequence[str]], count: int = 5) -> list[list[str]]:
    """For each group the words that are frequent in it and rare elsewhere, the most telling first.

    Class-based TF-IDF (Grootendorst 2022, "BERTopic", section 3.3): share of a word in its group times
    log(1 + words per group / frequency of the word overall). Ties go by the alphabet.

    >>> keywords([["red wine", "white wine"], ["red car", "fast car"]], count=1)
    [['wine'], ['car']]
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

    # scikit-learn's stubs want a name here, its documentation a callable
    counter = CountVectorizer(analyzer=_analyzed(ENGLISH_STOP_WORDS))  # pyright: ignore[reportArgumentType]
    try:
        counter.fit(groups)
    except ValueError:  # no words at all
        return [[] for _ in groups]
    table: Any = counter.transform(groups)
    table = table.toarray().astype(np.float64)  # groups x words
    names = counter.get_feature_names_out()
    sizes = table.sum(axis=1, keepdims=True)
    weights = table / np.maximum(sizes, 1) * np.log1p(sizes.mean() / table.sum(axis=0))
    found = [sorted(np.flatnonzero(row), key=lambda word: (-round(row[word], 12), names[word])) for row in weights]
    return [[str(names[word]) for word in order[:count]] for order in found]


def _analyzed(stop: Collection[str]) -> Callable[[Sequence[str]], list[str]]:
    return lambda group: [word for text in group for word in words(text) if word not in stop]


def words(text: str) -> list[str]:
    """The words of a text that could be keywords, in lower case.

    >>> words("Chef's knives, 5 of them")
    ["chef's", 'knives', 'of', 'them']
    """
    return _WORD.findall(text.lower())
