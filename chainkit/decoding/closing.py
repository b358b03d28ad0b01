"""Close open strings and brackets of a JSON text before a token limit cuts it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llguidance import LLMatcher, LLTokenizer

from chainkit.decoding.outline import Outline

_CLOSERS = {ord("{"): b"}", ord("["): b"]"}
_LETTERS = re.compile(rb"[a-z]*\Z")
_WORDS = (b"true", b"false", b"null")
_LEAST_ROOM = 5  # tokens kept for what the next token may open


class Closing:
    """Follows a JSON text, and knows a short end for it.

    Args:
        matcher: The grammar on its way; only asked.
        tokenizer: The same tokens as llguidance has them.
    """

    def __init__(self, matcher: LLMatcher, tokenizer: LLTokenizer) -> None:
        self._matcher, self._tokenizer = matcher, tokenizer
        self._outline = Outline()
        self._data = b""

    def watch(self, data: bytes) -> None:
        """Look at new text."""
        self._outline = self._outline.after(data)
        self._data += data

    def tokens(self, room: int) -> list[int]:
        """The tokens of an end, once it is time to write it; none before that, or where it has no room any more."""
        if room > 2 * len(self._outline.stack) + 20:  # far away: nothing is tried
            return []
        for end in filter(self._is_text, self._ends()):
            found: list[int] = self._tokenizer.tokenize_bytes(end)
            probe = self._matcher.deep_copy()
            if probe.try_consume_tokens(found) == len(found) and probe.is_accepting():
                return found if len(found) <= room <= len(found) + _LEAST_ROOM else []
        return []

    def _ends(self) -> Iterator[bytes]:
        """Ends that may be right, the best first; the grammar knows which is."""
        outline = self._outline
        closers = b"".join(_CLOSERS[one] for one in reversed(outline.stack))
        if not outline.length:
            yield b"{}"
        for begun in self._begun():
            yield begun + closers

    def _begun(self) -> Iterator[bytes]:
        """What may stand between the text and its closing brackets."""
        match self._outline.mode:
            case "text":
                yield from (rest + b'"' for rest in (b"", *self._characters()))
            case "name":
                yield from (rest + b'":null' for rest in (b"", *self._characters()))
            case "colon":
                yield b":null"
            case "key":
                yield from (b"", b'"":null')
            case "scalar":
                yield b""
                word = _LETTERS.search(self._data)
                letters = word[0] if word else b""
                yield from (one[len(letters) :] for one in _WORDS if letters and one.startswith(letters))
                yield b"0"
            case "value":
                yield from (b"", b"null")
            case _:
                yield b""

    def _characters(self) -> Iterator[bytes]:
        """Ends of a character that has begun: an escape, or bytes of UTF-8."""
        if self._outline.escaped:
            yield b"n"
        yield from (b"0" * count for count in range(1, 5))
        yield from (byte * count for count in range(1, 4) for byte in (b"\x80", b"\xa0"))

    def _is_text(self, end: bytes) -> bool:
        try:
            (self._data + end).decode()
        except UnicodeDecodeError:
            return False
        return True
