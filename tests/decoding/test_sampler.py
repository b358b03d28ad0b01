"""Sampling: the settings mean what they say."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chainkit.base.errors import ChainkitError
from chainkit.base.generation import GenerationRequest
from chainkit.decoding import sampler
from chainkit.decoding.sampler import Sampler, distribution, log_softmax, penalised

LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.1], np.float32))


def test_temperature_zero_takes_the_likeliest_token():
    assert Sampler(GenerationRequest(temperature=0)).pick(LOGITS) == 0


def test_the_same_seed_draws_the_same_tokens():
    logits = np.zeros(50, np.float32)
    first, second = (Sampler(GenerationRequest(temperature=1, seed=7)) for _ in range(2))
    drawn = [first.pick(logits) for _ in range(20)]
    assert drawn == [second.pick(logits) for _ in range(20)]
    assert len(set(drawn)) > 5


def test_no_seed_draws_afresh():
    logits = np.zeros(50_000, np.float32)
    first, second = (Sampler(GenerationRequest(temperature=1)).pick(logits) for _ in range(2))
    assert first != second


def test_frequencies_follow_the_chances():
    sampler = Sampler(GenerationRequest(temperature=1, seed=0))
    drawn = np.bincount([sampler.pick(LOGITS) for _ in range(4000)], minlength=4) / 4000
    assert np.allclose(drawn, [0.5, 0.25, 0.15, 0.1], atol=0.03)


def test_top_k_keeps_the_k_likeliest():
    candidates, chances = distribution(LOGITS, GenerationRequest(temperature=1, top_k=2))
    assert candidates.tolist() == [0, 1]
    assert np.allclose(chances, [2 / 3, 1 / 3])


def test_top_p_keeps_the_smallest_set_that_reaches_the_share():
    assert distribution(LOGITS, GenerationRequest(temperature=1, top_p=0.7))[0].tolist() == [0, 1]
    assert distribution(LOGITS, GenerationRequest(temperature=1, top_p=0.01))[0].tolist() == [0]


def test_min_p_is_relative_to_the_likeliest():
    assert distribution(LOGITS, GenerationRequest(temperature=1, min_p=0.29))[0].tolist() == [0, 1, 2]


def test_cuts_look_at_the_chances_before_temperature():
    assert distribution(LOGITS, GenerationRequest(temperature=50, top_p=0.7))[0].tolist() == [0, 1]


def test_tokens_that_are_not_allowed_are_never_drawn():
    logits = LOGITS.copy()
    logits[[0, 2]] = -np.inf
    sampler = Sampler(GenerationRequest(temperature=5, seed=1))
    assert {sampler.pick(logits) for _ in range(200)} == {1, 3}


def test_repeat_penalty_lowers_tokens_seen_before_and_leaves_the_logits_alone():
    logits = np.array([2.0, -1.0, 1.9], np.float32)
    assert penalised(logits, [0, 1, 0], 2.0).tolist() == pytest.approx([1.0, -2.0, 1.9])
    assert logits.tolist() == pytest.approx([2.0, -1.0, 1.9])
    assert Sampler(GenerationRequest(repeat_penalty=2.0)).pick(logits, [0]) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_are_an_error(bad):
    with pytest.raises(ChainkitError, match="damaged"):
        Sampler(GenerationRequest()).pick(np.array([1.0, bad], np.float32))


def test_log_softmax_sums_to_one():
    assert np.exp(log_softmax(LOGITS * 3 + 100)).sum() == pytest.approx(1.0)


_ROUNDING = 1e-6  # the chances are summed in float32


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=3000),
    st.floats(0.01, 1.0),
    st.integers(0, 50),
)
@example(values=[15.0, 14.75, -2.0, -3.0], share=0.9999999999999999, top_k=0)
def test_the_fast_cut_agrees_with_sorting_everything(values, share, top_k):
    logits = np.array(values, np.float32)
    candidates, _ = distribution(logits, GenerationRequest(temperature=1, top_p=share, top_k=top_k))
    order = np.lexsort((np.arange(len(logits)), -logits))[: top_k or len(logits)]
    assert candidates.tolist() == order[: len(candidates)].tolist()
    if share == 1.0:
        assert len(candidates) == len(order)
        return
    mass = np.exp(logits[order].astype(np.float64) - logits.max())
    reached = np.cumsum(mass / mass.sum())
    assert reached[len(candidates) - 1] >= share - _ROUNDING
    assert len(candidates) == 1 or reached[len(candidates) - 2] <= share + _ROUNDING


@given(
    st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=40, unique=True),
    st.integers(0, 6),
    st.sampled_from([1.0, 0.9, 0.5]),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    st.sampled_from([0.3, 1.0, 2.0]),
)
def test_the_candidates_of_any_settings_are_those_of_brute_force(values, top_k, top_p, min_p, temperature):
    logits = np.array(values, np.float32)
    request = GenerationRequest(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    left = sorted(range(len(values)), key=lambda token: -values[token])[: top_k or len(values)]
    mass = np.exp(np.array([values[token] for token in left]) - max(values))
    if top_p < 1:
        left = left[: int(np.searchsorted(np.cumsum(mass) / mass.sum(), top_p)) + 1]
    left = [token for token in left if values[token] >= max(values) + (np.log(min_p) if min_p else -np.inf)]
    candidates, chances = distribution(logits, request)
    assert candidates.tolist() == left
    expected = np.exp((logits[left].astype(np.float64) - logits.max()) / temperature)
    np.testing.assert_allclose(chances, expected / expected.sum(), rtol=1e-5)
    assert Sampler(request).cuts == (top_k > 1 or top_p < 1 or min_p > 0)
    if top_k == 1:
        assert Sampler(request).pick(logits) == int(logits.argmax())


def test_nothing_cuts_at_temperature_zero():
    assert not Sampler(GenerationRequest(top_p=0.5, min_p=0.5, top_k=3)).cuts
    assert Sampler(GenerationRequest(top_p=0.5, min_p=0.5, top_k=3)).pick(LOGITS) == 0


def test_only_settings_that_cut_at_a_temperature_cut() -> None:
    assert Sampler(GenerationRequest(temperature=0.5, min_p=0.1)).cuts
    assert Sampler(GenerationRequest(temperature=0.5, top_p=0.9)).cuts
    assert Sampler(GenerationRequest(temperature=0.5, top_k=2)).cuts
    assert not Sampler(GenerationRequest(temperature=0.5)).cuts
    assert not Sampler(GenerationRequest(temperature=0, top_k=2, top_p=0.9, min_p=0.1)).cuts


def test_the_noise_of_a_token_is_that_of_the_hash_it_is_made_from() -> None:
    def murmur(token: int, key: int) -> float:  # fmix32 in whole numbers
        mixed = (token * 0x9E3779B9 + key) % 2**32
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            mixed ^= mixed >> shift
            mixed = mixed * factor % 2**32
        mixed ^= mixed >> 16
        return -math.log1p(-(mixed + 0.5) / 2**32)

    tokens = np.arange(0, 50_000, 97)
    for key in (0, 7, 2**32 - 1):
        wanted = [murmur(int(token), key) for token in tokens]
        assert sampler._exponential(tokens, key) == pytest.approx(wanted, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.7, 2.0])
def test_tokens_are_drawn_as_often_as_their_chances_at_the_temperature_say(temperature: float) -> None:
    logits = np.array([0.0, 1.0, 2.0, -1.0], np.float32)
    drawing = Sampler(GenerationRequest(temperature=temperature, seed=3))
    drawn = np.bincount([drawing.pick(logits) for _ in range(4000)], minlength=4) / 4000
    chances = np.exp(logits / temperature)
    assert drawn == pytest.approx(chances / chances.sum(), abs=0.03)
