"""One `llama_decode` call: tokens of several texts and of the branches that may follow them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chainkit.backends.llama_cpp.sequences import LlamaSequence
from chainkit.local.branches import Branches
from chainkit.local.runtime import END, PendingRead


@dataclass(eq=False)
class LlamaRead(PendingRead):
    """A forward request while llama.cpp computes it.

    Attributes:
        sequence: Its sequence in the KV cache, once assigned.
        restored: Whether it continues a prefix from files, so that its passes must end where they would without.
    """

    sequence: LlamaSequence | None = None
    restored: bool = False

    @property
    def place(self) -> LlamaSequence:
        """Its sequence, which must be assigned."""
        assert self.sequence is not None
        return self.sequence

    @property
    def settled(self) -> bool:
        """Whether its sequence is its own."""
        return self.sequence is not None and self.sequence.belongs_to(self.request.owner)

    @property
    def held(self) -> int:
        """Number of its tokens in the KV cache."""
        return len(self.place.tokens)

    @property
    def nodes(self) -> list[int]:
        """The nodes whose logits are still to be computed."""
        return [node for node in self.wanted if node not in self.logits]


@dataclass(eq=False)
class PassPart:
    """Tokens of a text, and nodes of its branches after them.

    Attributes:
        read: The read that they belong to.
        tokens: They continue what is in the KV cache.
        start: Number of tokens in the KV cache.
        sequences: The sequences that each node is in: one for each end of a branch that it leads to.
        chain: Nodes that follow one another; they are kept as a part of the text.
        joined: Number of the tokens whose rows in the pass are those of another text.
    """

    read: LlamaRead
    tokens: Sequence[int]
    start: int = 0
    sequences: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    chain: Sequence[int] = ()
    joined: int = 0

    def __post_init__(self) -> None:
        self.start = self.read.held

    @property
    def numbers(self) -> list[int]:
        """All sequences of branches."""
        return sorted({number for numbers in self.sequences.values() for number in numbers})

    @property
    def chained(self) -> list[int]:
        """The tokens of the chain."""
        branches = self.read.request.branches
        return [branches.tokens[node] for node in self.chain] if branches else []

    @property
    def whole(self) -> bool:
        """Whether the text is read with this."""
        return self.start + len(self.tokens) == len(self.read.request.tokens)

    def branch(self, nodes: Sequence[int], free: list[int]) -> None:
        """Add nodes and their ancestors after the text; takes the sequences it needs from `free`."""
        branches = self.read.request.branches
        assert branches is not None
        for end in ends(branches, nodes):
            number = free.pop()
            for node in branches.before(end):
                self.sequences.setdefault(node, []).append(number)

    def items(self) -> Iterator[tuple[int, int, Sequence[int], int | None]]:
        """Token, position, sequences, and the node (or `END`) whose scores are wanted."""
        own, last = [self.read.place.number, *self.numbers], len(self.tokens) - 1
        for number, token in enumerate(self.tokens):
            yield token, self.start + number, own, END if self.whole and number == last else None
        branches = self.read.request.branches
        for number, token in enumerate(self.chained):
            yield token, self.start + len(self.tokens) + number, own, self.chain[number]
        if branches is not None and self.sequences:
            begin, depths = self.start + len(self.tokens), branches.depths
            for node in sorted(self.sequences):
                yield branches.tokens[node], begin + depths[node], self.sequences[node], node


@dataclass(slots=True)
class PassRow:
    """One token of a pass.

    Attributes:
        token: The token.
        place: Its place in the text.
        sequences: Those that it becomes a part of.
        wanted: The reads that want the logits after it, each with the node or `END` that they are for.
    """

    token: int
    place: int
    sequences: list[int] = field(default_factory=list[int])
    wanted: list[tuple[LlamaRead, int]] = field(default_factory=list[tuple[LlamaRead, int]])


def pass_rows(parts: Sequence[PassPart], *, join: bool) -> list[PassRow]:
    """The rows of a pass.

    Args:
        parts: Parts of the pass.
        join: Texts with the same continuation share rows as far as they agree; not for recurrent models.
    """
    found = list[PassRow]()
    same = dict[object, PassRow]()
    for part in parts:
        many = join and len(part.tokens) > 1
        before: object = tuple(part.read.place.tokens) if many else id(part)
        for number, (token, place, sequences, node) in enumerate(part.items()):
            key = (before, token)
            row = same.get(key) if many and number < len(part.tokens) else None
            if row is None:
                row = PassRow(token, place)
                found.append(row)
            else:
                part.joined += 1
            same[key], before = row, id(row)
            row.sequences.extend(sequences)
            if node is not None:
                row.wanted.append((part.read, node))
    return found


def ends(branches: Branches, nodes: Sequence[int]) -> list[int]:
    """Those of the nodes that lead to no other of them."""
    leading = {branches.parents[node] for node in nodes}
    return [node for node in nodes if node not in leading]


def groups(branches: Branches, nodes: Sequence[int], most_ends: int, most_nodes: int) -> Iterator[list[int]]:
    """Split nodes into groups that one pass can compute, limited by leaves and by nodes including ancestors."""
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
