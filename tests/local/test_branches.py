"""Options as a tree: each beginning once, and scores that add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.decoding.sampler import log_softmax
from chainkit.local.branches import Branches
from chainkit.local.lookup import WIDTH, Pace, PromptLookup, best_length


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


def steep(tokens: int) -> float:
    return 1 + 0.5 * (tokens - 1)


def test_a_text_that_goes_on_otherwise_than_before_ends_proposals_until_it_repeats_itself():
    lookup, text = PromptLookup(end=1000), [1, 2, 3, 1, 2]
    assert lookup.proposed(text, steep)
    for number in range(4, 9):
        text += [number, 1, 2]
        assert (lookup.proposed(text, steep) == []) == (number > 4), number
    text += [8, 1, 2] * 4
    assert lookup.proposed(text, steep)[:2] == [8, 1]


def test_nothing_is_proposed_where_wide_passes_cost_too_much():
    text = [1, 2, 3, 1, 2]
    assert PromptLookup(end=1000).proposed(text, lambda tokens: 1 + (tokens - 1) / 8)
    assert not PromptLookup(end=1000).proposed(text, lambda tokens: float(tokens))


def test_as_many_are_proposed_as_bring_most_text_in_the_time():
    def speed(chance, cost, count, each=0.0):
        return sum(chance**n for n in range(count + 1)) / (cost(count + 1) + count * each)

    def shelf(tokens: int) -> float:  # kernels are made for so many at once
        return 1.0 if tokens <= 4 else 2.0

    for cost in (steep, shelf, lambda tokens: tokens**0.5):
        for chance in (0.3, 0.7, 0.95):
            for each in (0.0, 0.2):
                length = best_length(chance, cost, 8, each)
                found = [speed(chance, cost, count, each) for count in range(9)]
                assert found[length] == max(found) or (length == 0 and max(found) <= 1.05)
    assert best_length(0.95, shelf, 2) == 2


def test_the_cost_of_a_wide_pass_is_measured():
    pace = Pace()
    assert 1 < pace.cost(9) < 3
    for seconds in (0.010, 0.012, 0.030):
        pace.note(1, seconds)
        pace.note(9, 5 * seconds)
    assert pace.cost(9) == pytest.approx(5, rel=0.1)
    assert pace.cost(5) == pytest.approx(3, rel=0.1)
    assert pace.cost(1) == 1


def test_what_was_measured_before_stays_and_what_lies_between_is_reckoned():
    pace = Pace({1: 0.010, 2: 0.014, 8: 0.038, 16: 0.070})
    pace.note(2, 1.0)
    assert pace.measured
    assert pace.cost(2) == pytest.approx(1.4)
    assert pace.cost(5) == pytest.approx(2.6)
    assert pace.cost(32) == pytest.approx(13.4)


def test_the_cost_beyond_the_widest_measured_pass_follows_the_last_slope():
    assert Pace({1: 1.0, 3: 2.0}).cost(5) == pytest.approx(3.0)
    assert Pace({1: 1.0, 2: 1.0, 4: 2.0}).cost(6) == pytest.approx(3.0)


def test_passes_wider_than_a_proposal_are_not_timed_and_measured_costs_stay():
    pace = Pace()
    pace.note(1, 1.0)
    pace.note(WIDTH + 2, 100.0)
    unmeasured = pace.cost(WIDTH + 1)
    assert unmeasured < 3
    pace.note(WIDTH + 1, 4.0)
    assert pace.cost(WIDTH + 1) == pytest.approx(4.0)
    pace.note(WIDTH + 2, 100.0)
    assert pace.cost(WIDTH + 2) < 5
    measured = Pace({1: 1.0, 9: 2.0})
    measured.note(1, 0.5)
    measured.note(9, 1.0)
    assert measured.cost(9) == pytest.approx(2.0)
    assert measured.single == 1.0
