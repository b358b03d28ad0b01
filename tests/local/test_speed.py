"""The speed of a local model, measured."""

from __future__ import annotations

import pytest

import chainkit
from chainkit.local.speed import WIDTHS, measure
from tests.sizing.test_speed import DEMO

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def model():
    return chainkit.llm(f"gguf:{DEMO}?context_length=256&n_threads=1")


def test_each_token_is_computed_and_none_twice(model) -> None:
    sessions = []

    def session():
        sessions.append(model.session())
        return sessions[-1]

    speed = measure(session, prompt_tokens=64, decode_tokens=8)
    assert (speed.prompt_tokens, speed.decode_tokens, tuple(speed.passes)) == (64, 8, WIDTHS)
    for one in sessions[1:]:
        # a pass for each token that is written and for each width; the prompt is one more
        assert one.counters.read == 64 + 8 + sum(WIDTHS)
        assert one.counters.passes == 1 + 8 + len(WIDTHS)
    assert speed.prompt > 0
    assert speed.cpu_decode > 0


def test_lengths_shrink_to_the_context(model) -> None:
    speed = measure(model.session, prompt_tokens=5000, decode_tokens=5000)
    assert speed.prompt_tokens + speed.decode_tokens + sum(WIDTHS) <= 256
