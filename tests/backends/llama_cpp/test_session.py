"""Sessions: a text in pieces is the text at once, and every number is that of a fresh pass."""

import math

import numpy as np
import pytest

from chainkit.backends.llama_cpp.models import GGUFModel
from chainkit.base.errors import ContextOverflow
from chainkit.base.generation import GenerationRequest
from chainkit.decoding.sampler import log_softmax
from tests.backends.llama_cpp import tiny


@pytest.fixture
def exact(any_model):
    return GGUFModel(model=str(any_model), kv_type=tiny.KV, flash_attention=False)


def fresh_logits(made, tokens):
    """From a context that has read nothing yet."""
    from chainkit.backends.llama_cpp.runtime import LlamaRuntime, LlamaSettings
    from chainkit.local.session import LocalSession

    settings = LlamaSettings(kv_type=tiny.KV, flash_attention=False, context_length=256)
    return LocalSession(LlamaRuntime(made.runtime.weights, settings), tokens).logits()


def tolerance(made):
    return 0.35 if "q8" in made.model else 1e-3  # q8_0 rounds what goes into each product


def test_a_text_in_pieces_is_the_text_at_once(exact):
    session = exact.session("the cat")
    for piece in (" sat", " on the", " mat"):
        session.logits()
        session.append(piece)
    assert np.abs(session.logits() - fresh_logits(exact, session.tokens)).max() < tolerance(exact)


def test_rewinding_forgets_and_reads_nothing_twice(exact):
    session = exact.session("the cat sat on the mat")
    session.logits()
    read, keep = session.counters.read, len(session.tokens) - 2
    session.rewind(keep)
    session.append(exact.get_token_ids(" dog"))
    wanted = fresh_logits(exact, session.tokens)
    assert np.abs(session.logits() - wanted).max() < tolerance(exact)
    assert session.counters.read - read == len(session.tokens) - keep


def test_a_rewound_session_does_not_remember_the_logits_of_another_text(exact):
    session = exact.session("the cat sat")
    before = session.logits()
    last = session.tokens[-1]
    session.rewind(len(session.tokens) - 1).append([last - 1])
    assert np.abs(session.logits() - before).max() > 0.1


@pytest.mark.parametrize("length", [-1, 10**6])
def test_rewinding_to_where_nothing_is_is_refused(exact, length):
    with pytest.raises(ValueError, match="cannot rewind"):
        exact.session("the").rewind(length)


def test_forks_go_their_own_ways_and_share_what_was_read(exact):
    session = exact.session("the cat sat on the mat and the dog ran")
    session.logits()
    forks = [session.fork() for _ in range(3)]
    texts = [" red", " blue", " house"]
    for fork, text in zip(forks, texts, strict=True):
        fork.append(exact.get_token_ids(text))
    for fork in forks:
        assert np.abs(fork.logits() - fresh_logits(exact, fork.tokens)).max() < tolerance(exact)
        assert fork.counters.read <= 6
        assert fork.counters.cached >= len(session.tokens) - 1
    assert len(session.tokens) < len(forks[0].tokens)


def test_more_forks_than_slots_still_come_out_right(exact):
    session = exact.session("the cat sat on")
    forks = [session.fork().append([token]) for token in range(40, 55)]
    found = [fork.logits().copy() for fork in forks]
    for fork, logits in list(zip(forks, found, strict=True))[::5]:
        assert np.abs(logits - fresh_logits(exact, fork.tokens)).max() < tolerance(exact)


def test_scores_are_the_sums_of_log_probabilities_one_by_one(exact):
    session = exact.session("What is the colour of")
    options = [" red", " the house", " blue and red", " 42"]
    start = list(session.tokens)
    for option, score in zip(options, session.score(options), strict=True):
        tokens, total = list(start), 0.0
        for token in session.vocabulary.tokenize(option):
            total += log_softmax(fresh_logits(exact, tokens))[token]
            tokens.append(token)
        assert score == pytest.approx(total, abs=max(0.01, 3 * tolerance(exact)))
    assert session.tokens == start


def test_next_tokens_are_the_likeliest_ones(exact):
    session = exact.session("the cat")
    found = session.next_tokens(5)
    chances = log_softmax(fresh_logits(exact, session.tokens))
    assert [token.logprob for token in found] == sorted((token.logprob for token in found), reverse=True)
    assert found[0].logprob == pytest.approx(chances.max(), abs=2 * tolerance(exact))
    whole = session.next_tokens(session.vocabulary.size)
    assert sum(math.exp(token.logprob) for token in whole) == pytest.approx(1.0)


def test_what_is_generated_becomes_part_of_the_session(exact):
    session = exact.session("the cat")
    start = len(session.tokens)
    pieces = list(session.generate(GenerationRequest(max_tokens=9)))
    assert session.tokens[start:] == [token for piece in pieces for token in piece.tokens]
    assert session.counters.sampled == len(session.tokens) - start


def test_there_is_no_room_behind_the_end_of_the_context(any_model):
    session = GGUFModel(model=str(any_model), context_length=16).session("the")
    with pytest.raises(ContextOverflow, match="16"):
        session.append("the cat sat on the mat " * 9)
    assert len(session.tokens) <= 2


def test_a_cancelled_session_stops_before_it_computes(exact):
    from chainkit.local.threads import Cancelled

    session = exact.session("the cat")
    session.cancel()
    with pytest.raises(Cancelled):
        list(session.generate(GenerationRequest()))


def test_nothing_can_be_continued_only_where_a_first_token_exists(spm_model):
    session = GGUFModel(model=str(spm_model)).session()
    assert len(list(session.generate(GenerationRequest(max_tokens=3)))) == 4
    assert session.tokens[0] == session.vocabulary.bos


def test_text_that_is_put_behind_another_gets_no_space_of_its_own(any_model):
    session = GGUFModel(model=str(any_model)).session("the cat")
    for piece in (" sat", "ting", "\nWhat is", " the colour", "?", "  42", "🙂"):
        session.append(piece)
    assert session.text == "the cat satting\nWhat is the colour?  42🙂"
