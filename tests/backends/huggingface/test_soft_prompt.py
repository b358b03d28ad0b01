"""Soft prompts on models of every kind, beside the library's own forward pass on vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import chainkit
from chainkit.base.errors import Unsupported
from chainkit.local.soft_prompt import SoftPrompt
from tests.backends.huggingface import tiny


def prompts(count: int) -> list[SoftPrompt]:
    random = np.random.default_rng(1)
    sizes = random.integers(1, 9, count)
    return [SoftPrompt(str(size), random.standard_normal((size, 32)).astype(np.float32)) for size in sizes]


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_scores_are_those_of_the_library_alone_and_in_a_batch(kind: str, folder: Callable[[str], str]) -> None:
    llm = chainkit.llm(f"hf:{folder(kind)}", max_tokens=8)
    model, soft = llm.loaded.model, prompts(4)
    texts = ["the cat", "the dog ran to the house near the sea", "once", "the colour of the house is red and blue"]
    for one, text in zip(soft, texts, strict=True):
        session = llm.session().begin_with(one).append(text)
        with torch.inference_mode():
            table = model.get_input_embeddings()(torch.tensor(session.tokens[session.virtual :]))
            vectors = torch.cat([torch.from_numpy(one.vectors), table])
            expected = model(inputs_embeds=vectors[None]).logits[0, -1].numpy()
        assert np.abs(session.logits() - expected).max() < 1e-3
    alone = [llm.invoke(text, soft_prompt=one) for one, text in zip(soft, texts, strict=True)]
    assert llm.batch(texts, soft_prompt=soft) == alone


def test_a_model_with_an_encoder_takes_none(folder: Callable[[str], str]) -> None:
    with pytest.raises(Unsupported, match="soft prompts are for decoders"):
        chainkit.llm(f"hf:{folder('t5')}").invoke("the cat", soft_prompt=prompts(1)[0])
