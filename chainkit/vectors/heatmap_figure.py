"""A heatmap drawn by matplotlib."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np

from chainkit.base.errors import MissingLibrary
from chainkit.vectors.clusters import OUTLIER
from chainkit.vectors.colours import group_colour
from chainkit.vectors.labels import drawable, label, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from chainkit.vectors.heatmap import Heatmap

Array = np.ndarray[Any, Any]

_TITLE_COLUMNS_PER_INCH = 10  # of 12 points


def draw(heatmap: Heatmap) -> Figure:
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
