"""Passages of one document that stand side by side: they speak for each other, and are put together again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from chainkit.knowledge.index.search import Hit
from chainkit.knowledge.readers.split import Passage

MOST_JOINED = 3
BESIDE = 0.2  # what the score of a neighbour counts
EXPECTED = 0.3  # of its own score, for a neighbour that is not among the candidates


def supported(scores: NDArray[np.float64], passages: Sequence[Passage]) -> NDArray[np.float64]:
    """Scores with a share of how much more than expected the passages before and after fit, 0 to 1, (N,).

    An answer stands where its subject is spoken of, so the passages around it fit the question too. Passages without
    neighbours keep their scores, so that short documents lose nothing to long ones.

    >>> bees, wasps = (Passage(path="a", position=at, text=text) for at, text in enumerate(("Bees", "Wasps")))
    >>> supported(np.array([0.6, 0.5, 0.6]), [bees, wasps, Passage(path="b", text="Bees")]).round(2).tolist()
    [0.66, 0.59, 0.6]
    """
    places = {(passage.path, passage.position): at for at, passage in enumerate(passages)}
    raised = scores.copy()
    for at, passage in enumerate(passages):
        for beside in (passage.position - 1, passage.position + 1):
            if (other := places.get((passage.path, beside))) is not None:
                raised[at] += BESIDE * (scores[other] - EXPECTED * scores[at])
    return raised / max(1.0, float(raised.max(initial=0.0)))


def joined(hits: Iterable[Hit], k: int) -> list[Hit]:
    """The first `k` hits, with those that stand side by side in one document as one, in the place of the best of them.

    Only passages below the same headings and on the same page are joined, and at most `MOST_JOINED` of them, so that a
    citation still names one place.

    >>> bees = [Hit(Passage(text=f"Bee {n}.", path="a", position=n, first_line=n, last_line=n)) for n in (4, 9, 5)]
    >>> [(hit.passage.text, hit.passage.last_line) for hit in joined(bees, 2)]
    [('Bee 4.\\nBee 5.', 5), ('Bee 9.', 9)]
    """
    groups: list[list[Hit]] = []
    for hit in hits:
        beside = [group for group in groups if any(_adjoin(hit.passage, one.passage) for one in group)]
        if beside and sum(map(len, beside)) < MOST_JOINED:
            groups[groups.index(beside[0])] = [*(one for group in beside for one in group), hit]
            groups = [group for group in groups if group not in beside[1:]]
        elif len(groups) < k:
            groups.append([hit])
    return [_one(group) for group in groups]


def _adjoin(one: Passage, other: Passage) -> bool:
    return (
        abs(one.position - other.position) == 1
        and one.path == other.path
        and one.headings == other.headings
        and one.page == other.page
    )


def _one(group: Sequence[Hit]) -> Hit:
    if len(group) == 1:
        return group[0]
    passages = sorted((hit.passage for hit in group), key=lambda passage: passage.position)
    text = passages[0].text
    for before, after in pairwise(passages):
        text += _gap(before, after) + after.text
    whole = replace(passages[0], text=text, last_line=passages[-1].last_line)
    best = max(group, key=lambda hit: hit.score)
    return replace(
        best, passage=whole, meaning=max(hit.meaning for hit in group), words=max(hit.words for hit in group)
    )


def _gap(before: Passage, after: Passage) -> str:
    """As many line ends as in the file, so that a place in the text is still one in the file."""
    if before.last_line is None or after.first_line is None:
        return "\n\n"
    return "\n" * (after.first_line - before.last_line) or " "
