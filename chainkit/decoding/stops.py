"""Stop texts and broken characters: what of the bytes generated so far may be shown."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence


class StopScanner:
    """Passes text on up to the first stop text; a possible beginning of one is held back.

    Of several, the one that is complete first counts, so that it does not matter in which pieces the text comes.

    Args:
        stops: The stop texts.
        fits: Whether the text before a stop text is one that may be stopped after; None: any is.

    Attributes:
        stop_text: The stop text that was found.

    >>> scanner = StopScanner(["END"])
    >>> scanner.feed("a E"), scanner.feed("N"), scanner.feed("D b"), scanner.stopped
    ('a ', '', '', True)
    """

    def __init__(self, stops: Sequence[str], fits: Callable[[str], bool] | None = None) -> None:
        self.stop_text = ""
        self._stops, self._fits = tuple(stops), fits
        self._held = self._before = ""

    @property
    def stopped(self) -> bool:
        """Whether a stop text has come."""
        return bool(self.stop_text)

    def feed(self, text: str) -> str:
        """Text that no stop text can reach any more."""
        if self.stop_text:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        if (found := self._found(text)) is not None:
            place, self.stop_text = found
            self._held = ""
            return text[:place]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        shown = text[: len(text) - keep]
        if self._fits is not None:
            self._before += shown
        return shown

    def flush(self) -> str:
        """The text held back, at the end of the generation."""
        held, self._held = self._held, ""
        return held

    def _found(self, text: str) -> tuple[int, str] | None:
        """Where the first stop text begins that counts, and which one it is."""
        places = sorted((at + len(stop), at, stop) for stop in self._stops for at in _places(text, stop))
        return next(
            ((at, stop) for _, at, stop in places if self._fits is None or self._fits(self._before + text[:at])), None
        )


class TextAssembler:
    """Bytes of tokens in, whole characters out: a character may be spread over several tokens."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open = False

    def feed(self, piece: bytes) -> str:
        """The characters that are complete; bytes that can never be part of one become U+FFFD."""
        if piece.isascii() and not self._open:
            return piece.decode("ascii")
        text = self._decoder.decode(piece)
        self._open = bool(self._decoder.getstate()[0])
        return text

    @property
    def broken(self) -> bool:
        """True if the last character is not complete yet."""
        return self._open


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


def _places(text: str, stop: str) -> Iterator[int]:
    at = text.find(stop)
    while at >= 0:
        yield at
        at = text.find(stop, at + 1)
