"""What a model sees, on both kinds of local backend, against the library's own forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import HumanMessage

pytest.importorskip("torch")
pytest.importorskip("transformers")

from chainkit.backends.huggingface.models import HuggingFaceChat, HuggingFaceModel
from chainkit.backends.llama_cpp.chat import GGUFChat
from chainkit.base.errors import Unsupported
from chainkit.chains.counting import context_length
from tests.backends.huggingface.conftest import folder  # noqa: F401 - a fixture
from tests.backends.llama_cpp.conftest import DEMO

TEXT = "the cat sat on the"


@pytest.fixture(scope="module")
def model(folder: Callable[[str], str]) -> HuggingFaceModel:  # noqa: F811
    return HuggingFaceModel(model=folder("llama"))


def softmax(model: Any, temperature: float = 1.0) -> np.ndarray:
    import torch

    loaded = model.loaded
    ids = loaded.vocabulary.tokenize(TEXT, whole=True)
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([ids])).logits[0, -1].double().numpy() / temperature
    chances = np.exp(logits - logits.max())
    return chances / chances.sum()


def test_chances_are_those_of_the_library(model: HuggingFaceModel) -> None:
    wanted = softmax(model)
    found = model.next_tokens(TEXT, 5)
    assert [one.id for one in found] == (-wanted).argsort(kind="stable")[:5].tolist()
    assert [one.chance for one in found] == pytest.approx(np.sort(wanted)[::-1][:5].tolist(), rel=1e-4)
    assert [one.sampled for one in found] == [None] * 5
    assert [np.exp(one.logprob) for one in found] == pytest.approx([one.chance for one in found])


def test_chances_after_temperature_are_those_of_the_library(model: HuggingFaceModel) -> None:
    wanted = softmax(model, temperature=2.0)
    for one in model.next_tokens(TEXT, 5, temperature=2.0):
        assert one.sampled == pytest.approx(wanted[one.id], rel=1e-4)


def test_cuts_leave_all_chances_to_what_is_kept(model: HuggingFaceModel) -> None:
    found = model.next_tokens(TEXT, 400, top_k=3)
    assert [bool(one.sampled) for one in found] == [True] * 3 + [False] * (len(found) - 3)
    assert sum(one.sampled or 0 for one in found) == pytest.approx(1)
    assert [one.sampled for one in model.next_tokens(TEXT, 2, temperature=0)] == [1.0, 0.0]


def test_the_bytes_of_the_tokens_are_the_text(model: HuggingFaceModel) -> None:
    text = "the cat, née \U0001f408\n"
    cut = model.tokens(text)
    assert b"".join(token.data for token in cut) == text.encode()
    assert [token.id for token in cut] == model.loaded.vocabulary.tokenize(text, whole=True)


def test_of_messages_a_chat_model_shows_its_template_too(folder: Callable[[str], str]) -> None:  # noqa: F811
    chat = HuggingFaceChat(model=folder("llama"), chat_template="chatml")
    message = [HumanMessage("the cat")]
    assert [token.id for token in chat.tokens(message)] == chat.conversation.tokens(message)
    assert len(chat.tokens(message)) > len(chat.tokens("the cat"))
    assert len(chat.next_tokens(message, 4)) == 4


def test_a_model_that_continues_text_reads_no_messages(model: HuggingFaceModel) -> None:
    with pytest.raises(TypeError, match="reads a text and no list"):
        model.tokens([HumanMessage("hi")])


def test_a_model_with_an_encoder_shows_its_tokens_and_no_next_ones(folder: Callable[[str], str]) -> None:  # noqa: F811
    model = HuggingFaceModel(model=folder("t5"))
    assert model.tokens("the cat")
    with pytest.raises(Unsupported):
        model.next_tokens("the cat")


@pytest.mark.parametrize(("arguments", "reason"), [((0,), "k must be"), ((-1,), "k must be")])
def test_a_count_that_makes_no_sense_is_refused(model: HuggingFaceModel, arguments: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        model.next_tokens(TEXT, *arguments)
    with pytest.raises(ValueError, match="top_p"):
        model.next_tokens(TEXT, 1, top_p=2.0)


def test_a_model_knows_how_much_it_can_read_and_others_ask_it(model: HuggingFaceModel) -> None:
    assert model.effective_context_length == model.loaded.model.config.max_position_embeddings == context_length(model)
    assert context_length(HuggingFaceModel(model=model.model, context_length=16)) == 16
    small = GGUFChat(model=str(DEMO), context_length=64)
    assert small.effective_context_length == context_length(small) == 64
    assert context_length(GGUFChat(model=small.model)) == 2048  # not what is assumed of models that do not say
