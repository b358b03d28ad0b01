"""Damaged files: a named error or a working model, never a dead process."""

from collections import Counter

import pytest

from chainkit.backends.llama_cpp.header import read_header
from chainkit.backends.llama_cpp.models import GGUFModel
from chainkit.base.errors import ChainkitError, ModelFileError
from tests.backends.llama_cpp import tiny
from tests.backends.llama_cpp.corrupt import damaged


def outcome(path):
    try:
        made = GGUFModel(model=str(path), max_tokens=8, context_length=64)
        made.invoke("the cat sat on 漢字")
        made.unload()
    except ChainkitError:
        return "error"
    return "works"


def outcomes(source, folder, seeds):
    data, header_bytes = source.read_bytes(), read_header(source).data_offset
    counted = Counter()
    for seed in seeds:
        path = folder / f"{seed}.gguf"
        path.write_bytes(damaged(data, header_bytes, seed))
        counted[outcome(path)] += 1
        path.unlink()
    return counted


def test_thirty_damaged_files_do_no_harm(bpe_model, spm_model, tmp_path):
    counted = outcomes(bpe_model, tmp_path, range(15)) + outcomes(spm_model, tmp_path, range(15))
    assert counted["error"] >= 5
    assert counted.total() == 30


@pytest.mark.slow
def test_five_hundred_damaged_files_do_no_harm(bpe_model, spm_model, tmp_path):
    counted = outcomes(bpe_model, tmp_path, range(1000, 1250)) + outcomes(spm_model, tmp_path, range(1000, 1250))
    assert counted["error"] >= 200
    assert counted.total() == 500


@pytest.mark.parametrize("length", [0, 1, 3, 4, 23, 24, 100, 5000, -1, -100])
def test_a_file_cut_at_any_length_is_an_error(bpe_model, tmp_path, length):
    path = tmp_path / "cut.gguf"
    path.write_bytes(bpe_model.read_bytes()[:length])
    with pytest.raises(ModelFileError, match=r"cut short|is empty|not a GGUF"):
        GGUFModel(model=str(path))


def test_what_kills_native_code_kills_only_the_child(bpe_model, tmp_path, monkeypatch):
    from chainkit.backends.llama_cpp import probe

    path = tmp_path / "model.gguf"
    path.write_bytes(bpe_model.read_bytes())
    killer = tmp_path / "sitecustomize.py"
    killer.write_text("import os, sys\nif 'trial' in str(sys.orig_argv): os.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ModelFileError, match="is damaged: llama.cpp ended with status -6"):
        GGUFModel(model=str(path)).invoke("a")
    monkeypatch.delenv("PYTHONPATH")
    assert GGUFModel(model=str(path), max_tokens=3).invoke("a")
    assert probe._fingerprint(path, GGUFModel(model=str(path)).runtime.library.path) in probe._passed


def test_a_file_that_passed_is_not_tried_again(tmp_path, monkeypatch):
    from chainkit.backends.llama_cpp import probe

    path = tiny.write_model(tmp_path / "once.gguf")
    calls = []
    real = probe._run
    monkeypatch.setattr(probe, "_run", lambda *arguments: (calls.append(1), real(*arguments)))
    for _ in range(2):
        made = GGUFModel(model=str(path), max_tokens=2)
        made.invoke("a")
        made.unload()
        probe._passed.clear()  # as in another process
    assert calls == [1]


def test_weights_that_are_no_numbers_are_an_error(tmp_path, bpe_model):
    import numpy as np

    data = bytearray(bpe_model.read_bytes())
    header = read_header(bpe_model)
    norm = header.tensors["output_norm.weight"]
    start = header.data_offset + norm.offset
    data[start : start + norm.nbytes] = np.full(norm.nbytes // 4, np.nan, np.float32).tobytes()
    path = tmp_path / "nan.gguf"
    path.write_bytes(bytes(data))
    with pytest.raises(ModelFileError, match="not numbers"):
        GGUFModel(model=str(path)).invoke("a")
