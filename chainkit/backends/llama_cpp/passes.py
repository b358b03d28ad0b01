"""What one call of llama.cpp computes: tokens of several texts, and of what may follow them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from chainkit.backends.llama_cpp.slots import Slot
from chainkit.decoding.sampler import Logits
from chainkit.local.branches import Branches
from chainkit.local.requests import Answer, Request

END = -1  # the place behind the text, where the branches begin


@dataclass(eq=False)
class Row:
    """A request on its way.

    Attributes:
        request: What was asked.
        slot: Where its text is kept, once it has a place.
        start: So many of its tokens were known.
        passes: How many passes had a part in it.
        found: The scores behind the text (`END`) and behind nodes of its branches.
    """

    request: Request[Slot]
    slot: Slot | None
    start: int = 0
    passes: int = 0
    found: dict[int, Logits] = field(default_factory=dict[int, Logits])

    @property
    def place(self) -> Slot:
        """The slot that it has by now."""
        assert self.slot is not None
        return self.slot

    @property
    def settled(self) -> bool:
        """Whether its slot is its own."""
        return self.slot is not None and self.slot.belongs_to(self.request.owner)

    @property
    def held(self) -> int:
        """So many of its tokens are in memory."""
        return len(self.place.tokens)

    @property
    def nodes(self) -> list[int]:
        """The nodes behind which the scores are still to be found."""
        return [node for node in self.request.branches.inner if node not in self.found] if self.request.branches else []

    def answer(self) -> Answer[Slot]:
        """What came of it."""
        inner = self.request.branches.inner if self.request.branches else []
        logits = np.stack([self.found[node] for node in (END, *inner)])
        return Answer(self.place, len(self.request.tokens) - self.start, self.passes, logits)


@dataclass(eq=False)
class Part:
    """Tokens of a row, and nodes of its branches behind them.

    Attributes:
        row: The row.
        tokens: They go on with what is in memory.
        start: How much that is.
        sequences: The sequences that each node is in: one for each end of a branch that it leads to.
        chain: Nodes that follow one another; they are kept as a part of the text.
    """

    row: Row
    tokens: Sequence[int]
    start: int = 0
    sequences: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    chain: Sequence[int] = ()

    def __post_init__(self) -> None:
        self.start = self.row.held

    @property
    def numbers(self) -> list[int]:
        """All sequences of branches."""
        return sorted({number for numbers in self.sequences.values() for number in numbers})

    @property
    def chained(self) -> list[int]:
        """The tokens of the chain."""
        branches = self.row.request.branches
        return [branches.tokens[node] for node in self.chain] if branches else []

    @property
    def whole(self) -> bool:
        """Whether the text is read with this."""
        return self.start + len(self.tokens) == len(self.row.request.tokens)

    def branch(self, nodes: Sequence[int], free: list[int]) -> None:
        """Put nodes and those that lead to them behind the text; takes from the free sequences what it needs."""
        branches = self.row.request.branches
        assert branches is not None
        for end in ends(branches, nodes):
            number = free.pop()
            for node in branches.before(end):
                self.sequences.setdefault(node, []).append(number)

    def items(self) -> Iterator[tuple[int, int, Sequence[int], int | None]]:
        """Token, position, sequences, and the node (or `END`) whose scores are wanted."""
        own, last = [self.row.place.number, *self.numbers], len(self.tokens) - 1
        for number, token in enumerate(self.tokens):
            yield token, self.start + number, own, END if self.whole and number == last else None
        branches = self.row.request.branches
        for number, token in enumerate(self.chained):
            yield token, self.start + len(self.tokens) + number, own, self.chain[number]
        if branches is not None and self.sequences:
            begin, depths = self.start + len(self.tokens), branches.depths
            for node in sorted(self.sequences):
                yield branches.tokens[node], begin + depths[node], self.sequences[node], node


def ends(branches: Branches, nodes: Sequence[int]) -> list[int]:
    """Those of the nodes that lead to no other of them."""
    leading = {branches.parents[node] for node in nodes}
    return [node for node in nodes if node not in leading]


def groups(branches: Branches, nodes: Sequence[int], most_ends: int, most_nodes: int) -> Iterator[list[int]]:
    """The nodes in groups that one pass can compute: so many ends, and so many nodes with those that lead to them."""
    group: list[int] = []
    taken: set[int] = set()
    for end in ends(branches, nodes):
        path = branches.before(end)
        if group and (len(taken | set(path)) > most_nodes or len(group) == most_ends):
            yield sorted(taken)
            group, taken = [], set()
        group.append(end)
        taken |= set(path)
    if group:
        yield sorted(taken)
