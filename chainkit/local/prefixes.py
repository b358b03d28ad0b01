"""A prefix tree over tokens that holds the KV data of texts, so that a common beginning is stored once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, Protocol, Self, TypeVar

from chainkit.local.runtime import common


class Stretch(Protocol):
    """KV data of consecutive tokens."""

    @property
    def token_bytes(self) -> int:
        """Bytes per token."""
        ...

    def part(self, start: int, end: int) -> Self:
        """A copy of the data of tokens `start` to `end`."""
        ...


S = TypeVar("S", bound=Stretch)


@dataclass(eq=False)
class _Node(Generic[S]):
    tokens: list[int]
    stretch: S
    parent: _Node[S] | None
    children: dict[int, _Node[S]] = field(default_factory=dict[int, "_Node[S]"])
    used: int = 0

    @property
    def size(self) -> int:
        return len(self.tokens) * self.stretch.token_bytes


class PrefixTree(Generic[S]):
    """Most recently used text prefixes, up to a number of bytes.

    Attributes:
        limit: Maximum size in bytes.
        size: Bytes in use.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._tops: dict[int, _Node[S]] = {}
        self._clock = count(1)

    def longest(self, tokens: Sequence[int]) -> int:
        """Number of leading tokens in the tree."""
        return sum(shared for _, shared in self._walk(tokens))

    def find(self, tokens: Sequence[int]) -> Iterator[tuple[S, int]]:
        """The stored stretches that a text begins with, and how many tokens of each belong to it."""
        now = next(self._clock)
        for node, shared in self._walk(tokens):
            node.used = now
            yield node.stretch, shared

    def add(self, tokens: Sequence[int], stretch: S) -> None:
        """Store a copy of the part of a text that is not in the tree yet; a text that is too long is cut.

        Args:
            tokens: The text.
            stretch: Its KV data.
        """
        if not tokens or not stretch.token_bytes:
            return
        tokens = tokens[: self.limit // stretch.token_bytes]
        known, parent, now = 0, None, next(self._clock)
        for node, shared in self._walk(tokens):
            node.used = now
            known += shared
            parent = node
            if shared < len(node.tokens):
                if known < len(tokens):
                    self._split(node, shared)
                break
        if known < len(tokens):
            node = _Node(list(tokens[known:]), stretch.part(known, len(tokens)), parent, used=now)
            level, size = self._below(parent), node.size
            level[node.tokens[0]] = node
            self.size += size
            self._shrink()

    def clear(self) -> None:
        """Forget everything."""
        self._tops, self.size = {}, 0

    def _walk(self, tokens: Sequence[int]) -> Iterator[tuple[_Node[S], int]]:
        place, level = 0, self._tops
        while place < len(tokens) and (node := level.get(tokens[place])) is not None:
            shared = common(node.tokens, tokens[place : place + len(node.tokens)])
            yield node, shared
            if shared < len(node.tokens):
                return
            place, level = place + shared, node.children

    def _below(self, parent: _Node[S] | None) -> dict[int, _Node[S]]:
        return self._tops if parent is None else parent.children

    def _split(self, node: _Node[S], place: int) -> None:
        """Make two nodes of one: the first tokens stay, the others go below."""
        rest = _Node(
            node.tokens[place:], node.stretch.part(place, len(node.tokens)), node, node.children, node.used - 1
        )
        for child in rest.children.values():
            child.parent = rest
        kept, below = node.stretch.part(0, place), {rest.tokens[0]: rest}
        node.stretch, node.tokens, node.children = kept, node.tokens[:place], below  # at once: see `LocalRuntime`

    def _shrink(self) -> None:
        """Forget the ends that were used longest ago."""
        while self.size > self.limit:
            victim = min(self._ends(), key=lambda node: node.used)
            level, size = self._below(victim.parent), victim.size
            del level[victim.tokens[0]]
            self.size -= size

    def _ends(self) -> Iterator[_Node[S]]:
        waiting = list(self._tops.values())
        while waiting:
            node = waiting.pop()
            if not node.children:
                yield node
            waiting.extend(node.children.values())
