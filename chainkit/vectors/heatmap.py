"""The picture of a similarity matrix: texts ordered so that groups form blocks."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.embeddings import Embeddings

from chainkit.vectors.clusters import OUTLIER, Clustering, clusters
from chainkit.vectors.colours import SIMILARITY, group_colour
from chainkit.vectors.given import Items, Vectors, counted
from chainkit.vectors.labels import label
from chainkit.vectors.page import page
from chainkit.vectors.picture import Picture
from chainkit.vectors.terminal import Cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]

MOST = 500
"""Items that a heatmap can hold; beyond, no label can be read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Heatmap(Picture):
    """N items against each other, in the order of their groups.

    Attributes:
        clustering: The groups.
        matrix: Cosine of every pair, N x N, rows and columns in the order of `rows`.
        title: What stands above the picture.
    """

    clustering: Clustering
    matrix: Array = field(repr=False)
    title: str = ""

    kind = "heatmap"

    @property
    def rows(self) -> tuple[int, ...]:
        """The row of the input behind each row of the picture."""
        return self.clustering.order

    @property
    def labels(self) -> list[str]:
        """One label for each row of the picture."""
        texts = self.clustering.texts
        return [f"item {row}" if texts is None else label(texts[row]) for row in self.rows]

    @property
    def blocks(self) -> list[tuple[int, int, int]]:
        """First row, end row and group of each run of rows of one group; -1 for outliers."""
        found: list[tuple[int, int, int]] = []
        for place, row in enumerate(self.rows):
            group = int(self.clustering.labels[row])
            if found and found[-1][2] == group and group != OUTLIER:
                found[-1] = (found[-1][0], place + 1, group)
            else:
                found.append((place, place + 1, group))
        return found

    @property
    def limits(self) -> tuple[float, float]:
        """The range of colours, so that a few outstanding pairs do not take all of it; the diagonal does not count."""
        others = self.matrix[~np.eye(len(self.matrix), dtype=bool)]
        if others.size == 0:
            return 0.0, 1.0
        low, high = (float(value) for value in np.percentile(others, (2, 98)))
        return (low, high) if high - low > 0.05 else (min(low, high - 0.5), max(high, low + 0.05))

    def figure(self) -> Figure:
        """The picture as a matplotlib figure; save it with `bbox_inches="tight"`, its labels stand outside the axes.

        Raises:
            MissingLibrary: matplotlib is not installed.
        """
        from chainkit.vectors.heatmap_figure import draw

        return draw(self)

    def html(self) -> str:
        """The picture as one page that needs no network: pointing at a cell shows its two texts and their cosine."""
        colours = [group_colour(int(self.clustering.labels[row])) for row in self.rows]
        names = {group.label: group.name for group in self.clustering.groups}
        low, high = self.limits
        data = {
            "title": self.title,
            "labels": self.labels,
            "label_colours": colours,
            "texts": [f"item {row}" if (texts := self.clustering.texts) is None else texts[row] for row in self.rows],
            "blocks": [
                {"first": first, "end": end, "name": names.get(group), "colour": group_colour(group)}
                for first, end, group in self.blocks
            ],
            # a byte for each cosine: 0 is -1, 255 is 1
            "matrix": base64.b64encode(np.round((self.matrix + 1) * 127.5).astype(np.uint8).tobytes()).decode(),
            "low": low,
            "high": high,
            "colours": SIMILARITY,
        }
        return page("heatmap", self.title, data)

    def terminal(self, columns: int = 80, *, colour: bool = True, encoding: str = "utf-8") -> str:
        """The picture as lines of coloured blocks, or of shades, for a terminal of so many columns.

        What the terminal's encoding lacks becomes a "?", and shades become signs that every terminal has.

        Raises:
            ValueError: There is no room for a column for each item.
        """
        names = [group.name for group in self.clustering.groups]
        rows = [int(self.clustering.labels[row]) for row in self.rows]
        cells = Cells(self.matrix, self.limits, self.labels, rows, names, self.title, encoding)
        return cells.drawn(columns, colour=colour)


def heatmap(
    items: Items | Clustering,
    embeddings: Embeddings | Vectors | str | None = None,
    path: str | Path | None = None,
    *,
    k: int | None = None,
    threshold: float | None = None,
    title: str = "",
) -> Heatmap:
    """Draw how alike texts are, groups as blocks.

    Args:
        items: Up to `MOST` texts or vectors, or groups that `clusters` found.
        embeddings: As for `clusters`.
        path: Where to write the picture (.png, .svg, .pdf, .html); None writes nothing.
        k: As for `clusters`.
        threshold: As for `clusters`.
        title: What stands above the picture.

    Raises:
        BadTexts: As for `clusters`.
        BadVectors: As for `clusters`.
        ValueError: More than `MOST` items.
        MissingLibrary: matplotlib is not installed; .html does without.
    """
    count = len(items.labels) if isinstance(items, Clustering) else counted(items)
    if count > MOST:
        raise ValueError(f"a heatmap holds at most {MOST} items, got {count}; draw a part of them, or their groups")
    found = items if isinstance(items, Clustering) else clusters(items, embeddings, k=k, threshold=threshold)
    ordered = found.vectors(found.order)
    drawn = Heatmap(clustering=found, matrix=np.clip(ordered @ ordered.T, -1, 1), title=title)
    if path is not None:
        drawn.save(path)
    return drawn
