"""Beginnings of texts are taken up from files of another process, and the text is the same to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from chainkit.backends.llama_cpp import prefixes
from chainkit.backends.llama_cpp.adapters import adapters
from chainkit.backends.llama_cpp.contexts import LlamaSettings
from chainkit.backends.llama_cpp.runtime import LlamaRuntime
from chainkit.backends.llama_cpp.weights import load_weights
from chainkit.base.generation import GenerationRequest
from chainkit.local.prefix_files import BLOCK, PrefixFiles, prefix_files
from chainkit.local.session import LocalSession
from tests.backends.llama_cpp import tiny
from tests.backends.llama_cpp.test_adapters import write_adapter

pytestmark = pytest.mark.skipif(tiny.KV != "f32", reason="ik_llama.cpp has other kernels")
SHORT = GenerationRequest(max_tokens=6)


@pytest.fixture
def kept(monkeypatch) -> PrefixFiles:
    """The files, empty."""
    monkeypatch.setenv("CHAINKIT_PREFIX_CACHE", "1GB")
    found = prefix_files()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def wide_models(models):
    """Models with room for long texts: of weights that are computed alike for any number of tokens, and of others."""
    return {
        "f32": tiny.write_model(models / "long-f32.gguf", context=2048),
        "q8": tiny.write_model(models / "long-q8.gguf", context=2048, quantized=True),
    }


def text(length: int, seed: int = 0) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(5, 200, length)]


class Asked:
    """What a process that has read nothing computes for a text."""

    def __init__(self, path, tokens, **settings) -> None:
        given = LlamaSettings(n_threads=1, **settings)
        runtime = LlamaRuntime(load_weights(path, given.loading), given)
        session = LocalSession(runtime).append(tokens)
        self.logits = session.logits().copy()
        self.cached, self.read = session.counters.cached, session.counters.read
        self.text = "".join(piece.text for piece in session.generate(SHORT))
        assert prefixes.written(20)

    def same_as(self, other: Asked) -> bool:
        return bool((self.logits == other.logits).all()) and self.text == other.text


def without(monkeypatch, path, tokens, **settings) -> Asked:
    with monkeypatch.context() as changed:
        changed.setenv("CHAINKIT_PREFIX_CACHE", "off")
        return Asked(path, tokens, **settings)


@pytest.mark.parametrize("kind", ["f32", "q8"])
@pytest.mark.parametrize("settings", [{}, {"kv_type": "f32"}, {"flash_attention": False}], ids=str)
def test_the_text_is_to_the_bit_what_it_is_without_files(kept, monkeypatch, wide_models, kind, settings):
    path, beginning = wide_models[kind], text(900)
    first = Asked(path, beginning + text(20, 1), **settings)
    assert first.same_as(without(monkeypatch, path, beginning + text(20, 1), **settings))
    assert first.cached == 0
    for length in (0, 3, 61, 100, 127, 130, 300):
        tokens = beginning + text(length, 2)
        asked = Asked(path, tokens, **settings)
        assert asked.same_as(without(monkeypatch, path, tokens, **settings)), length
        # at most the passes' own 64, the rest of a block of rows and of the files' block are read again
        assert asked.cached >= 900 - 64 - 31 - 63
        assert asked.cached + asked.read == len(tokens)


def test_a_text_that_goes_on_adds_its_blocks_only(kept, wide_models):
    path, long = wide_models["f32"], text(1000)
    Asked(path, long[:500])
    blocks, size = kept.size()
    assert blocks == 500 // BLOCK
    assert Asked(path, long[:600]).cached > 400
    assert kept.size() == (blocks, size)  # less than 256 new tokens
    Asked(path, long)
    assert kept.size()[0] == 1000 // BLOCK
    assert Asked(path, text(1000, 3)).cached == 0


def test_short_texts_and_few_common_tokens_are_left_alone(kept, wide_models):
    Asked(wide_models["f32"], text(255))
    assert kept.size() == (0, 0)
    Asked(wide_models["f32"], text(700))
    assert Asked(wide_models["f32"], text(200) + text(500, 1)).cached == 0


def test_only_what_lies_in_the_first_cells_is_kept(kept, wide_models):
    settings = LlamaSettings(n_threads=1)
    runtime = LlamaRuntime(load_weights(wide_models["f32"], settings.loading), settings)
    for seed in (1, 2):
        list(LocalSession(runtime).append(text(400, seed)).generate(SHORT))
    assert prefixes.written(20)
    assert kept.size()[0] == 400 // BLOCK
    assert Asked(wide_models["f32"], text(400, 2)).cached == 0


def test_tokens_read_again_one_by_one_are_not_kept(kept, wide_models):
    settings = LlamaSettings(n_threads=1)
    runtime = LlamaRuntime(load_weights(wide_models["f32"], settings.loading), settings)
    session = LocalSession(runtime).append(tokens := text(512))
    session.logits()
    session.rewind(400)
    for token in tokens[400:]:
        session.append([token]).logits()
    runtime.pause(session.sequence)
    assert prefixes.written(20)
    assert kept.size()[0] == 400 // BLOCK


def test_what_changes_the_numbers_changes_the_names(kept, wide_models, models):
    path, tokens = wide_models["f32"], text(500)
    Asked(path, tokens)
    for settings in ({"kv_type": "f32"}, {"n_batch": 128}, {"context_length": 1024}, {"flash_attention": False}):
        assert Asked(path, tokens, **settings).cached == 0, settings
    assert Asked(tiny.write_model(models / "long-other.gguf", seed=9, context=2048), tokens).cached == 0
    assert Asked(path, tokens).cached > 300
    copied = models / "long-copy.gguf"
    copied.write_bytes(path.read_bytes())
    Asked(copied, tokens)  # its hash is not known before
    assert Asked(copied, tokens).cached > 300


def test_an_adapter_changes_the_names(kept, wide_models, tmp_path):
    path, tokens = wide_models["f32"], text(500)
    one = write_adapter(tmp_path / "one.gguf", 1)
    Asked(path, tokens)
    assert Asked(path, tokens, adapters=adapters([str(one)], [1.0])).cached == 0
    assert Asked(path, tokens, adapters=adapters([str(one)], [0.5])).cached == 0
    assert Asked(path, tokens, adapters=adapters([str(one)], [0.5])).cached > 300


def test_off_is_off(kept, monkeypatch, wide_models):
    path, tokens = wide_models["f32"], text(500)
    without(monkeypatch, path, tokens)
    assert kept.size() == (0, 0)
    Asked(path, tokens)
    assert without(monkeypatch, path, tokens).cached == 0


def test_a_model_that_changes_while_it_is_in_memory_is_not_kept(kept, models):
    path = tiny.write_model(models / "long-changing.gguf", seed=3, context=2048)
    settings = LlamaSettings(n_threads=1)
    runtime = LlamaRuntime(load_weights(path, settings.loading), settings)
    os.utime(path, ns=(1, 1))
    list(LocalSession(runtime).append(text(500)).generate(SHORT))
    assert prefixes.written(20)
    assert kept.size() == (0, 0)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "swapped", "tokens"])
def test_a_damaged_block_is_removed_and_its_tokens_are_read(kept, monkeypatch, wide_models, damage, caplog):
    path, tokens = wide_models["f32"], text(900)
    Asked(path, tokens)
    files = sorted(kept.folder.glob("*.kv"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    hurt, data = files[7], bytearray(files[7].read_bytes())
    if damage == "flip":
        data[-5000] ^= 1
    elif damage == "tokens":
        data[80] ^= 1
    hurt.write_bytes(
        {"cut": bytes(data[:-100]), "empty": b"", "swapped": files[3].read_bytes()}.get(damage, bytes(data))
    )
    asked = Asked(path, tokens)
    assert asked.cached == 7 * BLOCK
    assert "damaged" in caplog.text
    assert asked.same_as(without(monkeypatch, path, tokens))
    # what is missing is more than 256 tokens, and is there again
    assert Asked(path, tokens).cached > 800


def test_a_batch_of_texts_takes_the_beginning_once(kept, wide_models):
    path, beginning = wide_models["f32"], text(700)
    Asked(path, beginning)
    settings = LlamaSettings(n_threads=1)
    runtime = LlamaRuntime(load_weights(path, settings.loading), settings)
    sessions = [LocalSession(runtime).append(beginning + text(30, seed)) for seed in range(4)]
    results = runtime.forward([session.request() for session in sessions])
    assert sum(result.computed for result in results) < 4 * 30 + 200
    for session, result in zip(sessions, results, strict=True):
        alone = LlamaRuntime(load_weights(path, settings.loading), settings)
        np.testing.assert_allclose(result.logits[0], LocalSession(alone).append(session.tokens).logits(), atol=0.05)


READ = """
import sys
from chainkit.backends.llama_cpp.models import GGUFModel
from chainkit.local.session import LocalSession
model = GGUFModel(model=sys.argv[1], n_threads=1, max_tokens=4, probe=False)
print(ascii(model.invoke("the cat sat on the mat and the dog ran to the cat. " * 40)), flush=True)
"""


def started(path):
    return subprocess.Popen([sys.executable, "-c", READ, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def test_two_processes_at_once_and_a_third(kept, wide_models):
    both = [started(wide_models["q8"]) for _ in range(2)]
    said = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    blocks = kept.size()[0]
    assert blocks > 5
    assert not list(kept.folder.glob("*.part"))
    assert {started(wide_models["q8"]).communicate(timeout=60)[0]} == said
    assert kept.size()[0] == blocks


@pytest.mark.slow
def test_thirty_kills_while_it_is_written(kept, monkeypatch, wide_models):
    """Never a torn block, never another text; what the killed have left does not pile up."""
    path, chance = wide_models["q8"], np.random.default_rng(1)
    with monkeypatch.context() as changed:
        changed.setenv("CHAINKIT_PREFIX_CACHE", "off")
        wanted = started(path).communicate(timeout=60)[0]
    during = 0
    for _ in range(30):
        for file in kept.folder.glob("*.kv"):  # parts stay, so that they could pile up
            file.unlink()
        process = started(path)
        assert process.stdout is not None
        end = time.monotonic() + 60
        while not any(kept.folder.glob("*.kv*")) and time.monotonic() < end:
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        process.communicate()
        during += 0 < kept.size()[0] < 8
        for file in kept.folder.glob("*.kv"):
            assert len(file.read_bytes()) > 1000
        assert started(path).communicate(timeout=60)[0] == wanted
        # the next process that writes removes what was left; one that lacks less than 256 tokens does not write
        assert len(list(kept.folder.glob("*.part"))) <= 1
    assert during
