"""The likeliest next tokens as a picture, with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import MissingLibrary

try:
    import matplotlib
    from matplotlib.figure import Figure
except ImportError as error:
    raise MissingLibrary("matplotlib", extra="plot") from error

if TYPE_CHECKING:
    from chainkit.local.sight import Candidate

_LONGEST_TITLE = 60
_BEFORE, _AFTER = "#3b6ea5", "#e08a3c"


def draw(likely: Sequence[Candidate], text: str, path: Path) -> None:
    """Bars of the chances, the likeliest token on top; after temperature and cuts too, if those were given."""
    sampled = any(one.sampled is not None for one in likely)
    height = 0.4 if sampled else 0.8
    figure = Figure(figsize=(7, 1.2 + 0.32 * len(likely)), layout="constrained")
    axes: Any = figure.add_subplot()
    rows = range(len(likely))
    first = [row - (height / 2 if sampled else 0) for row in rows]
    bars = axes.barh(first, [one.chance for one in likely], height, color=_BEFORE, label="as the model has it")
    axes.bar_label(bars, [f"{one.chance:.1%}" for one in likely], padding=3, fontsize=8)
    if sampled:
        after = [one.sampled or 0.0 for one in likely]
        second = axes.barh(
            [row + height / 2 for row in rows], after, height, color=_AFTER, label="after temperature and cuts"
        )
        axes.bar_label(second, [f"{chance:.1%}" if chance else "cut" for chance in after], padding=3, fontsize=8)
        axes.legend(loc="lower right", fontsize=8)
    axes.set_yticks(list(rows), [repr(one.text) for one in likely], family="monospace", parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel("probability of the next token")
    title = text if len(text) <= _LONGEST_TITLE else "..." + text[-_LONGEST_TITLE:]
    axes.set_title(repr(title), fontsize=10, parse_math=False)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, dpi=150)
