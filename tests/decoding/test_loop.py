"""The loop, on a model that says what a script tells it to."""

from __future__ import annotations

import numpy as np
import pytest

from chainkit.base.generation import GenerationRequest
from chainkit.decoding.loop import generate

END = 256


class Bytes:
    """A vocabulary of the 256 bytes and an end."""

    def piece(self, token):
        return bytes([token]) if token < END else b""

    def is_end(self, token):
        return token == END


class Script:
    """Says a text byte by byte, then ends."""

    def __init__(self, text: str, context_length: int = 10_000) -> None:
        self.script = [*text.encode(), END]
        self.tokens: list[int] = []
        self.vocabulary = Bytes()
        self.context_length = context_length
        self.forced_tokens = 0

    def push(self, tokens, *, forced):
        self.tokens.extend(tokens)
        self.forced_tokens += len(tokens) if forced else 0

    def logits(self):
        logits = np.full(END + 1, -5.0, np.float32)
        logits[self.script[min(len(self.tokens), len(self.script) - 1)]] = 5.0
        return logits


class Only:
    """A constraint: exactly this text; its bytes up to `free` are forced."""

    def __init__(self, text: str, free: int) -> None:
        self.text, self.free, self.at = text.encode(), free, 0

    def forced(self):
        return list(self.text[self.at : self.free]) if self.at < self.free else []

    def allowed(self, logits):
        masked = np.full_like(logits, -np.inf)
        masked[self.text[self.at]] = logits[self.text[self.at]]
        return masked

    def permits(self, token):
        return token == self.text[self.at]

    def closes(self, token):
        return False

    def openings(self, token):
        return []

    def ending(self, room):
        return []

    def fits(self, text):
        return self.text.startswith(text.encode())

    def accept(self, tokens):
        for token in tokens:
            assert token == self.text[self.at]
            self.at += 1

    @property
    def complete(self):
        return self.at == len(self.text)


def text_of(pieces):
    return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize("text", ["plain", "漢字🙂é", "a\u200d🇩🇪b", ""])
def test_characters_of_several_tokens_stream_whole(text):
    pieces = list(generate(Script(text), GenerationRequest(max_tokens=None)))
    assert text_of(pieces) == text
    assert "\ufffd" not in text_of(pieces)
    assert pieces[-1].finish == "eos"


def test_half_a_character_at_the_end_is_left_out():
    pieces = list(generate(Script("a漢"), GenerationRequest(max_tokens=3)))
    assert text_of(pieces) == "a"
    assert (pieces[-1].finish, pieces[-1].detail) == ("length", "max_tokens=3 is reached")


def test_bytes_that_are_no_text_are_marked():
    script = Script("")
    script.script = [0xFF, ord("a"), END]
    assert text_of(generate(script, GenerationRequest())) == "\ufffda"


@pytest.mark.parametrize("stop", ["lo w", "漢", "d"])
def test_a_stop_text_over_several_tokens_never_leaks(stop):
    text = "hello world 漢字"
    pieces = list(generate(Script(text), GenerationRequest(stop=(stop, "never"))))
    assert text_of(pieces) == text[: text.index(stop)]
    assert pieces[-1].finish == "stop"


def test_what_only_looked_like_a_stop_text_is_shown():
    assert text_of(generate(Script("hello wor"), GenerationRequest(stop=("world",)))) == "hello wor"


def test_the_end_of_the_context_ends_the_text():
    pieces = list(generate(Script("hello", context_length=3), GenerationRequest(max_tokens=None)))
    assert text_of(pieces) == "hel"
    assert pieces[-1].detail == "the context of 3 tokens is full"


def test_forced_tokens_come_in_one_step_and_are_not_sampled():
    script = Script("xxxxxxx")
    pieces = list(generate(script, GenerationRequest(), Only("hello", free=3)))
    assert text_of(pieces) == "hello"
    assert pieces[0].forced
    assert pieces[0].tokens == tuple(b"hel")
    assert script.forced_tokens == 3
    assert pieces[-1].finish == "complete"


def test_a_limit_cuts_forced_tokens_too():
    pieces = list(generate(Script("x" * 9), GenerationRequest(max_tokens=2), Only("hello", free=5)))
    assert text_of(pieces) == "he"
    assert pieces[-1].finish == "length"


def test_logprobs_name_the_likeliest_rivals():
    piece = next(generate(Script("a"), GenerationRequest(logprobs=2)))
    (score,) = piece.scores
    assert (score.text, score.others[0][0]) == ("a", "a")
    assert -0.1 < score.logprob == score.others[0][1] <= 0
    assert len(score.others) == 2


def test_without_asking_there_are_no_logprobs():
    assert all(piece.scores == () for piece in generate(Script("ab"), GenerationRequest()))


def test_forced_tokens_stay_inside_of_the_context():
    script = Script("x" * 9, context_length=5)
    script.tokens = [120, 120]
    pieces = list(generate(script, GenerationRequest(max_tokens=None), Only("hello", free=5)))
    assert (text_of(pieces), len(script.tokens)) == ("hel", 5)
    assert pieces[-1].detail == "the context of 5 tokens is full"


def test_a_stop_text_counts_where_the_constraint_allows_the_text_before_it():
    class Even(Only):
        def fits(self, text):
            return len(text) % 2 == 0

    pieces = list(generate(Script(""), GenerationRequest(stop=("l",)), Even("heallo lo", free=0)))
    assert (text_of(pieces), pieces[-1].stop_text) == ("heal", "l")


def test_a_regular_expression_stops_at_its_first_match_and_is_said():
    request = GenerationRequest(stop_regex=("[0-9]+", "w.r"), max_tokens=None)
    pieces = list(generate(Script("hello world 42"), request))
    assert (text_of(pieces), pieces[-1].finish, pieces[-1].stop_text) == ("hello ", "stop", "wor")
    assert all(not piece.text for piece in pieces[:-1])
    assert text_of(generate(Script("hello"), request)) == "hello"


def test_what_repeats_the_text_before_is_not_shown_and_stops_nothing():
    from chainkit.decoding.loop import steps

    pieces = [piece for piece in steps(Script("hello"), GenerationRequest(stop=("he",)), known=b"hel") if piece]
    assert text_of(pieces) == "lo"
