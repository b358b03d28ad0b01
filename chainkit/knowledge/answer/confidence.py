"""One number for "the documents hold an answer", from what speaks for the best sentence."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from chainkit.knowledge.readers.plain import STOP_WORDS
from chainkit.knowledge.readers.scripts import normal, tokens

THRESHOLD = 0.55
"""Confidence from which on a question counts as answered."""
NEAREST = 0.1
"""Confidence from which on the nearest passage is shown, though perhaps it is not an answer."""

MOST_LEAD, MOST_MATCH = 0.3, 1.5

FLUENT = 0.85
"""How well the embedding model knows a language whose cosines mean what they mean in its own."""

# Logistic regression on questions of SQuAD 2 and XQuAD with the paragraph that answers there or taken away, in English,
# in German, and in Chinese and Arabic: `python -m benchmarks.answers DATA fit`.
_WITH_MEANING = (-4.83, 3.42, 3.35, 4.59, 0.76, -0.48, -0.94)
_IN_PART = (-4.47, 2.2, 6.63, 2.87, 1.33, -1.02, -1.58)
_WORDS_ALONE = (-3.21, 0.0, 1.3, 9.23, 4.64, -1.21, -0.61)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What speaks for a sentence as the answer to a question.

    Attributes:
        meaning: Its cosine with the question; None where the embedding model does not know the language.
        coverage: How much of the question's words its passage holds with the headings, rare ones counting more, 0 to 1.
        lead: By how much coverage and cosine of its passage together exceed those of the best passages elsewhere; more
            than 0.3 says no more.
        match: BM25 of its passage, as a share of what the question's words would bring if each stood there once.
        names: Share of the question's names and numbers that neither the passage nor its headings hold, 0 to 1.
        kind: 1 where the question asks for a number or a name and the sentence adds none, else 0.
        fluency: How well the embedding model knows the language, 0 to 1; below `FLUENT` its cosines are lower and tell
            less, so that words count for more.
    """

    meaning: float | None
    coverage: float
    lead: float
    match: float
    names: float
    kind: float
    fluency: float = 1.0

    @property
    def features(self) -> tuple[float, ...]:
        """What the weights are multiplied with; the first is 1."""
        lead, match = min(self.lead, MOST_LEAD), min(self.match, MOST_MATCH)
        return 1.0, self.meaning or 0.0, self.coverage, lead, match, self.names, self.kind

    @property
    def confidence(self) -> float:
        """How sure it is that the sentence answers, 0 to 1."""
        known = _WITH_MEANING if self.fluency >= FLUENT else _IN_PART
        weights = _WORDS_ALONE if self.meaning is None else known
        return 1 / (1 + math.exp(-sum(weight * value for weight, value in zip(weights, self.features, strict=True))))


def names_missing(question: str, context: str) -> float:
    """Share of the names and numbers of a question that a text does not hold; the first word is not a name."""
    names = [word for word in _WORD.findall(question)[1:] if word[0].isupper() or word[0].isdecimal()]
    names = [word for word in (name.lower() for name in names) if word not in STOP_WORDS]
    there = set(tokens(context))
    folded = normal(context).lower()
    return sum(name not in there and name not in folded for name in names) / len(names) if names else 0.0


def kind_missing(question: str, sentence: str) -> float:
    """1 where a question asks for a number, a time or a name and the sentence has none that the question has not.

    >>> [kind_missing("How old is Ada?", text) for text in ("Ada is old.", "Ada is 36.", "She has turned fifty.")]
    [1.0, 0.0, 0.0]
    """
    asked = set(tokens(question))
    if _WANTS_TELEPHONE.search(question):
        return float(not _TELEPHONE.search(normal(sentence)))
    if _WANTS_AGE.search(question):
        sentence = _YEAR.sub("", normal(sentence))
    if _WANTS_NUMBER.search(question):
        found = {word for word in tokens(sentence) if any(map(str.isdecimal, word)) or _COUNTED.fullmatch(word)}
        return float(not found - asked and not _HAN_NUMBER.search(sentence))
    if _WANTS_NAME.match(question):
        names = {word.lower() for word in _WORD.findall(sentence) if word[0].isupper()}
        return float(not names - asked - STOP_WORDS)
    return 0.0


_WORD = re.compile(r"[^\W_]+")
_WANTS_NUMBER = re.compile(
    r"\b(?:how (?:many|much|old|long|fast|far|high|tall|big|large|often|deep|wide|heavy)|when|"
    r"what (?:year|date|time|age)|"
    r"(?:which|what) (?:year|century|decade)|phone number|number of|price|cost|salary|percentage|"
    r"wie ?viele?|wie (?:alt|lange|schnell|weit|hoch|gro\u00df|oft)|wann|in welchem jahr|"
    r"combien|quand|cu\u00e1nt[oa]s?|cu\u00e1ndo|quant[oi]|quando)\b|\u0643\u0645|\u0645\u062a\u0649|"
    r"\u591a\u5c11|\u51e0|\u4f55\u65f6|\u54ea\u4e00?\u5e74|\u3044\u304f\u3064|\u3044\u3064|\u4f55\u5e74",
    re.IGNORECASE,
)
_WANTS_TELEPHONE = re.compile(
    r"\b(?:tele)?phone number|\btelefonnummer|\bnuméro de téléphone|电话号码|電話番号", re.IGNORECASE
)
_TELEPHONE = re.compile(r"\d(?:[\s()/.-]{0,3}\d){5}")
_WANTS_AGE = re.compile(r"\bhow old\b|\bwhat age\b|\bwie alt\b|\bquel âge\b", re.IGNORECASE)
_YEAR = re.compile(r"\b(?:1\d|20)\d\d\b")
_WANTS_NAME = re.compile(r"\s*(?:who|whose|whom|to whom|by whom|wer|wem|wen|wessen)\b", re.IGNORECASE)
_COUNTED = re.compile(
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|sixty|seventy|eighty|"
    r"ninety|hundreds?|thousands?|millions?|billions?|dozens?|half|third|quarter|once|twice|century|centuries|decades?|"
    r"january|february|march|april|may|june|july|august|september|october|november|december|"
    r"monday|tuesday|wednesday|thursday|friday|saturday|sunday|(?:mon|tues|wednes|thurs|fri|satur|sun)days|"
    r"ein(?:e[rnms]?)?|zwei|drei|vier|f\u00fcnf|sechs|sieben|acht|neun|zehn|elf|zw\u00f6lf|hundert|tausend|million(?:en)?)"
)
_HAN_NUMBER = re.compile("[\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341\u767e\u5343\u4e07\u4ebf]")
