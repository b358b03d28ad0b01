"""Groups of many texts as points in a plane."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainkit.base.errors import MissingLibrary
from chainkit.base.hiding import hides_given_keys
from chainkit.vectors.clustering import Clustering
from chainkit.vectors.clusters import clusters
from chainkit.vectors.colours import OUTLIER_COLOUR, group_colour
from chainkit.vectors.given import Items, Source
from chainkit.vectors.labels import drawable, label, width, wrapped
from chainkit.vectors.layout import Method, layout
from chainkit.vectors.page import page
from chainkit.vectors.picture import Picture
from chainkit.vectors.spots import Spots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]

POINTS_ON_A_PAGE = 50_000
"""Points that a browser moves without delay; a page of more items shows only this many, and says so."""

TEXT_BYTES = 3_500_000
"""Of all texts on a page together; where there are more, the longest are cut, so that a page stays below 5 MB."""

_NAMED = 40  # groups whose names find room
_NAME_COLUMNS = 28
_FEW, _CROWDED_COLUMNS = 16, 20  # of more groups the names are shorter, so that each has room beside its points
_LINE = 0.03  # height of a name; the picture is 1 high and 1 wide
_LETTER = 0.0083  # width of a letter
_EDGE = 0.05  # around the points: room for a name
_LETTERS = 600  # of each text on a page


@dataclass(frozen=True, kw_only=True, eq=False)
class ClusterMap(Picture):
    """N items as points.

    Attributes:
        clustering: The groups.
        points: Where each item is, float32, N x 2, each coordinate from 0 to 1.
        title: Title above the picture.
    """

    clustering: Clustering
    points: Array = field(repr=False)
    title: str = ""

    kind = "map"

    def figure(self) -> Figure:
        """The picture as a matplotlib figure.

        Raises:
            MissingLibrary: matplotlib is not installed.
        """
        return _draw(self)

    def name_places(self) -> list[tuple[float, float]]:
        """The middle of each group's name: near its points, where it covers few of them and no other name."""
        spots = Spots(self.points, _EDGE, _LINE)
        return [
            spots.take(self.points[list(group.members)], width(name) * _LETTER)
            for group, name in zip(self.clustering.groups[:_NAMED], self._names(), strict=False)
        ]

    def html(self) -> str:
        """The picture as one page that needs no network: texts where the mouse points, zoom, groups to hide.

        Names that have no room come up as the page is zoomed. Places and groups are 16-bit numbers in base 64.
        """
        rows = self._shown()
        texts, count = self.clustering.texts, len(self.points)
        data = {
            "title": self.title,
            "note": "" if len(rows) == count else f"{len(rows):,} of {count:,} items are shown.",
            "points": _encoded(np.round(self.points[rows] * 65_535)),
            "labels": _encoded(self.clustering.labels[rows] + 1),
            "texts": _fitting(
                [f"item {row}" if texts is None else texts[row][:_LETTERS] for row in rows.tolist()], TEXT_BYTES
            ),
            "groups": [
                {
                    "label": group.label,
                    "name": _short(group.name, _NAME_COLUMNS),
                    "name_on_map": name,
                    "size": len(group),
                    "colour": group_colour(group.label),
                    "middle": np.round(np.median(self.points[list(group.members)], axis=0), 4).tolist(),
                    "name_place": place,
                }
                for group, name, place in zip_longest(self.clustering.groups, self._names(), self.name_places())
            ],
        }
        return page("map", self.title, data)

    def _names(self) -> list[str]:
        """The name of each group as it stands among the points."""
        groups = self.clustering.groups
        columns = _NAME_COLUMNS if len(groups) <= _FEW else _CROWDED_COLUMNS
        return [_short(group.name, columns) for group in groups]

    def _shown(self) -> Array:
        """Rows that a page shows: all, or the same share of every group."""
        count = len(self.points)
        if count <= POINTS_ON_A_PAGE:
            return np.arange(count)
        order = np.asarray(self.clustering.order)
        return np.sort(order[np.linspace(0, count - 1, POINTS_ON_A_PAGE).astype(int)])


@hides_given_keys
def cluster_map(
    items: Items | Clustering,
    embeddings: Source = None,
    path: str | Path | None = None,
    *,
    k: int | None = None,
    threshold: float | None = None,
    method: Method = "tsne",
    title: str = "",
) -> ClusterMap:
    """Draw texts as points in a plane, groups in colours; for more texts than a heatmap can hold.

    >>> drawn = cluster_map([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    >>> drawn.points.shape, drawn.clustering.k
    ((4, 2), 2)

    Args:
        items: Texts or vectors, or groups that `clusters` found.
        embeddings: As for `clusters`.
        path: Where to write the picture (.png, .svg, .pdf, .html); None writes nothing.
        k: As for `clusters`.
        threshold: As for `clusters`.
        method: "tsne", "umap" (needs umap-learn) or "pca"; see `layout.layout`.
        title: Title above the picture.

    Raises:
        BadTexts: As for `clusters`.
        BadVectors: As for `clusters`.
        ValueError: An unknown method.
        MissingLibrary: matplotlib (.html does without) or umap-learn is not installed.
    """
    found = items if isinstance(items, Clustering) else clusters(items, embeddings, k=k, threshold=threshold)
    points = layout(found.given.vectors, method)[found.given.rows]
    drawn = ClusterMap(clustering=found, points=points, title=title)
    if path is not None:
        drawn.save(path)
    return drawn


def _draw(drawn: ClusterMap) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingLibrary("matplotlib", extra="plot") from error
    figure = Figure(figsize=(10, 7))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-_EDGE, 1 + _EDGE)
    axes.set_ylim(-_EDGE, 1 + _EDGE)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#dddddd")
    size = float(np.clip(20_000 / len(drawn.points), 1.5, 40))
    outliers = list(drawn.clustering.outliers)
    axes.scatter(*drawn.points[outliers].T, s=size, c=OUTLIER_COLOUR, alpha=0.5, linewidths=0)
    for group in drawn.clustering.groups:
        points = drawn.points[list(group.members)]
        axes.scatter(*points.T, s=size, color=group_colour(group.label), alpha=0.6, linewidths=0)
    _write_names(axes, drawn)
    return figure


def _write_names(axes: Axes, drawn: ClusterMap) -> None:
    from matplotlib.patheffects import withStroke

    groups = drawn.clustering.groups[:_NAMED]
    names, families = drawable([*drawn._names()[:_NAMED], drawn.title])
    for group, name, (x, y) in zip(groups, names, drawn.name_places(), strict=False):
        axes.text(
            *(x, y, name),
            family=families,
            fontsize=9,
            fontweight="bold" if len(families) == 1 else "normal",  # fonts of packages come in one weight
            color=group_colour(group.label),
            ha="center",
            va="center",
            parse_math=False,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
    if drawn.title:
        axes.set_title(wrapped(names[-1], 100), family=families, fontsize=12, loc="left", parse_math=False)


def _short(name: str, columns: int) -> str:
    """A name without the last keywords that so many columns have no room for."""
    while width(name) > columns and ", " in name:
        name = name.rpartition(", ")[0]
    return label(name, columns)


def _encoded(numbers: Array) -> str:
    """Whole numbers from 0 to 65,535 as little-endian bytes in base 64."""
    return base64.b64encode(numbers.astype("<u2").tobytes()).decode()


def _fitting(texts: list[str], most: int) -> list[str]:
    """The texts, the longest cut to the same length, so that together they have at most `most` bytes."""
    sizes = np.array([len(text.encode()) for text in texts])
    if sizes.sum() <= most:
        return texts
    lengths = np.array([len(text) for text in texts])
    low, high = 1, int(lengths.max())
    while low < high:  # bytes of a cut text in proportion to its letters
        middle = (low + high + 1) // 2
        share = np.minimum(1, middle / np.maximum(lengths, 1))
        low, high = (middle, high) if (sizes * share).sum() <= most else (low, middle - 1)
    return [text if len(text) <= low else text[: low - 1] + "…" for text in texts]
