"""A similarity matrix as lines of text, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainkit.vectors.colours import group_colour, similarity_colour
from chainkit.vectors.labels import label, width, wrapped

Array = np.ndarray[Any, Any]

_SHADES = (" ░▒▓█", " .:+#")  # the second where the first cannot be written
_RESET = "\x1b[0m"
_LABEL_AT_LEAST = 8  # columns
_GAP = "  "


@dataclass(frozen=True)
class Cells:
    """The drawing: one line for each row of the matrix, its label on the left, the name of its group on the right.

    Attributes:
        matrix: N x N.
        limits: The values of the first and the last colour.
        labels: One for each row.
        groups: The group of each row; -1 for an outlier.
        names: The name of each group.
        title: The first line.
        encoding: Of the terminal; characters that it lacks become "?".
    """

    matrix: Array
    limits: tuple[float, float]
    labels: Sequence[str]
    groups: Sequence[int]
    names: Sequence[str]
    title: str = ""
    encoding: str = "utf-8"

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
        labels = [label(self._written(text), columns - count * wide - 1) for text in self.labels]
        most = max(map(width, labels))
        lines = [
            f"{self._tinted(text, row, most, colour)} {self._cells(row, wide, colour)}"
            for row, text in enumerate(labels)
        ]
        left = columns - most - 1 - count * wide - len(_GAP)
        if max((width(name) for _, _, name in self._runs()), default=0) <= left:
            for first, _, name in self._runs():
                lines[first] += _GAP + self._tinted(name, first, 0, colour)
        else:
            lines += ["", *self._legend(columns, colour)]
        title = [wrapped(self._written(self.title), columns)] if self.title else []
        return "\n".join([*title, *lines])

    def _written(self, text: str) -> str:
        return text.encode(self.encoding, "replace").decode(self.encoding)

    def _runs(self) -> list[tuple[int, int, str]]:
        """First row, end row and name of each run of rows of one group."""
        starts = [row for row, group in enumerate(self.groups) if not row or group != self.groups[row - 1]]
        ends = [*starts[1:], len(self.groups)]
        runs = [(a, b, self.groups[a]) for a, b in zip(starts, ends, strict=True)]
        return [(a, b, self._written(self.names[group])) for a, b, group in runs if group >= 0]

    def _legend(self, columns: int, colour: bool) -> list[str]:
        """The names of the groups, where there is no room for them beside their rows."""
        lines: list[str] = []
        for first, end, name in self._runs():
            rows = f"row {end}: " if end == first + 1 else f"rows {first + 1}-{end}: "
            lines.append(self._tinted(label(rows + name, columns), first, 0, colour))
        return lines

    def _cells(self, row: int, wide: int, colour: bool) -> str:
        low, high = self.limits
        shares = np.clip((self.matrix[row] - low) / (high - low), 0, 1).tolist()
        if not colour:
            usual, plain = _SHADES
            shades = usual if self._written(usual) == usual else plain
            return "".join(shades[min(int(share * len(shades)), len(shades) - 1)] * wide for share in shares)
        cells = ("\x1b[48;2;{};{};{}m".format(*similarity_colour(share)) + " " * wide for share in shares)
        return "".join(cells) + _RESET

    def _tinted(self, text: str, row: int, columns: int, colour: bool) -> str:
        """The text in the colour of a row's group."""
        padded = " " * (columns - width(text)) + text
        if not colour:
            return padded
        red, green, blue = bytes.fromhex(group_colour(self.groups[row])[1:])
        return f"\x1b[38;2;{red};{green};{blue}m{padded}{_RESET}"
