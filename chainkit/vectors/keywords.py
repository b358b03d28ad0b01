"""The words and phrases that set a group of texts apart from the other groups."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log

from chainkit.base.stems import stem
from chainkit.vectors.fillers import FILLERS, SAID

# scripts without spaces between words: Han with its repetition mark, Katakana, Thai, Lao, Burmese, Khmer; Hiragana is
# mostly grammar and parts the words of Japanese
_HAN, _KATAKANA, _OTHERS = r"\u3400-\u9fff々", r"ァ-ヺー", r"\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"
_LETTER = rf"[^\W_\u3040-\u30ff\u3400-\u9fff{_OTHERS}]"
# vowel signs and points within words, and what joins letters or keeps them apart; not the full stop of India
_MARKS = r"\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0d7f\u200c\u200d"
_WORD = re.compile(
    rf"[{_HAN}]{{2,}}|[{_KATAKANA}]{{2,}}|[{_OTHERS}]{{2,}}|(?<!\d)(?!\d){_LETTER}(?:[{_MARKS}]|{_LETTER}|['’-](?={_LETTER}))+"
)
_RUN = re.compile(rf"[{_HAN}{_OTHERS}]{{2,}}")
_HAN_RUN = re.compile(rf"[{_HAN}]")
# of Thai, Lao, Burmese and Khmer: vowels written before a letter, signs after it, and the sign that stacks two letters
_BEFORE = r"\u0e40-\u0e44\u0ec0-\u0ec4"
_SIGN = (
    r"\u0e30-\u0e3a\u0e45-\u0e4e\u0eb0-\u0ebc\u0ec6-\u0ecd\u102b-\u1038\u103a-\u103e\u1056-\u1059\u17b4-\u17d1\u17d3"
)
_SYLLABLE = re.compile(rf"[{_BEFORE}]*[^{_BEFORE}{_SIGN}][{_SIGN}]*(?:[\u1039\u17d2].[{_SIGN}]*)*|.")
# Chinese stop words: particles, pronouns and question words
_CHINESE_FILLERS = re.compile(
    "为什么|什么时候|怎么样|怎么办|怎么|什么|如何|请问|哪里|这个|那个|没有|可以|需要|多久|时候|一个|[的了吗呢吧呀啊是我你您他她它们]"
)
_HYPHEN = re.compile(r"(?<=\w\w)-(?=\w\w)")  # "top-up" is "top up", and "t-shirt" is itself

SEVERAL = 8
"""Of a group of so many texts, a keyword stands in two at least; of smaller ones, one is enough."""

_MOST_TEXTS = 2000  # of each group: more hardly change a share
_LONGEST_HAN, _LONGEST_OTHER = 6, 10  # characters of a Chinese word, syllables of one of Thai and the like
_PHRASE_SHARE = 0.5  # a phrase replaces its words if it is in this share of the texts with the rarer of them
_RUN_SHARE = 0.8  # likewise a longer run of characters for a shorter one
_SMOOTHING = 0.5  # texts outside that are taken to hold any word
_RARER = 1.5  # times as frequent in the group as elsewhere is a keyword at least
_EVERYWHERE = 1.1  # a word less than this many times as frequent is common to all groups, and adds nothing to a phrase
_SAID = frozenset(map(stem, SAID))
_SAID_SHARE, _SAID_RARER = 0.4, 8.0  # from here on a filler word counts as a keyword
_AFTER = frozenset({"up", "out", "off", "down", "over", "back"})  # "top up" is a phrase
# so is "log in"
_IN_ON = frozenset({"add", "carry", "cash", "check", "fill", "hand", "hold", "log", "plug", "sign", "turn"})


@dataclass(eq=False)
class _Terms:
    """Document frequency of each term in a group, and its spelling there."""

    texts: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    forms: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, text: str) -> None:
        self.texts += 1
        for term, form in dict(_terms(text)).items():
            self.counts[term] += 1
            self.forms[term][form] += 1

    def written(self, term: str) -> str:
        """The most frequent form, the first by the alphabet of equal ones."""
        return min(self.forms[term].items(), key=lambda item: (-item[1], item[0]))[0]


def keywords(groups: Sequence[Sequence[str]], count: int = 5) -> list[list[str]]:
    """For each group the words and phrases of two that are frequent in it and rare elsewhere, the most telling first.

    The weight of a term is its share p of the group's texts times log(p / its share q of the other texts): its part of
    the Kullback-Leibler divergence between the two. Forms of an English word count together and are written as they
    mostly are; a phrase replaces its words where it is most of them. In scripts without spaces, runs of characters that
    texts have in common stand for words: in Thai and the like whole syllables, with different ones on both sides, which
    a part of a word does not have. Ties go by the alphabet.

    >>> keywords([["red wine", "white wines", "a wine"], ["red car", "fast car"]], count=1)
    [['wine'], ['car']]
    """
    found = [_Terms() for _ in groups]
    for terms, group in zip(found, groups, strict=True):
        for text in _some(group):
            terms.add(text)
    total: Counter[str] = Counter()
    for terms in found:
        total.update(terms.counts)
    texts = sum(terms.texts for terms in found)
    parts = _parts_of_words(text for group in groups for text in _some(group))
    for part in parts:
        del total[part]
    return [_telling(terms, total, texts, count) for terms in found]


def _some(group: Sequence[str]) -> Sequence[str]:
    return group[:: -(-len(group) // _MOST_TEXTS) or 1]


def _telling(terms: _Terms, total: Counter[str], texts: int, count: int) -> list[str]:
    least = 2 if terms.texts >= SEVERAL else 1
    lifts = {term: _lift(here, total[term], terms.texts, texts) for term, here in terms.counts.items() if term in total}
    weights: dict[str, float] = {}
    for term, lift in lifts.items():
        here = terms.counts[term]
        piece = _RUN.fullmatch(term) is not None and terms.texts > 1
        if here < (2 if piece or " " in term else least):
            continue
        share, parts = here / terms.texts, term.split(" ")
        said = not _SAID.isdisjoint(parts)
        everywhere = len(parts) > 1 and any(lifts.get(part, _RARER) < _EVERYWHERE for part in parts)
        if not everywhere and lift >= (_SAID_RARER if said else _RARER) and (share >= _SAID_SHARE or not said):
            weights[term] = share * log(lift)
    order = sorted(weights, key=lambda term: (-round(weights[term], 9), terms.written(term)))
    chosen: list[str] = []
    for term in order:
        if len(chosen) == count:
            break
        if not _said(term, chosen):
            longer = _extended(term, order, terms.counts)
            chosen.append(term if _said(longer, chosen) else longer)
    return [terms.written(term) for term in chosen]


def _lift(here: int, everywhere: int, size: int, texts: int) -> float:
    """How many times as frequent a term is in a group of `size` texts as in the others."""
    return here / size / ((everywhere - here + _SMOOTHING) / (texts - size + 2 * _SMOOTHING))


def _said(term: str, chosen: Iterable[str]) -> bool:
    """Whether a chosen term covers this one: a word of a phrase, a phrase of a word, an overlapping run."""
    parts, piece = _overlaps(term), _RUN.fullmatch(term) is not None
    return any(not parts.isdisjoint(_overlaps(other)) or (piece and term in other) for other in chosen)


def _overlaps(term: str) -> set[str]:
    """The words of a term; of a run of characters, its pieces of three."""
    if not _RUN.fullmatch(term) or len(term) < 3:
        return {*term.split(" "), term}
    return {term[start : start + 3] for start in range(len(term) - 2)} | {term[:2], term[-2:]}


def _extended(term: str, order: Sequence[str], counts: Counter[str]) -> str:
    """The phrase, or the longer run of characters, that a word is mostly part of, or the word."""
    if " " in term:
        return term
    if _RUN.fullmatch(term):
        around = [other for other in order if term in other and counts[other] >= _RUN_SHARE * counts[term]]
        return max(around, key=len, default=term)
    phrases = [other for other in order if term in other.split(" ") and " " in other]
    best = max(phrases, key=lambda phrase: counts[phrase], default=None)
    return best if best is not None and counts[best] >= _PHRASE_SHARE * counts[term] else term


def _terms(text: str) -> Iterable[tuple[str, str]]:
    """The words of a text and its phrases of two, each as stems and as written."""
    found = _WORD.findall(_plain(text))
    for word in found:
        if _RUN.fullmatch(word):
            yield from ((part, part) for part in _parts(word))
        elif _names(word):
            yield stem(word), word
    for first, second in pairwise(found):
        particle = second in _AFTER or (second in ("in", "on") and stem(first) in _IN_ON)
        phrase = _names(first) and (_names(second) or particle)
        if phrase and not _RUN.search(first + second) and stem(first) != stem(second):
            yield f"{stem(first)} {stem(second)}", f"{first} {second}"


def _names(word: str) -> bool:
    return word not in FILLERS and len(word) > 1


def _parts(run: str) -> set[str]:
    """All pieces of two to six characters, or ten syllables, of a run of a script without spaces."""
    return {piece for piece, _, _ in _pieces(run)} - FILLERS


def _pieces(run: str) -> Iterator[tuple[str, str, str]]:
    """Each piece of a run with the text before and after it."""
    han = _HAN_RUN.match(run) is not None
    signs = list(run) if han else _SYLLABLE.findall(run)
    around = ["", *signs, ""]
    for size in range(2, min(_LONGEST_HAN if han else _LONGEST_OTHER, len(signs)) + 1):
        for start in range(len(signs) - size + 1):
            yield "".join(signs[start : start + size]), around[start], around[start + size + 1]


def _parts_of_words(texts: Iterable[str]) -> set[str]:
    """Pieces of runs that are parts of words: where a word ends, what follows varies.

    Harris 1955, "From Phoneme to Morpheme". In Thai and the like those are pieces always seen beside the same syllable,
    on one side or the other; in Chinese and Japanese, whose words are short and make longer ones, on both.
    """
    before: defaultdict[str, set[str]] = defaultdict(set)
    after: defaultdict[str, set[str]] = defaultdict(set)
    for text in texts:
        for run in _RUN.findall(_plain(text)):
            for piece, left, right in _pieces(run):
                before[piece].add(left)
                after[piece].add(right)
    found: set[str] = set()
    for piece in before:
        alike = [len(one) == 1 and "" not in one for one in (before[piece], after[piece])]
        if all(alike) if _HAN_RUN.match(piece) else any(alike):
            found.add(piece)
    return found


def _plain(text: str) -> str:
    """A text in lower case, without hyphens within words and Chinese stop words."""
    return _CHINESE_FILLERS.sub(" ", _HYPHEN.sub(" ", text.lower().replace("’", "'")))


def words(text: str) -> list[str]:
    """The words of a text that could be keywords, in lower case.

    >>> words("Chef's knives, 5 of them")
    ["chef's", 'knives', 'of', 'them']
    """
    return _WORD.findall(text.lower())
