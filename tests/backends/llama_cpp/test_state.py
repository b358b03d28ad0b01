"""A long beginning that was read once is taken up in another process; the loading of weights reports how far it is."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import chainkit
from chainkit.backends.llama_cpp.models import GGUFModel
from chainkit.base.errors import ContextOverflow, ModelFileError, SpecError, StateMismatch
from tests.backends.llama_cpp import tiny

TEXT = "Once there was a small house near the sea; the house was red and the sea was blue. " * 4
EXACT = {"kv_type": tiny.KV, "flash_attention": False, "n_threads": 1}


@pytest.fixture
def saved(bpe_model, tmp_path):
    model = GGUFModel(model=str(bpe_model), **EXACT)
    path = tmp_path / "prefix.state"
    assert model.save_state(path, TEXT) == len(model.get_token_ids(TEXT))
    return path


def fresh(path, **options):
    """A model that has read nothing."""
    return GGUFModel(model=str(path), n_batch=256, **EXACT | options)


def test_what_was_read_is_not_read_again_and_the_scores_are_the_same(bpe_model, saved):
    model = fresh(bpe_model)
    length = model.load_state(saved)
    session = model.session(TEXT + " What is the colour")
    found = session.logits()
    assert session.counters.cached == length
    assert session.counters.read == len(session.tokens) - length
    np.testing.assert_allclose(found, fresh(bpe_model, n_sequences=3).session(session.text).logits(), atol=1e-4)


def test_it_is_taken_up_in_another_process(bpe_model, saved):
    code = (
        "import sys, chainkit\n"
        "model = chainkit.llm(f'gguf:{sys.argv[1]}?kv_type=f32&flash_attention=false&n_threads=1')\n"
        "length = model.load_state(sys.argv[2])\n"
        "session = model.session(sys.argv[3]); session.logits()\n"
        "print(length, session.counters.cached)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bpe_model), str(saved), TEXT + " the"],
        capture_output=True,
        text=True,
        check=True,
    )
    length, cached = map(int, done.stdout.split())
    assert length == cached


def test_a_state_of_another_model_is_refused(saved, models, quantized_model):
    other = tiny.write_model(models / "other-for-state.gguf", seed=6)
    for path in (other, quantized_model):
        with pytest.raises(StateMismatch, match="another model"):
            fresh(path).load_state(saved)


def test_a_state_of_other_settings_is_refused(bpe_model, saved):
    with pytest.raises(StateMismatch, match="kv_type=f32, and this model has kv_type=f16"):
        fresh(bpe_model, kv_type="f16").load_state(saved)
    with pytest.raises(ContextOverflow):
        fresh(bpe_model, context_length=16).load_state(saved)


@pytest.mark.parametrize("damage", ["flip", "cut", "magic", "empty", "absent", "version"])
def test_a_damaged_state_is_refused(bpe_model, saved, damage):
    data = bytearray(saved.read_bytes())
    if damage == "flip":
        data[-100] ^= 1
    elif damage == "magic":
        data[0] ^= 1
    elif damage == "version":
        data = data.replace(b'"version": 1', b'"version": 9')
    saved.write_bytes({"cut": bytes(data[:-10]), "empty": b""}.get(damage, bytes(data)))
    if damage == "absent":
        saved.unlink()
    with pytest.raises(ModelFileError):
        fresh(bpe_model).load_state(saved)


def test_loading_reports_how_far_it_is(models):
    path = tiny.write_model(models / "progress.gguf", seed=11)
    parts: list[float] = []
    model = GGUFModel(model=str(path), on_progress=parts.append)
    assert parts == []
    assert model.load() is model
    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    model.invoke("the")
    assert parts.count(1.0) == 1


def test_an_error_while_loading_ends_it_and_is_raised(models):
    path = tiny.write_model(models / "progress-error.gguf", seed=12)

    def told(part: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GGUFModel(model=str(path), on_progress=told).load()
    assert GGUFModel(model=str(path), max_tokens=2).load()


def test_progress_is_no_option_of_a_spec(bpe_model):
    with pytest.raises(SpecError, match="on_progress"):
        chainkit.llm(f"gguf:{bpe_model}?on_progress=print")
