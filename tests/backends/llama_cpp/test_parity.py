"""A GGUF model and the same weights in transformers: equal tokens, equal logits."""

import numpy as np
import pytest

from chainkit.backends.llama_cpp.models import GGUFModel
from tests.backends.llama_cpp import tiny

pytestmark = pytest.mark.slow  # importing torch alone takes seconds

TEXTS = [
    "the cat sat on the mat",
    "The colour of the house is red. 12 and 30 are 42.",
    "  two spaces\n\n\tand a tab ",
    "it's WE'LL 3.14 x=y+1;",
    "漢字 🙂 \u200d é",
    "<|im_start|>user\nhi<|im_end|>",
]


@pytest.fixture(scope="module")
def reference():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=len(tiny.bpe().tokens),
        hidden_size=tiny.WIDTH,
        intermediate_size=tiny.FF,
        num_hidden_layers=tiny.LAYERS,
        num_attention_heads=tiny.HEADS,
        num_key_value_heads=tiny.KV_HEADS,
        max_position_embeddings=tiny.CONTEXT,
        rms_norm_eps=tiny.EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": tiny.ROPE_THETA},
        tie_word_embeddings=False,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    weights = {name: torch.from_numpy(matrix) for name, matrix in tiny.weights(len(tiny.bpe().tokens)).items()}
    model.load_state_dict(weights)
    return model


@pytest.fixture
def exact(bpe_model):
    return GGUFModel(model=str(bpe_model), kv_type=tiny.KV, flash_attention=False)


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_the_tokenizer(exact, text):
    assert exact.runtime.vocabulary.tokenize(text, special=True) == tiny.bpe_tokenizer().encode(text).ids


@pytest.mark.parametrize("text", TEXTS[:5])
def test_logits_are_those_of_transformers(exact, reference, text):
    session = exact.session(text)
    import torch

    with torch.no_grad():
        wanted = reference(torch.tensor([session.tokens])).logits[0, -1].numpy()
    assert np.abs(session.logits() - wanted).max() < 2e-4


def test_greedy_tokens_are_those_of_transformers(exact, reference):
    import torch

    from chainkit.base.generation import GenerationRequest

    session = exact.session("the cat sat on")
    start = len(session.tokens)
    list(session.generate(GenerationRequest(max_tokens=48)))
    prompt = torch.tensor([session.tokens[:start]])
    wanted = reference.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=48,
        do_sample=False,
        eos_token_id=2,
        pad_token_id=0,
    )
    assert session.tokens == wanted[0].tolist()[: len(session.tokens)]
