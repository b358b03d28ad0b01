"""The picture of a similarity matrix: texts ordered so that groups form blocks."""

from __future__ import annotations

import base64
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainkit.base.errors import MissingLibrary
from chainkit.base.hiding import hides_given_keys
from chainkit.vectors.clustering import OUTLIER, Clustering
from chainkit.vectors.clusters import clusters
from chainkit.vectors.colours import SIMILARITY, group_colour
from chainkit.vectors.given import Items, Source, counted
from chainkit.vectors.labels import drawable, label, wrapped
from chainkit.vectors.page import page
from chainkit.vectors.picture import Picture
from chainkit.vectors.terminal import Cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]

_TITLE_COLUMNS_PER_INCH = 10  # of 12 points

MOST = 500
"""Items that a heatmap can hold; beyond, no label can be read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Heatmap(Picture):
    """N items against each other, in the order of their groups.

    Attributes:
        clustering: The groups.
        matrix: Cosine of every pair, N x N, rows and columns in the order of `rows`.
        title: Title above the picture.
    """

    clustering: Clustering
    matrix: Array = field(repr=False)
    title: str = ""

    kind = "heatmap"

    @property
    def rows(self) -> tuple[int, ...]:
        """The input row shown in each row of the picture."""
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
        return _draw(self)

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
        """The picture as lines of coloured blocks, or of shades, for a terminal of this width.

        What the terminal's encoding lacks becomes a "?", and shades become signs that every terminal has.

        Raises:
            ValueError: There is no room for a column for each item.
        """
        names = [group.name for group in self.clustering.groups]
        rows = [int(self.clustering.labels[row]) for row in self.rows]
        cells = Cells(self.matrix, self.limits, self.labels, rows, names, self.title, encoding)
        return cells.drawn(columns, colour=colour)


@hides_given_keys
def heatmap(
    items: Items | Clustering,
    embeddings: Source = None,
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
        title: Title above the picture.

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


def _draw(heatmap: Heatmap) -> Figure:
    """The picture as a figure, its labels outside the axes.

    Raises:
        MissingLibrary: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingLibrary("matplotlib", extra="plot") from error
    count = len(heatmap.labels)
    cell = _cell_inches(count)
    figure = Figure(figsize=(count * cell, count * cell))
    axes = figure.add_axes((0, 0, 1, 1))
    low, high = heatmap.limits
    image = axes.imshow(heatmap.matrix, cmap="YlGnBu", vmin=low, vmax=high, interpolation="nearest")
    size = min(10.0, cell * 72 * 0.78)
    names = [group.name for group in heatmap.clustering.groups]
    texts, families = drawable([*heatmap.labels, *names, heatmap.title])
    _label_rows(axes, heatmap, texts[:count], families, size)
    _frame_blocks(axes, heatmap, [label(name, 40) for name in texts[count:-1]], families, size)
    if count <= 12:
        _write_values(axes, heatmap.matrix, (low + high) / 2)
    if heatmap.title:
        title = wrapped(texts[-1], round(_TITLE_COLUMNS_PER_INCH * (count * cell + 3)))  # as wide as matrix and names
        axes.set_title(title, family=families, fontsize=12, loc="left", pad=28, parse_math=False)
    bar = figure.add_axes((0, -0.35 / (count * cell), min(1, 2.5 / (count * cell)), 0.12 / (count * cell)))
    figure.colorbar(image, cax=bar, orientation="horizontal", extend="both")
    bar.tick_params(labelsize=8)
    bar.set_title("cosine similarity", fontsize=8, loc="left", pad=3)
    return figure


def _cell_inches(count: int) -> float:
    """The height of a row: large for few items; for many as small as a label of 5 points allows."""
    return float(np.clip(9 / count, 0.09, 0.55))


def _label_rows(axes: Axes, heatmap: Heatmap, texts: list[str], families: list[str], size: float) -> None:
    places = range(len(texts))
    axes.set_yticks(places)
    axes.set_yticklabels(
        [_numbered(text, place + 1) for place, text in enumerate(texts)],
        family=families,
        fontsize=size,
        parse_math=False,
    )
    axes.set_xticks(places)
    turned = 90 if len(texts) > 25 else 0
    axes.set_xticklabels([str(place + 1) for place in places], fontsize=size, rotation=turned)
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    for place, row in enumerate(heatmap.rows):
        axes.get_yticklabels()[place].set_color(group_colour(int(heatmap.clustering.labels[row])))


def _numbered(text: str, number: int) -> str:
    """A label and its number on the right of it, also where the label is read from right to left."""
    backwards = any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)
    mark = "\u200e" if backwards else ""  # LEFT-TO-RIGHT MARK
    return f"{mark}{text}{mark}  {number}"


def _frame_blocks(axes: Axes, heatmap: Heatmap, names: list[str], families: list[str], size: float) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    count = len(heatmap.labels)
    cell = _cell_inches(count) * 72
    line = float(np.clip(0.12 * cell, 0.8, 2))  # points, thin in small cells
    inset = line / 2 / cell  # so that frames do not cover each other
    for first, end, group in heatmap.blocks:
        for edge in (first - 0.5, end - 0.5):
            axes.axhline(edge, color="white", linewidth=0.8)
            axes.axvline(edge, color="white", linewidth=0.8)
        if group == OUTLIER:
            continue
        length, colour = end - first, group_colour(group)
        axes.add_patch(
            Rectangle(
                *((first - 0.5 + inset, first - 0.5 + inset), length - 2 * inset, length - 2 * inset),
                fill=False,
                edgecolor=colour,
                linewidth=line,
                zorder=3,  # over the white lines
                path_effects=[withStroke(linewidth=line * 2, foreground="white")],
            )
        )
        axes.text(
            *(count - 0.5 + 0.12 / _cell_inches(count), (first + end - 1) / 2, names[group]),
            va="center",
            ha="left",
            color=colour,
            family=families,
            parse_math=False,
            fontsize=min(11.0, size * length),
        )
    axes.spines[:].set_visible(False)


def _write_values(axes: Axes, matrix: Array, middle: float) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        colour = "white" if value > middle else "black"
        shown = f"{round(float(value), 2) + 0.0:.2f}"  # + 0.0: no minus sign before 0.00
        axes.text(column, row, shown, ha="center", va="center", fontsize=8, color=colour)
