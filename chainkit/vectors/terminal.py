"""A similarity matrix as lines of text, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainkit.vectors.colours import group_colour, similarity_colour
from chainkit.vectors.labels import label, width

Array = np.ndarray[Any, Any]

_SHADES = " ░▒▓█"
_RESET = "\x1b[0m"
_LABEL_AT_LEAST = 8  # columns


@dataclass(frozen=True)
class Cells:
    """What is drawn: one line for each row of the matrix, its label on the left.

    Attributes:
        matrix: N x N.
        limits: The values of the first and the last colour.
        labels: One for each row.
        groups: The group of each row; -1 for an outlier.
        names: The name of each group.
        title: The first line.
    """

    matrix: Array
    limits: tuple[float, float]
    labels: Sequence[str]
    groups: Sequence[int]
    names: Sequence[str]
    title: str = ""

    def drawn(self, columns: int, *, colour: bool) -> str:
        """The picture, no line wider than `columns`.

        Raises:
            ValueError: There is no room for a column for each item.
        """
        count = len(self.labels)
        room = columns - _LABEL_AT_LEAST - 1
        if count > room:
            raise ValueError(
                f"{count} items need a terminal of {count + _LABEL_AT_LEAST + 1} columns, this one has {columns}; "
                "write the picture to a file instead"
            )
        wide = 2 if 2 * count <= room - 12 else 1  # two columns look square; labels need room as well
        labels = [label(text, columns - count * wide - 1) for text in self.labels]
        most = max(map(width, labels))
        lines = [self.title] if self.title else []
        for row, text in enumerate(labels):
            lines.append(f"{self._tinted(text, self.groups[row], most, colour)} {self._cells(row, wide, colour)}")
        legend = [self._tinted(name, group, 0, colour) for group, name in enumerate(self.names)]
        lines += ["", *(label(text, columns) if not colour else text for text in legend)]
        return "\n".join(lines)

    def _cells(self, row: int, wide: int, colour: bool) -> str:
        low, high = self.limits
        shares = np.clip((self.matrix[row] - low) / (high - low), 0, 1).tolist()
        if not colour:
            return "".join(_SHADES[min(int(share * len(_SHADES)), len(_SHADES) - 1)] * wide for share in shares)
        cells = ("\x1b[48;2;{};{};{}m".format(*similarity_colour(share)) + " " * wide for share in shares)
        return "".join(cells) + _RESET

    def _tinted(self, text: str, group: int, columns: int, colour: bool) -> str:
        padded = " " * (columns - width(text)) + text
        if not colour:
            return padded
        red, green, blue = bytes.fromhex(group_colour(group)[1:])
        return f"\x1b[38;2;{red};{green};{blue}m{padded}{_RESET}"
