"""Items in groups: the result of `clusters`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainkit.vectors.given import Given, unit

Array = np.ndarray[Any, Any]

OUTLIER = -1


@dataclass(frozen=True, kw_only=True)
class Group:
    """Items that belong together.

    Attributes:
        label: Its number; 0 is the largest group.
        name: Its first keywords; where its texts have none, its representative, shortened; where there are no texts,
            "group" and the number.
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
            Of more than 3,000 different items it is that of their small groups.
        given: The different items and their vectors.
    """

    texts: tuple[str, ...] | None
    labels: Array
    groups: tuple[Group, ...]
    order: tuple[int, ...]
    silhouette: float | None
    given: Given = field(repr=False)

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
