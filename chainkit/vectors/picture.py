"""Base of pictures: saved to a file, or shown in a notebook."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from chainkit.base.errors import Unsupported

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf", ".html")
"""Endings of the files that a picture can be written to."""


class Picture(ABC):
    """Something that can be drawn.

    Attributes:
        kind: Its name in messages.
    """

    kind: ClassVar[str]

    @abstractmethod
    def figure(self) -> Figure:
        """The picture as a matplotlib figure; save it with `bbox_inches="tight"`, texts stand outside the axes.

        Raises:
            MissingLibrary: matplotlib is not installed.
        """

    @abstractmethod
    def html(self) -> str:
        """The picture as one page that needs no network."""

    def save(self, path: str | Path) -> Path:
        """Write the picture; the ending of the name says what to: .png, .svg, .pdf or .html.

        Raises:
            Unsupported: Another ending.
            MissingLibrary: matplotlib is not installed; .html does without.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending not in FORMATS:
            raise Unsupported(f"{path}: a {self.kind} can be written as {', '.join(FORMATS)}, not as '{ending}'")
        path.write_bytes(self.html().encode() if ending == ".html" else self._image(ending[1:]))
        return path

    def _image(self, ending: str) -> bytes:
        buffer = io.BytesIO()
        # without a date in it, the same picture is the same file
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending)
        self.figure().savefig(buffer, format=ending, dpi=150, bbox_inches="tight", pad_inches=0.15, metadata=metadata)
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self._image("png")
