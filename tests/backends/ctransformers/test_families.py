"""The other families of 2023: their files give the numbers of the same model in transformers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainkit
from chainkit.backends.ctransformers.kinds import kind_of
from tests.backends.ctransformers import families

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

MODELS = [(kind, True) for kind in families.KINDS] + [("gpt_neox", False)]


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: f"{model[0]}-{'parallel' if model[1] else 'in-turn'}")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """The model on ctransformers, and in transformers."""
    kind, parallel = request.param
    path = families.write(tmp_path_factory.mktemp("families") / f"{kind}.bin", kind, parallel=parallel)
    assert kind_of(path) == kind
    model = chainkit.llm(f"ggml:{path}", max_tokens=24)
    yield model, families.reference(kind, parallel=parallel)
    model.unload()


def test_greedy_tokens_and_scores_are_those_of_transformers(pair: tuple[Any, Any]) -> None:
    model, reference = pair
    session = model.session("the cat sat on a blue mat")
    for _ in range(24):
        with torch.inference_mode():
            wanted = reference(torch.tensor([session.tokens])).logits[0, -1].numpy()
        found = session.logits()
        # its GELU is a table of half floats
        np.testing.assert_allclose(found, wanted, atol=4e-2)
        assert int(found.argmax()) == int(wanted.argmax())
        session.append([int(found.argmax())])


def test_a_text_that_was_taken_back_leaves_no_trace(pair: tuple[Any, Any]) -> None:
    model, reference = pair
    model.invoke("the cat sat on a mat")
    session = model.session("the cat sat")
    for _ in range(2):
        with torch.inference_mode():
            wanted = reference(torch.tensor([session.tokens])).logits[0, -1].numpy()
        np.testing.assert_allclose(session.logits(), wanted, atol=4e-2)
        session.append(" on").logits()
        session.rewind(len(session.tokens) - 2)


def test_text_comes_back_whole_and_the_same_prompt_gives_the_same_scores(pair: tuple[Any, Any]) -> None:
    model, _ = pair
    session = model.session("the cat é")
    assert session.text == "the cat é"
    first = session.logits()
    model.invoke("on a mat")
    np.testing.assert_allclose(model.session("the cat é").logits(), first, atol=1e-3)
    assert "".join(model.stream("the cat")) == model.invoke("the cat")
