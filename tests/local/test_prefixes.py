"""The tree of beginnings, against a plain list of all texts."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from chainkit.local.prefixes import PrefixTree
from chainkit.local.runtime import common

texts = st.lists(st.lists(st.integers(0, 2), max_size=8), max_size=12)


@dataclass
class Tokens:
    """What was computed of tokens: here, the tokens themselves."""

    of: list[int]
    token_bytes: int = 10

    def part(self, start: int, end: int) -> Tokens:
        return Tokens(self.of[start:end])


def found(tree: PrefixTree[Tokens], tokens: list[int]) -> list[int]:
    return [token for stretch, count in tree.find(tokens) for token in stretch.of[:count]]


@given(texts, texts)
def test_the_longest_known_beginning_is_found(kept, asked):
    tree: PrefixTree[Tokens] = PrefixTree(10**9)
    for text in kept:
        tree.add(text, Tokens(text))
    for text in [*asked, *kept]:
        longest = max((common(text, other) for other in kept), default=0)
        assert tree.longest(text) == longest
        assert found(tree, text) == text[:longest]
    distinct = {tuple(text[:n]) for text in kept for n in range(1, len(text) + 1)}
    assert tree.size == 10 * len(distinct)


@given(texts, st.integers(0, 200))
def test_it_never_holds_more_than_its_limit_and_never_gives_anything_wrong(kept, limit):
    tree: PrefixTree[Tokens] = PrefixTree(limit)
    for text in kept:
        tree.add(text, Tokens(text))
        assert tree.size <= limit
        assert found(tree, text) == text[: tree.longest(text)]
        # what came last is there, as far as there is room
        assert tree.longest(text) >= min(len(text), limit // 10)


def test_those_used_longest_ago_go_first():
    tree: PrefixTree[Tokens] = PrefixTree(60)
    for text in ([0, 1, 1], [0, 2, 2]):
        tree.add(text, Tokens(text))
    assert list(tree.find([0, 1, 1]))
    tree.add([3, 3], Tokens([3, 3]))
    assert tree.longest([0, 1, 1]) == 3
    assert tree.longest([0, 2, 2]) == 1
    tree.clear()
    assert tree.size == tree.longest([3, 3]) == 0


def test_what_hangs_on_a_split_beginning_can_be_forgotten():
    tree: PrefixTree[Tokens] = PrefixTree(80)
    for text in ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2, 9]):  # the last one splits the first
        tree.add(text, Tokens(text))
    assert tree.size == 70
    tree.add([7, 7, 7], Tokens([7, 7, 7]))  # there is room if the end of the second is forgotten
    assert tree.size == 80
    assert tree.longest([1, 2, 3, 4, 5, 6]) == 4
    assert tree.longest([1, 2, 9]) == tree.longest([7, 7, 7]) == 3
