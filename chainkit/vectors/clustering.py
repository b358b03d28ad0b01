"""Items in groups: the result of `clusters`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from chainkit.vectors.given import Given, unit
from chainkit.vectors.group_tree import GroupTree
from chainkit.vectors.keywords import SEVERAL, keywords
from chainkit.vectors.labels import label as shortened
from chainkit.vectors.labels import width
from chainkit.vectors.number import GroupCount

Array = np.ndarray[Any, Any]

OUTLIER = -1

_ROWS_AT_ONCE = 16_384
_NAME_COLUMNS = 40
_SHOWN = 3  # texts of a group in a notebook


@dataclass(frozen=True, kw_only=True)
class Group:
    """Items that belong together.

    Attributes:
        label: Its number; 0 is the largest group.
        name: Its first three keywords, of eight texts or more up to five within 40 columns; where its texts have none,
            its representative, shortened; where there are no texts, "group" and the number.
        members: Rows of the items, those in the middle of the group first.
        representative: Row of the item nearest to the group's mean.
        keywords: Words that are frequent in the group and rare elsewhere, the most telling first.
    """

    label: int
    name: str
    members: tuple[int, ...]
    representative: int
    keywords: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.members)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clustering:
    """N items in groups.

    Attributes:
        texts: The items; None where only vectors were given.
        labels: The group of each item, N of them; -1 for an outlier.
        groups: The groups, the largest first.
        order: All rows in an order in which each group is one run and neighbours are alike.
        silhouette: How well the groups are separated, -1 to 1; None if there is one group or each item is its own.
            Of more than 2,000 different items it is that of their small groups.
        count: How the number of groups was found; None where it, or a threshold, was given.
        min_size: Items of smaller groups are outliers.
        given: The different items and their vectors.
        tree: The tree that was cut.
    """

    texts: tuple[str, ...] | None
    labels: Array
    groups: tuple[Group, ...]
    order: tuple[int, ...]
    silhouette: float | None
    count: GroupCount | None = None
    min_size: int = 1
    given: Given = field(repr=False)
    tree: GroupTree = field(repr=False)

    def at(self, k: int) -> Clustering:
        """The same items in another number of groups, from the same tree: groups are joined, or parted, whole.

        Raises:
            ValueError: There are fewer different items than groups.
        """
        self.tree.check(k, len(self.labels))
        return grouped(self.texts, self.given, self.tree, self.tree.cut(k), min_size=self.min_size)

    def vectors(self, rows: Sequence[int]) -> Array:
        """The vectors of these rows at unit length, float32, len(rows) x D."""
        return unit(np.asarray(self.given.vectors[self.given.rows[list(rows)]], np.float32))

    @property
    def k(self) -> int:
        """The number of groups, outliers not counted."""
        return len(self.groups)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of items in each group."""
        return tuple(len(group) for group in self.groups)

    @property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """The rows of each group."""
        return tuple(group.members for group in self.groups)

    @property
    def outliers(self) -> tuple[int, ...]:
        """The rows that belong to no group."""
        return tuple(int(row) for row in np.flatnonzero(self.labels == OUTLIER))

    def as_dict(self) -> dict[str, Any]:
        """The result as plain lists and numbers, ready for JSON; vectors are left out."""
        return {
            "k": self.k,
            "silhouette": self.silhouette,
            "labels": self.labels.tolist(),
            "order": list(self.order),
            "outliers": list(self.outliers),
            "groups": [self._group_as_dict(group) for group in self.groups],
        }

    def _repr_html_(self) -> str:
        """The groups as a table, and the scores of the numbers that were weighed, for notebooks."""
        rows = [
            f"<tr><td>{group.label}</td><td><b>{escape(group.name)}</b></td><td>{len(group)}</td>"
            f"<td>{'<br>'.join(escape(shortened(self._item(row), 100)) for row in group.members[:_SHOWN])}</td></tr>"
            for group in self.groups
        ]
        if self.outliers:
            rows.append(f"<tr><td>-1</td><td>outliers</td><td>{len(self.outliers)}</td><td></td></tr>")
        head = "<tr><th>group</th><th>name</th><th>items</th><th>the most typical</th></tr>"
        found = f"{self.k} groups" if self.count is None else str(self.count)
        curve = "" if self.count is None else self.count.as_svg()
        return f"<p>{len(self.labels):,} items in {escape(found)}</p>{curve}<table>{head}{''.join(rows)}</table>"

    def __str__(self) -> str:
        """The groups as text, one item a line."""
        lines: list[str] = []
        for group in self.groups:
            lines.append(f"{group.label}  {group.name} ({len(group)})")
            lines += [f"   {self._item(row)}" for row in group.members]
        if self.outliers:
            lines += [f"outliers ({len(self.outliers)})", *(f"   {self._item(row)}" for row in self.outliers)]
        return "\n".join(lines)

    def _item(self, row: int) -> str:
        return f"item {row}" if self.texts is None else " ".join(self.texts[row].split())

    def _group_as_dict(self, group: Group) -> dict[str, Any]:
        plain: dict[str, Any] = {
            "label": group.label,
            "name": group.name,
            "size": len(group),
            "keywords": list(group.keywords),
            "representative": group.representative,
            "members": list(group.members),
        }
        if self.texts is not None:
            plain["texts"] = [self.texts[row] for row in group.members]
        return plain


def grouped(
    texts: Sequence[str] | None,
    given: Given,
    tree: GroupTree,
    labels: Array,
    *,
    count: GroupCount | None = None,
    min_size: int = 1,
) -> Clustering:
    """The groups of a tree that was cut, described.

    Args:
        texts: All items; None where only vectors were given.
        given: The different items, M of them.
        tree: Their tree.
        labels: The group of each representative vector, from 0.
        count: How their number was found.
        min_size: Items of smaller groups become outliers.
    """
    counts = np.bincount(given.rows, minlength=len(given.vectors))
    places = _groups_of(labels[tree.standing.rows], counts, min_size)
    central = [_by_closeness(given.vectors, place, counts) for place in places]
    telling = _keywords(given, places)
    numbered = np.full(len(given.vectors), OUTLIER)
    for label, place in enumerate(places):
        numbered[place] = label
    rows_of = _rows_of(given.rows, len(given.vectors))
    groups = tuple(
        Group(
            label=label,
            name=_joined(telling[label], len(order)) or _named_after(order[0], label, given.texts),
            members=tuple(row for place in order for row in rows_of[place]),
            representative=rows_of[order[0]][0],
            keywords=tuple(telling[label]),
        )
        for label, order in enumerate(central)
    )
    return Clustering(
        texts=None if texts is None else tuple(texts),
        labels=numbered[given.rows],
        groups=groups,
        order=tuple(row for place in tree.order for row in rows_of[place]),
        silhouette=tree.silhouette(labels),
        count=count,
        min_size=min_size,
        given=given,
        tree=tree,
    )


def _joined(telling: Sequence[str], texts: int) -> str:
    """Three keywords as a name; of several texts more where there is room: the fourth is often the word people use."""
    shown = 3
    while texts >= SEVERAL and shown < len(telling) and width(", ".join(telling[: shown + 1])) <= _NAME_COLUMNS:
        shown += 1
    return ", ".join(telling[:shown])


def _named_after(representative: int, label: int, texts: Sequence[str] | None) -> str:
    return f"group {label}" if texts is None else shortened(texts[representative], _NAME_COLUMNS)


def _groups_of(labels: Array, counts: Array, min_size: int) -> list[Array]:
    """The places of each group's items, the largest group first; of equal ones, that with the first place."""
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    groups = [group for group in groups if counts[group].sum() >= min_size]
    return sorted(groups, key=lambda group: (-int(counts[group].sum()), int(group[0])))


def _by_closeness(vectors: Array, places: Array, counts: Array) -> list[int]:
    blocks = [places[start : start + _ROWS_AT_ONCE] for start in range(0, len(places), _ROWS_AT_ONCE)]
    mean = sum((counts[block] @ unit(vectors[block]) for block in blocks), np.zeros(vectors.shape[1]))
    mean = (mean / (np.linalg.norm(mean) or 1)).astype(np.float32)
    closeness = np.round(
        np.concatenate([unit(vectors[block]) @ mean for block in blocks]), 5
    )  # ties within rounding are broken by content
    return [int(places[i]) for i in np.lexsort((places, -closeness))]


def _keywords(given: Given, groups: Sequence[Array]) -> list[list[str]]:
    if given.texts is None or not groups:
        return [[] for _ in groups]
    counts = np.bincount(given.rows)
    texts = given.texts
    return keywords([[texts[place] for place in group for _ in range(counts[place])] for group in groups])


def _rows_of(rows: Array, count: int) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in range(count)]
    for row, place in enumerate(rows.tolist()):
        found[place].append(row)
    return found
