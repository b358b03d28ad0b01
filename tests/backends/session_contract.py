"""What every session must do, whichever backend it runs on: subclass it and say how sessions are made.

Wherever something could come from a cache, it is compared with a session that has never read anything.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from chainkit.base.errors import ContextOverflow
from chainkit.base.generation import GenerationRequest
from chainkit.decoding.sampler import log_softmax
from chainkit.local.lookup import PromptLookup
from chainkit.local.scheduler import Client, GenerationEnd, GenerationTask, Scheduler
from chainkit.local.threads import Cancelled

TEXT = "Once there was a small house near the sea"


def tokens_of(pieces: Any) -> list[int]:
    return [token for piece in pieces for token in piece.tokens]


class SessionContract(ABC):
    """Sessions hold `limit` tokens; logits agree within `tolerance` however they were computed."""

    limit = 128
    tolerance = 1e-3

    @abstractmethod
    def make(self) -> Any:
        """A session on an runtime that others use as well."""

    @abstractmethod
    def alone(self) -> Any:
        """A session on an runtime of its own that has read nothing."""

    def same(self, session: Any) -> None:
        """The next token is what it is for one who reads all the tokens from the start."""
        reference = self.alone().append(list(session.tokens))
        np.testing.assert_allclose(session.logits(), reference.logits(), atol=self.tolerance)

    def test_a_text_in_pieces_is_the_same_tokens_computed_once(self) -> None:
        session = self.make()
        for word in TEXT.split():
            session.append(word + " ")
            session.logits()
        assert session.counters.read + session.counters.cached == len(session.tokens)
        self.same(session)

    def test_an_empty_text_adds_nothing(self) -> None:
        session = self.make().append(TEXT)
        before = list(session.tokens)
        assert session.append("").append([]).tokens == before

    def test_generation_goes_on_from_what_it_wrote(self) -> None:
        at_once = self.make().append(TEXT)
        wanted = tokens_of(at_once.generate(GenerationRequest(max_tokens=12)))
        session = self.make().append(TEXT)
        start = len(session.tokens)
        for _ in range(3):
            list(session.generate(GenerationRequest(max_tokens=4)))
        assert session.tokens[start:] == wanted
        assert session.counters.sampled == 12
        self.same(session)

    def test_the_text_of_the_pieces_is_that_of_the_tokens(self) -> None:
        session = self.make().append(TEXT)
        pieces = list(session.generate(GenerationRequest(max_tokens=16)))
        raw = b"".join(session.vocabulary.piece(token) for token in tokens_of(pieces))
        shown = "".join(piece.text for piece in pieces)
        assert raw.decode("utf-8", "replace").rstrip("\ufffd").startswith(shown.rstrip("\ufffd"))
        assert [bool(piece.finish) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        assert pieces[-1].finish == "length"
        assert "max_tokens" in pieces[-1].detail

    def test_a_seed_gives_the_same_text_again(self) -> None:
        sampling = GenerationRequest(temperature=1.0, seed=7, max_tokens=12)
        first, second = (tokens_of(self.make().append(TEXT).generate(sampling)) for _ in range(2))
        other = tokens_of(self.make().append(TEXT).generate(GenerationRequest(temperature=1.0, seed=8, max_tokens=12)))
        assert first == second != other

    def test_log_probabilities_are_those_of_the_tokens(self) -> None:
        session = self.make().append(TEXT)
        for piece in session.generate(GenerationRequest(max_tokens=5, logprobs=3)):
            for score in piece.scores:
                reference = self.alone().append(session.tokens[: -len(piece.tokens)])
                chances = log_softmax(reference.logits())
                assert score.logprob == pytest.approx(chances[score.token], abs=self.tolerance)
                assert [chance for _, chance in score.others] == pytest.approx(
                    sorted(chances, reverse=True)[:3], abs=self.tolerance
                )

    def test_options_have_their_joint_log_probability(self) -> None:
        session = self.make().append(TEXT)
        before = list(session.tokens)
        options = [" is red", " is", " blue and red", ""]
        scores = session.score(options)
        assert session.tokens == before
        for option, score in zip(options, scores, strict=True):
            reference, total = self.alone().append(before), 0.0
            for token in session.vocabulary.tokenize(option):
                total += log_softmax(reference.logits())[token]
                reference.append([token])
            assert score == pytest.approx(total, abs=10 * self.tolerance), option
        self.same(session)

    def test_the_next_tokens_are_the_likeliest(self) -> None:
        session = self.make().append(TEXT)
        found = session.next_tokens(5)
        chances = log_softmax(session.logits())
        assert [score.token for score in found] == np.argsort(-chances, kind="stable")[:5].tolist()
        assert [score.logprob for score in found] == pytest.approx(sorted(chances, reverse=True)[:5])

    def test_a_fork_goes_its_own_way_and_reads_nothing_again(self) -> None:
        session = self.make().append(TEXT)
        session.logits()
        twin = session.fork()
        twin.append(" and the dog")
        session.append(" and the cat")
        assert twin.tokens != session.tokens
        self.same(twin)
        self.same(session)
        assert twin.counters.read + session.counters.read < len(twin.tokens) + len(session.tokens)

    def test_rewinding_forgets_and_reads_nothing_again(self) -> None:
        session = self.make().append(TEXT)
        session.logits()
        length = len(session.tokens)
        session.append(" and many more words").logits()
        read = session.counters.read
        session.rewind(length).append(" is")
        self.same(session)
        assert session.counters.read - read < length

    @pytest.mark.parametrize("length", [-1, 10_000])
    def test_one_cannot_rewind_to_what_is_not_there(self, length: int) -> None:
        with pytest.raises(ValueError, match=f"cannot rewind to {length}"):
            self.make().append(TEXT).rewind(length)

    def test_a_shared_beginning_is_read_once(self) -> None:
        first = self.make().append(TEXT)
        first.logits()
        first.close()
        second = self.make().append(TEXT).append(" is")
        self.same(second)
        assert second.counters.cached >= len(first.tokens) - 1

    def test_many_sessions_in_turn_do_not_disturb_each_other(self) -> None:
        sessions = [self.make().append(TEXT).append(f" {number}") for number in range(12)]
        for _ in range(2):
            for session in sessions:
                list(session.generate(GenerationRequest(max_tokens=2)))
        for session in sessions:
            self.same(session)

    def test_too_long_a_text_is_refused_and_says_by_how_much(self) -> None:
        session = self.make().append(TEXT)
        room = self.limit - len(session.tokens)
        session.append(session.tokens[-1:] * room)
        with pytest.raises(ContextOverflow) as caught:
            session.append("a")
        assert (caught.value.tokens, caught.value.limit) == (self.limit + 1, self.limit)

    def test_a_full_context_ends_the_text_and_says_so(self) -> None:
        session = self.make().append(TEXT)
        session.append(session.tokens[-1:] * (self.limit - 3 - len(session.tokens)))
        last = list(session.generate(GenerationRequest(max_tokens=None)))[-1]
        assert last.finish == "length"
        assert str(self.limit) in last.detail
        assert len(session.tokens) == self.limit

    def test_a_cancelled_session_stops(self) -> None:
        session = self.make().append(TEXT)
        pieces = session.generate(GenerationRequest(max_tokens=50))
        next(pieces)
        session.cancel()
        with pytest.raises(Exception, match="cancelled"):
            list(pieces)
        self.same(self.make().append(TEXT))

    # several at once

    STARTS = (TEXT, TEXT + " where", "A dog", TEXT + " where the sun", "Once there", "12 and 30", TEXT, "the")

    def settings(self) -> list[GenerationRequest]:
        return [
            GenerationRequest(temperature=number % 3 * 0.5, seed=number, max_tokens=4 + 3 * number)
            for number in range(8)
        ]

    def together(self, sessions: Any, most: int | None = None) -> list[list[int]]:
        """What generations write side by side."""
        client = Client(Scheduler(sessions[0].runtime), streaming=True, most=most)
        written = [list[int]() for _ in sessions]
        for number, (session, sampling) in enumerate(zip(sessions, self.settings(), strict=True)):
            client.submit(GenerationTask(session, session.steps(sampling), number=number))
        while client.open:
            for task, item in client.wait():
                assert not isinstance(item, Exception), item
                written[task.number] += [] if isinstance(item, GenerationEnd) else item.tokens
        return written

    @pytest.mark.parametrize("most", [None, 3])
    def test_side_by_side_each_writes_what_it_writes_alone(self, most: int | None) -> None:
        sessions = [self.make().append(start) for start in self.STARTS]
        found = self.together(sessions, most)
        for start, sampling, tokens in zip(self.STARTS, self.settings(), found, strict=True):
            assert tokens == tokens_of(self.alone().append(start).generate(sampling))
        for session in sessions:
            self.same(session)

    def test_several_need_as_many_passes_as_the_longest_and_read_what_they_share_once(self) -> None:
        start = f"{TEXT} and then {TEXT}"
        sessions = [self.make().append(start).append(f" {number}") for number in range(6)]
        runtime = sessions[0].runtime
        if runtime.parallel == 1:
            pytest.skip("this runtime computes one text at a time")
        for _ in range(3):
            answers = runtime.forward([session.request() for session in sessions])
            for session, answer in zip(sessions, answers, strict=True):
                session.receive(answer)
                session.append([int(session.logits().argmax())])
        shared = len(self.make().append(start).tokens)
        own = sum(len(session.tokens) - 1 - shared for session in sessions)
        assert sum(session.counters.read for session in sessions) <= shared + own + len(sessions)
        assert max(session.counters.passes for session in sessions) <= 3 + -(-shared // 16) + 2
        for session in sessions:
            self.same(session)

    def test_an_error_of_one_leaves_the_others_alone(self) -> None:
        good, bad, stopped = (self.make().append(TEXT) for _ in range(3))
        client = Client(Scheduler(good.runtime), streaming=True)

        def broken() -> Any:
            yield None
            raise ValueError("this one is broken")

        every = [good.steps(GenerationRequest(max_tokens=6)), broken(), stopped.steps(GenerationRequest(max_tokens=6))]
        for number, (session, steps) in enumerate(zip((good, bad, stopped), every, strict=True)):
            client.submit(GenerationTask(session, steps, number=number))
        stopped.cancel()
        news = [update for _ in range(20) if client.open for update in client.wait()]
        errors = {task.number: item for task, item in news if isinstance(item, Exception)}
        assert isinstance(errors[1], ValueError)
        assert isinstance(errors[2], Cancelled)
        pieces = [item for task, item in news if task.number == 0 and not isinstance(item, GenerationEnd)]
        tokens = tokens_of(pieces)
        assert tokens == tokens_of(self.alone().append(TEXT).generate(GenerationRequest(max_tokens=6)))

    def test_threads_meet_in_the_same_passes(self) -> None:
        scheduler = Scheduler(self.make().runtime)
        found: dict[int, list[int]] = {}

        def work(number: int) -> None:
            with closing(self.make().append(self.STARTS[number])) as session:
                task = GenerationTask(session, session.steps(self.settings()[number]))
                found[number] = tokens_of(scheduler.pieces(task) if number % 2 else scheduler.gather([task])[0])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for number, (start, sampling) in enumerate(zip(self.STARTS, self.settings(), strict=True)):
            assert found[number] == tokens_of(self.alone().append(start).generate(sampling))

    def test_who_reads_a_stream_slowly_keeps_no_other_thread_waiting(self) -> None:
        scheduler, came, found = Scheduler(self.make().runtime), threading.Event(), list[Any]()
        slow, quick = self.make().append(TEXT), self.make().append("A dog")

        def steps() -> Any:
            for number, step in enumerate(slow.steps(GenerationRequest(max_tokens=8))):
                if number == 2:
                    came.set()
                    other.join(0.2)  # it has come while this one computes, and waits
                yield step

        def work() -> None:
            came.wait()
            found.extend(scheduler.gather([GenerationTask(quick, quick.steps(GenerationRequest(max_tokens=3)))]))

        other = threading.Thread(target=work, daemon=True)
        other.start()
        stream = scheduler.pieces(GenerationTask(slow, steps()))
        read = [next(stream), next(stream)]
        other.join(20)
        assert found
        assert tokens_of(found[0]) == tokens_of(self.alone().append("A dog").generate(GenerationRequest(max_tokens=3)))
        written = tokens_of([*read, *stream])
        assert written == tokens_of(self.alone().append(TEXT).generate(GenerationRequest(max_tokens=8)))

    def test_options_of_several_texts_are_scored_in_one_pass(self) -> None:
        sessions = [self.make().append(TEXT).append(f" {number}") for number in range(3)]
        options = [" is red and blue", " is red and green", " is", " was", " the house is red"]
        tokens = [sessions[0].vocabulary.tokenize(option) for option in options]
        trees = [session.branches(tokens) for session in sessions]
        requests = [session.request(tree) for session, tree in zip(sessions, trees, strict=True)]
        for session, tree, answer in zip(sessions, trees, sessions[0].runtime.forward(requests), strict=True):
            session.receive(answer)
            scores = tree.joint(answer.logits[0], answer.logits[1:])
            assert scores == pytest.approx(self.alone().append(session.tokens).score(options), abs=10 * self.tolerance)
            self.same(session)

    def test_many_options_and_long_ones_have_their_scores(self) -> None:
        session = self.make().append("A dog")
        options = [f" {number} houses are {colour}" for number in range(12) for colour in ("red", "blue near the sea")]
        scores = session.score(options)
        for option, score in list(zip(options, scores, strict=True))[::7]:
            assert score == pytest.approx(self.alone().append("A dog").score([option])[0], abs=10 * self.tolerance)
        self.same(session.append(" ran"))

    def test_prompts_in_turn_are_never_read_twice(self) -> None:
        shared, ends = TEXT + " and", (" the dog ran to the cat", " the cat sat on the mat and the")
        read = 0
        for turn in range(6):
            session = self.make().append(shared + ends[turn % 2])
            list(session.generate(GenerationRequest(max_tokens=3)))
            session.close()
            read += session.counters.read - 3 + 1 if turn >= 2 else 0
        assert read <= 4  # the last token of each: its scores are needed

    @pytest.mark.parametrize("temperature", [0.0, 0.4])
    def test_what_is_looked_up_in_the_text_changes_no_text(self, temperature: float) -> None:
        sampling = GenerationRequest(temperature=temperature, seed=5, max_tokens=30)
        wanted = tokens_of(self.alone().append(TEXT).generate(sampling))
        session = self.make().append(TEXT)
        start = len(session.tokens)
        session.append(wanted).append(TEXT)  # the model has seen what it will write, or something else comes
        reference = self.alone().append(session.tokens)
        expected = tokens_of(reference.generate(sampling))
        session.lookup = PromptLookup(len(session.tokens) + 30)
        assert tokens_of(session.generate(sampling)) == expected
        assert session.counters.accepted <= session.counters.drafted
        self.same(session)
        session.rewind(start).append(" is")
        self.same(session)

    def test_a_text_that_repeats_itself_takes_fewer_passes(self) -> None:
        session = self.make()
        if not session.runtime.looks_ahead or getattr(session, "_draft", None):
            pytest.skip("it computes one token after the other, or another model proposes")
        script = session.vocabulary.tokenize("the cat sat on the mat " * 6)[: self.limit - 20]
        session.lookup = PromptLookup(len(script))
        session.append(script[: len(script) // 3])
        while len(session.tokens) < len(script):  # a model that always goes on with the script
            session.logits()
            session.append([script[len(session.tokens)]])
        session.logits()
        assert session.counters.passes < len(script) // 2
        self.same(session)
