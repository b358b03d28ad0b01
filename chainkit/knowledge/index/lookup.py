"""Looking up: the passages nearest to a question by meaning and words, and by vector."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chainkit.knowledge.index.codes import NOTHING, Matrix, View, Whole, best
from chainkit.knowledge.index.encoder import Encoder, one_of
from chainkit.knowledge.index.filters import Filter, Selection, selections
from chainkit.knowledge.index.neighbours import supported
from chainkit.knowledge.index.search import (
    CANDIDATES,
    DENSE_WEIGHT,
    RANKED,
    REPEATS,
    Hit,
    fuse,
    split_rare,
    stretched,
    telling,
    terms,
)
from chainkit.knowledge.index.store import Row, Store

COMPARED = 100  # passages whose text is compared with the question
FLUENCY_PASSAGES = 3
FEEDBACK_PASSAGES, FEEDBACK_WEIGHT = 3, 0.3
_FILTERS = 32  # kept with the rows that each lets through, until the index changes


class Lookup:
    """Search data of an index in memory: quantized codes of all vectors, and cached results on words and filters."""

    def __init__(self, store: Store, encoder: Encoder) -> None:
        self._store = store
        self._encoder = encoder
        self._view = NOTHING
        self._frequencies: dict[str, int] = {}  # of the words asked for since the view was loaded
        self._allowed: dict[tuple[tuple[int, int], tuple[tuple[Selection, ...], ...]], NDArray[np.intp]] = {}

    def ranked(self, question: str, count: int, wanted: Filter | None, dense_weight: float | None) -> Iterator[Hit]:
        """The `count` best passages by meaning and words, the best first."""
        view = self._fresh()
        allowed = self._places(view, wanted)
        if not len(view.ids) or not question.strip():
            return
        vector = self._encoder.question(question, view.codes.shape[1])
        about = view.cosines(vector)
        near = _near(view, about, allowed, max(CANDIDATES, count))
        by_words = self._by_words(question, view, allowed, about if dense_weight != 0 else None)
        found = _Candidates.of(self._store.vectors([*dict.fromkeys([*near.tolist(), *by_words])]), vector, by_words)
        if dense_weight is None:
            dense_weight = self._dense_weight(question, by_words)
        found = found.only(found.first(dense_weight)[: max(COMPARED, count)])
        rows = self._store.passages(found.ids)
        found = found.only([at for at, number in enumerate(found.ids) if number in rows])
        meaning = found.meaning if dense_weight == 1 else found.refined(vector, dense_weight)
        texts = [rows[number].passage.context for number in found.ids]
        scores = fuse(question, texts, meaning, found.words, dense_weight)
        if dense_weight < 1:
            scores = supported(scores, [rows[number].passage for number in found.ids])
        for at in np.argsort(-scores, kind="stable")[:count]:
            yield _hit(rows[found.ids[at]], float(scores[at]), float(found.meaning[at]), float(found.words[at]))

    def _dense_weight(self, question: str, by_words: Mapping[int, float]) -> float:
        """How much meaning should count: nothing for languages that the embedding model does not know."""
        if not by_words:
            return 1.0
        best = self._store.passages([*by_words][:FLUENCY_PASSAGES])
        return DENSE_WEIGHT * self._encoder.fluency([question, *(row.passage.text for row in best.values())])

    def nearest(self, vector: Sequence[float], k: int, wanted: Filter | None) -> list[Hit]:
        """The `k` passages whose vectors are nearest to this one, by cosine."""
        view = self._fresh()
        allowed = self._places(view, wanted)
        if not len(view.ids):
            return []
        one = one_of(vector, view.codes.shape[1])
        near = _near(view, view.cosines(one), allowed, max(CANDIDATES, k))
        cosines = self._exact(one, near.tolist())
        ids = sorted(cosines, key=lambda number: (-cosines[number], number))[:k]
        rows = self._store.passages(ids)
        return [_hit(row, cosines[number], cosines[number], 0.0) for number in ids if (row := rows.get(number))]

    def rarity(self, words: Sequence[str]) -> dict[str, float]:
        """The inverse document frequency of each word, as BM25 has it; the largest for words that stand nowhere."""
        count = len(self._fresh().ids)
        asked = {word: " ".join(terms(word)) for word in words}
        known = self._counted([*asked.values()])
        return {word: math.log((count + 1) / (min(count, known[term]) + 0.5)) for word, term in asked.items()}

    def _exact(self, vector: Matrix, ids: Iterable[int]) -> dict[int, float]:
        """Passage -> cosine, as far as the passages still exist."""
        stored = self._store.vectors([*dict.fromkeys(ids)])
        exact = np.array(list(stored.values())) @ vector if stored else ()
        return dict(zip(stored, map(float, exact), strict=True))

    def _by_words(
        self, question: str, view: View, allowed: NDArray[np.intp] | None, about: Matrix | None
    ) -> dict[int, float]:
        """Passage -> BM25 for those that match best, the best first.

        Passages that hold none of the rarer words are not ranked where there are too many of them. Where all words are
        frequent, those that `about` holds the largest cosines for are; without it all are, which takes longer.
        """
        passages = len(view.ids)
        asked = Counter(terms(question))
        frequencies = self._counted([*asked])
        chosen = [term for term in telling(frequencies, passages) for _ in range(min(asked[term], REPEATS))]
        if not chosen:
            return {}
        if allowed is not None and len(allowed) <= RANKED:
            found = self._match(chosen, among=view.ids[allowed])
        else:
            rare, frequent = split_rare(chosen, frequencies)
            found: dict[int, float] = {}
            if about is None or frequencies[rare[0]] <= 5 * RANKED:
                found = self._match(rare, frequent, inside=None if allowed is None else view.ids[allowed])
            if not found and about is not None:
                found = self._match(chosen, among=_near(view, about, allowed, RANKED))
        return dict(sorted(found.items(), key=lambda one: -one[1])[:CANDIDATES])

    def _match(
        self,
        either: Sequence[str],
        also: Sequence[str] = (),
        *,
        inside: Whole | None = None,
        among: Whole | None = None,
    ) -> dict[int, float]:
        """Passage -> BM25 of those that hold one of the words, by these and by others that they may hold.

        Args:
            inside: Only these are kept, of all that are ranked.
            among: Only these are ranked: for few of them.
        """
        limit = -1 if inside is not None else CANDIDATES
        numbers = None if among is None else among.tolist()
        words = " OR ".join(either)
        found = dict(self._store.words.match(words, limit, numbers))
        if also:  # those that hold one of these too, with their whole score
            found |= dict(self._store.words.match(f"({words}) AND ({' OR '.join(also)})", limit, numbers))
        if inside is None:
            return found
        ids = np.fromiter(found, np.int64, len(found))
        return {int(number): found[int(number)] for number in ids[np.isin(ids, inside)]}

    def _counted(self, wanted: Sequence[str]) -> dict[str, int]:
        """How many passages hold each term."""
        known = self._frequencies
        known |= self._store.words.frequencies(set(wanted) - known.keys())
        return {term: known[term] for term in wanted}

    def _places(self, view: View, wanted: Filter | None) -> NDArray[np.intp] | None:
        """Which rows of the view a filter lets through; None for all."""
        if not wanted:
            return None
        asked = selections(wanted)
        key = view.version, asked  # another thread may have loaded a newer view meanwhile
        places = self._allowed.get(key)
        if places is None:
            places = view.places(self._store.matching(asked))
            self._allowed = {**(self._allowed if len(self._allowed) < _FILTERS else {}), key: places}
        return places

    def _fresh(self) -> View:
        """The vectors as the file has them now; only those that are new are loaded."""
        view, version = self._view, self._store.version()
        if version != view.version:
            self._encoder.recognise(self._store)
            view = self._view = view.refreshed(self._store, version, int(self._store.meta("width")))
            self._frequencies = {}
            self._allowed = {}
        return view


@dataclass(frozen=True)
class _Candidates:
    """Passages that may be shown, M of them.

    Attributes:
        ids: M numbers.
        vectors: float32 (M, D).
        meaning: Cosine of each with the question, (M,).
        words: BM25 of each, (M,).
    """

    ids: list[int]
    vectors: Matrix
    meaning: NDArray[np.float64]
    words: NDArray[np.float64]

    @classmethod
    def of(cls, stored: Mapping[int, Matrix], vector: Matrix, by_words: Mapping[int, float]) -> _Candidates:
        """Those that are still stored, by their numbers."""
        ids = sorted(stored)
        vectors = np.array([stored[number] for number in ids], np.float32).reshape(len(ids), len(vector))
        bm25 = np.array([by_words.get(number, 0.0) for number in ids])
        return cls(ids, vectors, (vectors @ vector).astype(np.float64), bm25)

    def only(self, places: Sequence[int]) -> _Candidates:
        """Those at these places, in the order of the places."""
        at = np.array(places, np.intp)
        return _Candidates([self.ids[one] for one in places], self.vectors[at], self.meaning[at], self.words[at])

    def first(self, dense_weight: float) -> list[int]:
        """Their places by meaning and words alone, the best first."""
        scores = dense_weight * stretched(self.meaning) + (1 - dense_weight) * stretched(self.words)
        return np.argsort(-scores, kind="stable").tolist()

    def refined(self, vector: Matrix, dense_weight: float) -> NDArray[np.float64]:
        """Cosines with the question moved towards the best few (pseudo-relevance feedback after Rocchio), (M,)."""
        best = self.vectors[self.first(dense_weight)[:FEEDBACK_PASSAGES]]
        moved = vector + FEEDBACK_WEIGHT * best.mean(axis=0) if len(best) else vector
        return (self.vectors @ (moved / max(float(np.linalg.norm(moved)), 1e-9))).astype(np.float64)


def _near(view: View, about: Matrix, allowed: NDArray[np.intp] | None, count: int) -> Whole:
    """The ids of those that seem nearest, some more than `count`, since `about` is rounded."""
    places = best(about if allowed is None else about[allowed], count + count // 4)
    return view.ids[places if allowed is None else allowed[places]]


def _hit(row: Row, score: float, meaning: float, words: float) -> Hit:
    return Hit(row.passage, row.id, score, meaning, words, row.metadata, row.is_file)
