"""Looking up: the passages nearest to a question by meaning and words, and by vector."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from chainkit.knowledge.index.codes import NOTHING, Matrix, View, Whole, best
from chainkit.knowledge.index.encoder import Encoder, one_of
from chainkit.knowledge.index.filters import Filter, Selection, selections
from chainkit.knowledge.index.search import (
    CANDIDATES,
    RANKED,
    Hit,
    fuse,
    share_of_meaning,
    split_rare,
    standing_out,
    telling,
    terms,
)
from chainkit.knowledge.index.store import Row, Store

_FILTERS = 32  # kept with the rows that each lets through, until the index changes


class Lookup:
    """What an index has loaded to be searched: codes of all vectors, and what was found out about words and filters."""

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
        by_words, share = self._by_words(question, view, allowed, about if dense_weight != 0 else None)
        cosines = self._exact(vector, [*near.tolist(), *by_words])
        ids = sorted(cosines)
        meaning = np.array([cosines[number] for number in ids])
        bm25 = np.array([by_words.get(number, 0.0) for number in ids])
        if dense_weight is None:
            dense_weight = share * standing_out(about) if by_words else 1.0
        scores = fuse(meaning, bm25, dense_weight)
        order = np.argsort(-scores, kind="stable")[:count]
        rows = self._store.passages([ids[at] for at in order])
        for at in order:
            if row := rows.get(ids[at]):
                yield _hit(row, float(scores[at]), float(meaning[at]), float(bm25[at]))

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

    def _exact(self, vector: Matrix, ids: Iterable[int]) -> dict[int, float]:
        """Passage -> cosine, as far as the passages still exist."""
        stored = self._store.vectors([*dict.fromkeys(ids)])
        exact = np.array(list(stored.values())) @ vector if stored else ()
        return dict(zip(stored, map(float, exact), strict=True))

    def _by_words(
        self, question: str, view: View, allowed: NDArray[np.intp] | None, about: Matrix | None
    ) -> tuple[dict[int, float], float]:
        """Passage -> BM25 for those that match best, and the share that meaning should have.

        Passages that hold none of the rarer words are not ranked where there are too many of them. Where all words are
        frequent, those that `about` holds the largest cosines for are; without it all are, which takes longer.
        """
        passages = len(view.ids)
        frequencies = self._counted(terms(question))
        chosen = telling(frequencies, passages)
        if not chosen:
            return {}, 1.0
        if allowed is not None and len(allowed) <= RANKED:
            found = self._match(chosen, among=view.ids[allowed])
        else:
            rare, frequent = split_rare(chosen, frequencies)
            found: dict[int, float] = {}
            if about is None or frequencies[rare[0]] <= 5 * RANKED:
                found = self._match(rare, frequent, inside=None if allowed is None else view.ids[allowed])
            if not found and about is not None:
                found = self._match(chosen, among=_near(view, about, allowed, RANKED))
        if not found:
            return {}, 1.0
        found = dict(sorted(found.items(), key=lambda one: -one[1])[:CANDIDATES])
        return found, share_of_meaning(frequencies, self._store.words.held(frequencies, next(iter(found))), passages)

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


def _near(view: View, about: Matrix, allowed: NDArray[np.intp] | None, count: int) -> Whole:
    """The ids of those that seem nearest, some more than `count`, since `about` is rounded."""
    places = best(about if allowed is None else about[allowed], count + count // 4)
    return view.ids[places if allowed is None else allowed[places]]


def _hit(row: Row, score: float, meaning: float, words: float) -> Hit:
    return Hit(row.passage, row.id, score, meaning, words, row.metadata, row.is_file)
