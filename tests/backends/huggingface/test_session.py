"""Sessions on transformers models keep the contract, and write what `model.generate` writes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chainkit.backends.huggingface.loading import Loading, load
from chainkit.backends.huggingface.runtime import TransformersRuntime
from chainkit.base.generation import GenerationRequest
from chainkit.local.session import LocalSession
from tests.backends.huggingface import tiny
from tests.backends.session_contract import TEXT, SessionContract, tokens_of

Folder = Callable[[str], str]


class TransformersContract(SessionContract):
    kind: str

    @pytest.fixture(autouse=True)
    def _runtime(self, folder: Folder) -> None:
        self.loaded = load(folder(self.kind), Loading())
        self.runtime = TransformersRuntime(self.loaded, context_length=self.limit, n_batch=16)

    def make(self) -> LocalSession:
        return LocalSession(self.runtime)

    def alone(self) -> LocalSession:
        return LocalSession(TransformersRuntime(self.loaded, context_length=self.limit))


class TestLlama(TransformersContract):
    kind = "llama"


class TestLlama2Vocabulary(TransformersContract):
    kind = "spm"


class TestGPT2(TransformersContract):
    kind = "gpt2"


class TestBloom(TransformersContract):
    kind = "bloom"


class TestQwen3(TransformersContract):
    kind = "qwen3"


class TestMistralWithAFullWindow(TransformersContract):
    """Its window of 16 tokens is shorter than the texts; all is kept nevertheless, so that a text can be wound back."""

    kind = "mistral"


@pytest.mark.parametrize("kind", [*tiny.KINDS, "spm"])
@pytest.mark.parametrize("text", ["a", TEXT])
def test_greedy_text_is_that_of_generate(folder: Folder, kind: str, text: str) -> None:
    loaded = load(folder(kind), Loading())
    session = LocalSession(TransformersRuntime(loaded, n_batch=7)).append(text)
    prompt = torch.tensor([session.tokens])
    ours = tokens_of(session.generate(GenerationRequest(max_tokens=48)))
    theirs = loaded.model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=48, do_sample=False, pad_token_id=0
    )[0, prompt.shape[1] :].tolist()
    assert ours == [token for token in theirs if not loaded.vocabulary.is_end(token)]
    assert len(ours) > 8


def test_logits_are_those_of_one_full_pass(folder: Folder) -> None:
    loaded = load(folder("llama"), Loading())
    session = LocalSession(TransformersRuntime(loaded, n_batch=3)).append(TEXT)
    with torch.inference_mode():
        whole = loaded.model(torch.tensor([session.tokens])).logits[0, -1].numpy()
    np.testing.assert_allclose(session.logits(), whole, atol=1e-4)


def test_a_failed_computation_leaves_nothing_half_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(folder("llama"), Loading())
    runtime = TransformersRuntime(loaded, n_batch=8)
    session = LocalSession(runtime).append(TEXT)
    session.logits()
    real = loaded.model.lm_head.forward
    monkeypatch.setattr(loaded.model.lm_head, "forward", lambda _: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        session.append(" is red").logits()
    monkeypatch.setattr(loaded.model.lm_head, "forward", real)
    alone = LocalSession(TransformersRuntime(loaded)).append(session.tokens)
    np.testing.assert_allclose(session.logits(), alone.logits(), atol=1e-4)


def test_memories_are_bounded(folder: Folder) -> None:
    runtime = TransformersRuntime(load(folder("llama"), Loading()), n_sequences=2)
    sessions = [LocalSession(runtime).append(f"{number} {TEXT}") for number in range(6)]
    for session in sessions:
        session.logits()
    assert len(runtime._sequences) == 2


def test_a_model_is_freed_when_nothing_uses_it(tmp_path: Path) -> None:
    import gc
    import weakref

    loaded = load(tiny.save(tmp_path / "m", tiny.causal("llama"), tiny.bpe()), Loading())
    gone = weakref.ref(loaded.model)
    del loaded
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kind", ["llama", "spm", "gpt2"])
@pytest.mark.parametrize(
    ("make", "valid"),
    [
        (lambda c: c.regex("([0-9]{3}-){2}[0-9]{4} (yes|no)"), r"([0-9]{3}-){2}[0-9]{4} (yes|no)"),
        (lambda c: c.choices(["the red house", "the green house"]), "the (red|green) house"),
    ],
    ids=["regex", "choices"],
)
def test_a_constraint_is_kept_at_any_temperature(folder: Folder, kind: str, make: Any, valid: str) -> None:
    constraints = pytest.importorskip("chainkit.decoding.constraints")
    runtime = TransformersRuntime(load(folder(kind), Loading()))
    forced = 0
    for seed in range(8):
        session = LocalSession(runtime).append(TEXT)
        pieces = list(
            session.generate(GenerationRequest(temperature=1.5, seed=seed, max_tokens=80, constraint=make(constraints)))
        )
        assert re.fullmatch(valid, "".join(piece.text for piece in pieces))
        assert pieces[-1].finish in ("complete", "eos")
        forced += session.counters.forced
    assert forced
