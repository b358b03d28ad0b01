"""Tokenize a continuation without a space or BOS token of its own: shared by the vocabularies of all backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable

_ANCHORS = ("\n", ".")


def encoded(text: str) -> bytes:
    """The text as UTF-8.

    Raises:
        ValueError: The text holds a lone surrogate, which is not a character.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start} of the text is half a surrogate pair, no character") from None


def continued(text: str, tokenize: Callable[[str], list[int]], bytes_of: Callable[[Iterable[int]], bytes]) -> list[int]:
    """Tokens of a text that continues another one; where possible they decode to exactly its bytes.

    SentencePiece puts a space before a text. Here it puts that before something else, which is then cut off.

    Args:
        text: Any text.
        tokenize: Tokens as the library makes them.
        bytes_of: What tokens stand for.
    """
    tokens, data = tokenize(text), encoded(text)
    if bytes_of(tokens) == data:
        return tokens
    for anchor in _ANCHORS:
        head, both = tokenize(anchor), tokenize(anchor + text)
        if both[: len(head)] == head and bytes_of(both[len(head) :]) == data:
            return both[len(head) :]
    return tokens
