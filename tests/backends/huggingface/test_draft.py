"""A smaller draft model makes a text come in fewer passes, and changes nothing of it."""

from __future__ import annotations

import pytest
import torch

import chainkit
from chainkit.backends.huggingface.models import HuggingFaceModel
from chainkit.base.errors import Unsupported
from chainkit.base.generation import GenerationRequest
from tests.backends.huggingface import tiny

PROMPTS = ["the cat sat", "What is the colour", "12 and 30"]


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Nearly the tiny Llama: a draft that is often right."""
    model = tiny.causal("llama")
    torch.manual_seed(4)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.1 * weights.std() * torch.randn_like(weights) if weights.dim() == 2 else 0
    return tiny.save(tmp_path_factory.mktemp("draft") / "near", model, tiny.bpe())


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0, "seed": 3}])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_text_is_that_of_the_model_alone_token_for_token(folder, near, prompt, settings):
    model = folder("llama")
    wanted = HuggingFaceModel(model=model).session(prompt)
    found = HuggingFaceModel(model=model, draft=near).session(prompt)
    sampling = GenerationRequest(max_tokens=40, **settings)
    assert [p.tokens for p in found.generate(sampling)] == [p.tokens for p in wanted.generate(sampling)]
    assert 0 < found.counters.accepted <= found.counters.drafted
    assert found.counters.passes < wanted.counters.passes


def test_usage_says_how_many_drafts_were_taken(folder, near):
    chat = chainkit.chat_model(f"hf:{folder('llama')}?draft={near}&draft_tokens=3&max_tokens=20")
    details = chat.invoke("What is the colour of the house?").usage_metadata["output_token_details"]
    assert details["accepted_prediction"] > 0


def test_a_model_that_cannot_compute_branches_with_its_text_is_right_too(folder):
    model = folder("mistral")  # its window is shorter than the text
    wanted = HuggingFaceModel(model=model, max_tokens=30).invoke(PROMPTS[0])
    assert HuggingFaceModel(model=model, draft=model, max_tokens=30).invoke(PROMPTS[0]) == wanted


def test_a_draft_with_other_tokens_is_refused(folder):
    with pytest.raises(Unsupported, match="same family"):
        HuggingFaceModel(model=folder("llama"), draft=folder("spm")).invoke("the")
