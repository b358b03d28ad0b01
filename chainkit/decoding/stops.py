"""Stop texts and broken characters: what of the bytes generated so far may be shown."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class StopScanner:
    """Lets text through until one of the stop texts stands in it; what may be the beginning of one is held back.

    Of several, the one that is complete first counts, so that it does not matter in which pieces the text comes.

    >>> scanner = StopScanner(["END"])
    >>> scanner.feed("a E"), scanner.feed("N"), scanner.feed("D b"), scanner.stopped
    ('a ', '', '', True)
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stopped = False
        self._stops = tuple(stops)
        self._held = ""

    def feed(self, text: str) -> str:
        """Text that no stop text can reach any more."""
        if self.stopped:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        places = [(place + len(stop), place) for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)[1]]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, at the end of the generation."""
        held, self._held = self._held, ""
        return held


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
