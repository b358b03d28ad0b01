"""A text that is read alone gives the same numbers whatever was computed before it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import chainkit
from chainkit.backends.llama_cpp import exact

LONG = "The village lay in a valley between two hills. A river ran through it, and a mill stood at its bank. " * 4
ASKED = [f"{LONG}One day", "The capital of France", f"{LONG}The miller"]


@pytest.fixture(scope="module")
def llm():
    return chainkit.llm("gguf:examples/demo_model/demo-q8_0.gguf", max_tokens=12, n_sequences=4, repeatable=True)


def _logits(llm, text):
    session = llm.session(text)
    try:
        return session.logits().copy()
    finally:
        session.close()


def test_logits_are_the_same_to_the_bit_after_batches_and_other_texts(llm):
    first = [_logits(llm, text) for text in ASKED]
    for _ in range(3):
        llm.batch([*ASKED, "Something else", "And one more", "Then a third"], max_tokens=9)
        for text, before in zip(ASKED, first, strict=True):
            assert np.array_equal(_logits(llm, text), before)


def test_holes_are_closed_without_losing_the_text_that_is_read(llm):
    sequences = llm.runtime._sequences
    llm.batch(["One", "Two and three", "Four or five of them"], max_tokens=5)
    sequences.holes = True
    read = llm.runtime.tokens_read
    session = llm.session(ASKED[0])
    session.logits()
    session.append(" and then")
    sequences.holes = True
    session.logits()
    assert not sequences.holes
    assert list(session.sequence.tokens) == list(session.tokens)
    assert llm.runtime.tokens_read - read <= len(session.tokens)
    session.close()


@pytest.mark.parametrize(("kinds", "wanted"), [({"F32", "Q4_1"}, 1), ({"F32", "Q4_K"}, 32)])
def test_blocks_of_tokens_follow_the_type_of_the_weights(kinds, wanted):
    tensors = {f"blk.0.{kind}": SimpleNamespace(type=kind) for kind in kinds}
    assert exact.rows(SimpleNamespace(header=SimpleNamespace(tensors=tensors))) == wanted
