"""Continuations of one text as a tree of tokens, in which a common beginning appears once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chainkit.decoding.sampler import Logits, log_softmax


class Branches:
    """A tree of tokens that continue a text; a node comes after its parent.

    Attributes:
        tokens: The token of each node.
        parents: The node that each follows; -1 for those that follow the text.
        inner: The nodes with children, in order: the logits after them are needed.
    """

    def __init__(self, options: Sequence[Sequence[int]]) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self._paths: list[list[int]] = []
        known: dict[tuple[int, int], int] = {}
        for option in options:
            node, path = -1, list[int]()
            for token in option:
                found = known.get((node, token))
                if found is None:
                    found = known[node, token] = len(self.tokens)
                    self.tokens.append(token)
                    self.parents.append(node)
                node = found
                path.append(node)
            self._paths.append(path)
        self.inner = sorted({parent for parent in self.parents if parent >= 0})

    @property
    def chain(self) -> bool:
        """Whether the inner nodes follow one another, so that they can be kept as a text."""
        return all(self.parents[node] == node - 1 for node in self.inner) and len(self._paths) == 1

    @property
    def depths(self) -> list[int]:
        """Depth of each node; 0 for those that follow the text."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        return depths

    def before(self, node: int) -> list[int]:
        """The path to a node, from the first token to the node itself."""
        path: list[int] = []
        while node >= 0:
            path.append(node)
            node = self.parents[node]
        return path[::-1]

    def joint(self, start: Logits, rows: Iterable[Logits]) -> list[float]:
        """The joint log-probability of each option.

        Args:
            start: The logits after the text, [V].
            rows: The logits after each node of `inner`, [V] each.
        """
        following: dict[int, list[int]] = {}
        for node, parent in enumerate(self.parents):
            following.setdefault(parent, []).append(node)
        scores = dict[int, float]()
        for parent, row in zip([-1, *self.inner], [start, *rows], strict=True):
            chances = log_softmax(row)  # [V] in double precision: one at a time
            scores |= {node: float(chances[self.tokens[node]]) for node in following.get(parent, ())}
        return [float(sum(scores[node] for node in path)) for path in self._paths]
