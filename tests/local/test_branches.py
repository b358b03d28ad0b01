"""Options as a tree: each beginning once, and scores that add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.decoding.sampler import log_softmax
from chainkit.local.branches import Branches
from chainkit.local.lookup import Pace, PromptLookup


@given(st.lists(st.lists(st.integers(0, 3), max_size=5), max_size=6))
def test_a_tree_holds_each_beginning_once_and_the_scores_of_each_option(options):
    tree = Branches(options)
    beginnings = {tuple(option[:n]) for option in options for n in range(1, len(option) + 1)}
    assert sorted(tuple(tree.tokens[node] for node in tree.before(n)) for n in range(len(tree.tokens))) == sorted(
        beginnings
    )
    assert tree.depths == [len(tree.before(node)) - 1 for node in range(len(tree.tokens))]
    random = np.random.default_rng(0)
    behind = {beginning: random.normal(size=4).astype(np.float32) for beginning in [(), *beginnings]}
    rows = [behind[tuple(tree.tokens[one] for one in tree.before(node))] for node in tree.inner]
    scores = tree.joint(behind[()], rows)
    for option, score in zip(options, scores, strict=True):
        wanted = sum(log_softmax(behind[tuple(option[:n])])[token] for n, token in enumerate(option))
        assert score == pytest.approx(wanted)


def test_one_option_is_a_chain_and_two_are_none():
    assert Branches([[1, 2, 3, 3]]).chain
    assert not Branches([[1, 2, 3], [1, 4, 4]]).chain


def test_what_followed_last_time_is_proposed():
    lookup = PromptLookup(end=100)
    assert lookup.proposed([1, 2, 3]) == []
    assert lookup.proposed([1, 2, 3, 4, 5, 1, 2]) == [3, 4, 5, 1, 2]
    assert lookup.proposed([1, 2, 9, 9]) == []  # it was written over


def test_nothing_is_proposed_behind_the_end():
    assert PromptLookup(end=9).proposed([1, 2, 3, 4, 5, 1, 2]) == [3]
    assert PromptLookup(end=7).proposed([1, 2, 3, 4, 5, 1, 2]) == []


def test_proposals_that_do_not_pay_rest():
    lookup, text = PromptLookup(end=1000), [1, 2, 3, 1, 2]
    for _ in range(4):
        assert lookup.proposed(text)
        lookup.took(0, len(text))
        if not lookup.proposed(text):
            break
    assert not lookup.proposed(text)
    assert lookup.proposed([*text, *[3, 1, 2] * 3])


def test_nothing_is_proposed_where_wide_passes_cost_too_much():
    text = [1, 2, 3, 1, 2]
    assert PromptLookup(end=1000).proposed(text, cost=2.0)
    assert not PromptLookup(end=1000).proposed(text, cost=6.0)


def test_the_cost_of_a_wide_pass_is_measured():
    pace = Pace()
    assert 1 < pace.cost(9) < 3
    for seconds in (0.010, 0.012, 0.030):
        pace.note(1, seconds)
        pace.note(9, 5 * seconds)
    assert pace.cost(9) == pytest.approx(5, rel=0.1)
    assert pace.cost(5) == pytest.approx(3, rel=0.1)
    assert pace.cost(1) == 1
