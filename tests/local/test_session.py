"""Sessions: the counts of what a text costs, and what is asked of the runtime for it."""

from __future__ import annotations

import numpy as np
import pytest

from chainkit.base.errors import ContextOverflow, Unsupported
from chainkit.base.generation import GenerationRequest
from chainkit.decoding.sampler import log_softmax
from chainkit.local.lookup import Pace, PromptLookup
from chainkit.local.session import LocalSession
from chainkit.local.speculative import DraftLength
from tests.local.scripted import BOS, END, ScriptedRuntime


def text_of(session: LocalSession, **settings: object) -> str:
    return "".join(piece.text for piece in session.generate(GenerationRequest(**settings)))  # type: ignore[arg-type]


def test_what_was_read_counts_once() -> None:
    session = LocalSession(ScriptedRuntime()).append("abcdef")
    for _ in range(3):
        session.logits()
    session.append("gh").logits()
    counters = session.counters
    assert (counters.read, counters.cached, counters.passes) == (8, 0, 2)


def test_what_the_cache_had_counts_once() -> None:
    runtime = ScriptedRuntime()
    runtime.kept["tokens"] = list(b"abcd")
    session = LocalSession(runtime).append("abcdef")
    assert text_of(session, max_tokens=4) != ""
    counters = session.counters
    assert (counters.cached, counters.read, counters.sampled, counters.forced) == (4, 5, 4, 0)


def test_after_rewinding_what_is_still_there_is_not_counted_again() -> None:
    session = LocalSession(ScriptedRuntime()).append("abcdef")
    session.logits()
    session.rewind(4).append("xyz").logits()
    assert (session.counters.read, session.counters.cached) == (6 + 3, 0)
    assert session.rewind(7).tokens == list(b"abcdxyz")  # nothing to forget: what is known stays known
    calls = len(session.runtime.calls)  # type: ignore[attr-defined]
    session.logits()
    assert len(session.runtime.calls) == calls  # type: ignore[attr-defined]


@pytest.mark.parametrize("length", [-1, 4])
def test_only_what_is_there_can_be_rewound(length: int) -> None:
    with pytest.raises(ValueError, match=f"{length} tokens: the session has 3"):
        LocalSession(ScriptedRuntime()).append("abc").rewind(length)
    assert LocalSession(ScriptedRuntime()).append("abc").rewind(0).tokens == []


def test_the_last_place_of_the_context_can_be_used_and_no_more() -> None:
    runtime = ScriptedRuntime(context_length=6)
    session = LocalSession(runtime).append("abcdef")
    with pytest.raises(ContextOverflow) as caught:
        session.append("g")
    assert (caught.value.tokens, caught.value.limit) == (7, 6)
    assert session.tokens == list(b"abcdef")
    assert len(LocalSession(runtime).append("abcd").branches([[1, 2]]).tokens) == 2
    with pytest.raises(ContextOverflow) as caught:
        LocalSession(runtime).append("abcd").branches([[1], [1, 2, 3]])
    assert caught.value.tokens == 7


def test_an_empty_text_begins_with_the_first_token() -> None:
    runtime = ScriptedRuntime()
    assert LocalSession(runtime).begun().tokens == [BOS]
    assert LocalSession(runtime).append("a").begun().tokens == list(b"a")
    runtime.vocabulary.bos = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match="no token that begins one"):
        LocalSession(runtime).begun()


def test_only_the_first_text_is_cut_as_one_that_stands_alone() -> None:
    runtime = ScriptedRuntime()
    runtime.vocabulary.adds_bos = True
    assert LocalSession(runtime).append("a").append("b").tokens == [BOS, *b"ab"]


def test_scores_are_those_of_the_tokens_one_by_one() -> None:
    runtime = ScriptedRuntime()
    session = LocalSession(runtime).append("the ")
    before = list(session.tokens)
    for option, score in zip(["cat", "car", "c", ""], session.score(["cat", "car", "c", ""]), strict=True):
        total, tokens = 0.0, list(before)
        for token in option.encode():
            total += log_softmax(runtime.scores(tokens))[token]
            tokens.append(token)
        assert score == pytest.approx(total, abs=1e-5), option
    assert session.tokens == before
    assert len(runtime.calls) == 1
    assert runtime.paused[-1] is session.sequence
    assert LocalSession(runtime).append("ab").score(["c", "d"])  # single tokens need no branches
    assert runtime.calls[-1][0].branches is None


def test_the_next_tokens_come_in_order_with_their_chances() -> None:
    runtime = ScriptedRuntime()
    session = LocalSession(runtime).append("the ")
    found = session.next_tokens(3)
    chances = log_softmax(runtime.scores(session.tokens))
    assert [one.token for one in found] == np.argsort(-chances, kind="stable")[:3].tolist()
    assert [one.logprob for one in found] == pytest.approx(sorted(chances, reverse=True)[:3])
    assert runtime.paused == [session.sequence]


def test_a_fork_has_its_own_tokens_and_the_same_next_one() -> None:
    session = LocalSession(ScriptedRuntime()).append("abc")
    session.logits()
    twin = session.fork()
    assert twin.ready
    twin.append("d")
    assert (session.tokens, twin.tokens) == (list(b"abc"), list(b"abcd"))
    assert not twin.ready
    assert session.ready


def test_a_closed_session_gives_its_place_back() -> None:
    runtime = ScriptedRuntime()
    draft = LocalSession(runtime)
    session = LocalSession(runtime).drafted_by(draft, 3).append("abc")
    session.logits()
    session.close()
    assert session.sequence is None
    assert runtime.dropped == [session, draft]


def test_soft_prompts_need_a_runtime_that_takes_them_and_no_text_yet() -> None:
    with pytest.raises(Unsupported, match="soft prompts run on"):
        LocalSession(ScriptedRuntime()).begin_with(object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="text already"):
        LocalSession(ScriptedRuntime()).append("a").begin_with(None)


def test_a_generation_lets_others_have_its_place_when_it_ends_or_breaks_off() -> None:
    runtime = ScriptedRuntime()
    session = LocalSession(runtime).append("abc")
    pieces = session.generate(GenerationRequest(max_tokens=9))
    next(pieces)
    assert runtime.paused == []
    pieces.close()  # type: ignore[attr-defined]
    assert runtime.paused == [session.sequence]


SCRIPT = "one two one two one two one two one two"


def test_what_is_looked_up_is_computed_with_the_text_and_taken_where_it_is_right() -> None:
    runtime = ScriptedRuntime(SCRIPT)
    runtime.looks_ahead = True
    session = LocalSession(runtime).append("one two one two ")
    session.lookup = PromptLookup(len(SCRIPT))
    assert text_of(session, max_tokens=None) == SCRIPT[16:]
    counters = session.counters
    assert counters.accepted >= 12
    assert counters.drafted >= counters.accepted
    assert counters.passes == len(runtime.calls) <= len(SCRIPT) - 16 - counters.accepted + 1
    assert counters.sampled == len(SCRIPT) - 16


@pytest.mark.parametrize(("cost", "pays"), [(1.2, True), (9.0, False)])
def test_a_generation_looks_up_where_passes_were_measured_and_it_pays(cost: float, pays: bool) -> None:
    runtime = ScriptedRuntime(SCRIPT)
    runtime.looks_ahead, runtime.pace = True, Pace({1: 1.0, 9: cost})
    session = LocalSession(runtime).append("one two one two ")
    assert text_of(session, max_tokens=None) == SCRIPT[16:]
    assert (session.counters.accepted > 0) == pays
    assert session.lookup is None  # the next generation ends elsewhere


@pytest.mark.parametrize("hinder", ["alone", "looks_ahead"])
def test_nothing_is_looked_up_where_it_does_not_pay(hinder: str) -> None:
    runtime = ScriptedRuntime(SCRIPT)
    runtime.looks_ahead = hinder != "looks_ahead"
    session = LocalSession(runtime).append("one two one two ")
    session.lookup, session.alone = PromptLookup(len(SCRIPT)), hinder != "alone"
    assert text_of(session, max_tokens=None) == SCRIPT[16:]
    assert session.counters.drafted == 0


def test_a_draft_proposes_as_many_as_it_may_and_no_end() -> None:
    runtime, small = ScriptedRuntime(SCRIPT), ScriptedRuntime(SCRIPT)
    session = LocalSession(runtime).drafted_by(LocalSession(small), 3).append("one ")
    assert text_of(session, max_tokens=None) == SCRIPT[4:]
    asked = [request.branches for call in runtime.calls for request in call]
    assert max(len(one.inner) for one in asked if one) == 3
    assert all(END not in one.tokens for one in asked if one)
    counters = session.counters
    assert counters.drafted == counters.accepted
    assert counters.passes <= -(-(len(SCRIPT) - 4) // 4) + 1
    assert small.paused


@pytest.mark.parametrize(("small", "passes"), [(0.05, "fewer"), (3.0, "as many")])
def test_a_draft_proposes_where_it_was_measured_that_it_pays(small: float, passes: str) -> None:
    runtime, other = ScriptedRuntime(SCRIPT), ScriptedRuntime(SCRIPT)
    runtime.pace, other.pace = Pace({1: 1.0, 8: 1.7}), Pace({1: small, 8: small})
    session = LocalSession(runtime).drafted_by(LocalSession(other), 4).append("one ")
    assert text_of(session, max_tokens=None) == SCRIPT[4:]
    counters, length = session.counters, len(SCRIPT) - 4
    assert counters.passes <= length // 3 if passes == "fewer" else counters.passes >= length - 3


def test_a_draft_that_is_wrong_proposes_less_and_less_and_still_tries() -> None:
    length, large, small = DraftLength(6), Pace({1: 1.0, 8: 3.0}), Pace({1: 0.1, 8: 0.3})
    first = length.value(large, small)
    assert first >= 2
    for _ in range(8):
        length.took(0, 2)
    asked = [length.value(large, small) for _ in range(64)]
    assert (sum(asked), max(asked)) == (4, 1)
    for _ in range(12):
        length.took(2, 2)
    assert length.value(large, small) >= first


def test_a_draft_stays_inside_of_both_contexts() -> None:
    script = "x" * 50
    for large, little in ((12, 200), (200, 12)):
        runtime = ScriptedRuntime(script, context_length=large)
        small = ScriptedRuntime(script, context_length=little)
        session = LocalSession(runtime).drafted_by(LocalSession(small), 4).append("xxxx")
        assert len(text_of(session, max_tokens=20)) == min(20, large - 4)
        assert max(length for call in small.lengths for length in call) <= little


def test_a_constraint_with_what_follows_ends_where_that_begins() -> None:
    pytest.importorskip("llguidance")
    from chainkit.decoding.constraints import regex

    session = LocalSession(ScriptedRuntime("12; rest")).append("1")
    request = GenerationRequest(constraint=regex("[0-9]+"), following="; rest")
    pieces = list(session.generate(request))
    assert "".join(piece.text for piece in pieces) == "2"
    assert pieces[-1].finish == "stop"


def test_a_cancelled_session_says_so() -> None:
    session = LocalSession(ScriptedRuntime()).append("a")
    assert not session.cancelled
    session.cancel()
    assert session.cancelled
    assert session.request().cancelled()
