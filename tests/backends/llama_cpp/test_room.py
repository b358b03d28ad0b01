"""LlamaLoading asks for room in memory first."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from chainkit.backends.llama_cpp.models import GGUFChat, GGUFEmbeddings, GGUFModel
from chainkit.base.errors import NotEnoughMemory
from tests.backends.llama_cpp import tiny


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file that no other test has in memory."""
    return str(tiny.write_model(tmp_path / "room.gguf"))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch):
    def set_to(nbytes: int | None) -> None:
        monkeypatch.setattr("chainkit.sizing.room.available_memory", lambda: nbytes)

    return set_to


@pytest.mark.parametrize("kind", [GGUFModel, GGUFChat])
def test_a_model_without_room_is_refused_before_its_weights_are_read(file: str, free, kind) -> None:
    free(50_000)
    with pytest.raises(NotEnoughMemory, match=r"room\.gguf needs 0\.00 GB .*force=true"):
        _ = kind(model=file, probe=False).runtime
    free(None)  # a system that does not say is not a reason
    assert kind(model=file, probe=False).runtime


def test_force_loads_it_all_the_same(file: str, free) -> None:
    free(0)
    assert GGUFModel(model=file, probe=False, force=True, max_tokens=2).invoke("the cat")


def test_a_second_context_on_the_same_weights_needs_room_too(file: str, free) -> None:
    first = GGUFModel(model=file, probe=False)
    runtime = first.runtime
    free(100_000)
    assert GGUFModel(model=file, probe=False).runtime is runtime  # nothing is added
    with pytest.raises(NotEnoughMemory, match="to remember 8192"):
        _ = GGUFModel(model=file, probe=False, context_length=8192).runtime
    del runtime
    first.unload()
    gc.collect()


def test_embeddings_ask_too(file: str, free) -> None:
    free(0)
    with pytest.raises(NotEnoughMemory):
        GGUFEmbeddings(model=file, probe=False).embed_query("the cat")


def test_what_a_gpu_holds_is_not_judged(file: str, free) -> None:
    free(0)
    assert GGUFModel(model=file, probe=False, n_gpu_layers=1).runtime
