"""The picture of a similarity matrix: texts ordered so that groups form blocks."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.embeddings import Embeddings

from chainkit.base.errors import MissingLibrary, Unsupported
from chainkit.vectors.clusters import OUTLIER, Clustering, clusters
from chainkit.vectors.given import Items, Vectors
from chainkit.vectors.labels import drawable, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]

MOST = 500
"""Items that a heatmap can hold; beyond, no label can be read."""

_FORMATS = (".png", ".svg", ".pdf")
_COLOURS = "tab10"
_GREY = "#777777"


@dataclass(frozen=True, kw_only=True, eq=False)
class Heatmap:
    """N items against each other, in the order of their groups.

    Attributes:
        clustering: The groups.
        matrix: Cosine of every pair, N x N, rows and columns in the order of `rows`.
        title: What stands above the picture.
    """

    clustering: Clustering
    matrix: Array = field(repr=False)
    title: str = ""

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

    def figure(self) -> Figure:
        """The picture as a matplotlib figure; save it with `bbox_inches="tight"`, its labels stand outside the axes.

        Raises:
            MissingLibrary: matplotlib is not installed.
        """
        return _draw(self)

    def save(self, path: str | Path) -> Path:
        """Write the picture; the ending of the name says what to: .png, .svg or .pdf.

        Raises:
            Unsupported: Another ending.
            MissingLibrary: matplotlib is not installed.
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind not in _FORMATS:
            raise Unsupported(f"{path}: a heatmap can be written as {', '.join(_FORMATS)}, not as '{kind}'")
        path.write_bytes(self._image(kind[1:]))
        return path

    def _image(self, kind: str) -> bytes:
        buffer = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {"CreationDate": None} if kind == "pdf" else None
        self.figure().savefig(buffer, format=kind, dpi=150, bbox_inches="tight", pad_inches=0.15, metadata=metadata)
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self._image("png")


def heatmap(
    items: Items | Clustering,
    embeddings: Embeddings | Vectors | None = None,
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
        path: Where to write the picture (.png, .svg, .pdf); None writes nothing.
        k: As for `clusters`.
        threshold: As for `clusters`.
        title: What stands above the picture.

    Raises:
        BadTexts: As for `clusters`.
        BadVectors: As for `clusters`.
        ValueError: More than `MOST` items.
        MissingLibrary: matplotlib is not installed.
    """
    count = len(items.labels) if isinstance(items, Clustering) else len(items)
    if count > MOST:
        raise ValueError(f"a heatmap holds at most {MOST} items, got {count}; draw a part of them, or their groups")
    found = items if isinstance(items, Clustering) else clusters(items, embeddings, k=k, threshold=threshold)
    ordered = found.vectors(found.order)
    drawn = Heatmap(clustering=found, matrix=np.clip(ordered @ ordered.T, -1, 1), title=title)
    if path is not None:
        drawn.save(path)
    return drawn


def _draw(heatmap: Heatmap) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingLibrary("matplotlib", extra="plot") from error
    count = len(heatmap.labels)
    cell = _cell_inches(count)
    figure = Figure(figsize=(count * cell, count * cell))
    axes = figure.add_axes((0, 0, 1, 1))
    low, high = _limits(heatmap.matrix)
    image = axes.imshow(heatmap.matrix, cmap="YlGnBu", vmin=low, vmax=high, interpolation="nearest")
    size = min(10.0, cell * 72 * 0.78)
    names = [group.name for group in heatmap.clustering.groups]
    texts, families = drawable([*heatmap.labels, *names, heatmap.title])
    _label_rows(axes, heatmap, texts[:count], families, size)
    _frame_blocks(axes, heatmap, [label(name, 40) for name in texts[count:-1]], families, size)
    if count <= 12:
        _write_values(axes, heatmap.matrix, (low + high) / 2)
    if heatmap.title:
        axes.set_title(texts[-1], family=families, fontsize=12, loc="left", pad=28, parse_math=False)
    bar = figure.add_axes((0, -0.35 / (count * cell), min(1, 2.5 / (count * cell)), 0.12 / (count * cell)))
    figure.colorbar(image, cax=bar, orientation="horizontal", extend="both")
    bar.tick_params(labelsize=8)
    bar.set_title("cosine similarity", fontsize=8, loc="left", pad=3)
    return figure


def _cell_inches(count: int) -> float:
    """The height of a row: large for few items; for many as small as a label of 5 points allows."""
    return float(np.clip(9 / count, 0.09, 0.55))


def _limits(matrix: Array) -> tuple[float, float]:
    """The range of colours, so that a few outstanding pairs do not take all of it; the diagonal does not count."""
    others = matrix[~np.eye(len(matrix), dtype=bool)]
    if others.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(others, (2, 98)))
    return (low, high) if high - low > 0.05 else (min(low, high - 0.5), max(high, low + 0.05))


def _label_rows(axes: Axes, heatmap: Heatmap, texts: list[str], families: list[str], size: float) -> None:
    places = range(len(texts))
    axes.set_yticks(places)
    axes.set_yticklabels(
        [f"{text}  {place + 1}" for place, text in enumerate(texts)], family=families, fontsize=size, parse_math=False
    )
    axes.set_xticks(places)
    turned = 90 if len(texts) > 25 else 0
    axes.set_xticklabels([str(place + 1) for place in places], fontsize=size, rotation=turned)
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    for place, row in enumerate(heatmap.rows):
        axes.get_yticklabels()[place].set_color(_colour(int(heatmap.clustering.labels[row])))


def _frame_blocks(axes: Axes, heatmap: Heatmap, names: list[str], families: list[str], size: float) -> None:
    from matplotlib.patches import Rectangle

    count = len(heatmap.labels)
    for first, end, group in heatmap.blocks:
        for edge in (first - 0.5, end - 0.5):
            axes.axhline(edge, color="white", linewidth=0.8)
            axes.axvline(edge, color="white", linewidth=0.8)
        if group == OUTLIER:
            continue
        corner, length, colour = (first - 0.5, first - 0.5), end - first, _colour(group)
        axes.add_patch(Rectangle(corner, length, length, fill=False, edgecolor=colour, linewidth=2, clip_on=False))
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


def _colour(group: int) -> Any:
    from matplotlib import colormaps

    if group == OUTLIER:
        return _GREY
    red, green, blue, _ = colormaps[_COLOURS](group % 10)
    return (red * 0.8, green * 0.8, blue * 0.8)  # dark enough to be read as text
