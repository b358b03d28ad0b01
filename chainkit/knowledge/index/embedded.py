"""Vectors that need not be computed again: those of passages that were only moved, or stand beside a changed one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from chainkit.knowledge.readers.split import Passage

if TYPE_CHECKING:
    from chainkit.knowledge.index.encoder import Encoder
    from chainkit.knowledge.index.store import Store


class Embedded:
    """The passages of documents that are about to be replaced or removed, by what they were embedded as."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[bytes, int] = {}

    def remember(self, paths: Sequence[str]) -> None:
        """Note the passages of these documents; their vectors are used as long as they are stored."""
        for number, context in self._store.contexts(paths):
            self._known[_digest(context)] = number

    def vectors(self, passages: Sequence[Passage], encoder: Encoder) -> Iterator[bytes]:
        """The vector of each passage as float32 bytes; only texts that are not known are embedded, each once."""
        texts = [passage.context for passage in passages]
        numbers = {text: self._known[key] for text in dict.fromkeys(texts) if (key := _digest(text)) in self._known}
        stored = self._store.vectors(list(numbers.values()))
        found = {text: stored[number].tobytes() for text, number in numbers.items() if number in stored}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            vectors = encoder.texts(new)
            found |= {text: vector.tobytes() for text, vector in zip(new, vectors, strict=True)}
        return (found[text] for text in texts)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
