"""The same weights as safetensors, GGUF and GGML write the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

pytest.importorskip("gguf")

from chainkit.backends.huggingface.models import HuggingFaceModel
from chainkit.backends.llama_cpp.ggml import GGMLModel
from chainkit.backends.llama_cpp.models import GGUFModel
from chainkit.base.generation import GenerationRequest
from tests.backends.huggingface import tiny as hf
from tests.backends.llama_cpp import old_files
from tests.backends.llama_cpp import tiny as gguf
from tests.backends.session_contract import tokens_of


def as_safetensors(folder: Path) -> LlamaForCausalLM:
    weights = gguf.weights(len(gguf.spm().tokens), seed=1)
    config = LlamaConfig(
        vocab_size=len(gguf.spm().tokens),
        hidden_size=gguf.WIDTH,
        intermediate_size=gguf.FF,
        num_hidden_layers=gguf.LAYERS,
        num_attention_heads=gguf.HEADS,
        num_key_value_heads=gguf.KV_HEADS,
        max_position_embeddings=2048,
        rms_norm_eps=gguf.EPSILON,
        rope_parameters={"rope_theta": gguf.ROPE_THETA, "rope_type": "default"},
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    model.load_state_dict({name: torch.from_numpy(matrix) for name, matrix in weights.items()})
    hf.save(folder, model, hf.spm())
    return model.eval()


def test_64_greedy_tokens_are_the_same_on_all_three_backends_and_in_the_raw_library(tmp_path: Path) -> None:
    raw = as_safetensors(tmp_path / "hf")
    exact = {"context_length": 256, "n_threads": 1, "flash_attention": False, "kv_type": "f32", "probe": False}
    models = [
        HuggingFaceModel(model=str(tmp_path / "hf")),
        GGUFModel(model=str(old_files.write_reference(tmp_path / "m.gguf")), **exact),
        GGMLModel(model=str(old_files.write_old(tmp_path / "m.bin")), rms_eps=gguf.EPSILON, **exact),
    ]
    prompt = models[1].get_token_ids(" <s>the cat sat on the mat and the dog")
    sessions = [model.session().append(prompt) for model in models]
    logits = [np.array(session.logits()) for session in sessions]
    np.testing.assert_allclose(logits[0], logits[1], atol=2e-3)
    assert np.array_equal(logits[1], logits[2])
    written = [tokens_of(session.generate(GenerationRequest(max_tokens=64))) for session in sessions]
    inputs = torch.tensor([prompt])
    theirs = raw.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=64, do_sample=False)
    assert written[0] == written[1] == written[2] == theirs[0, len(prompt) :].tolist()
    assert len(written[0]) == 64
