"""GGUF rerankers: the scores of transformers' classifier with the same weights."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from langchain_core.documents import Document

import chainkit
from chainkit.backends.llama_cpp.reranker import GGUFReranker
from chainkit.base.errors import ContextOverflow, ModelFileError
from tests.backends.llama_cpp import tiny_bert

QUERY = "red house near the sea"
TEXTS = ["the house is red", "the cat sat on the mat", "a small blue pillow and a kitchen knife", "dog"]


def head() -> dict[str, np.ndarray]:
    """The layers that make a score: under GGUF's names."""
    random = np.random.default_rng(8)
    width = tiny_bert.WIDTH
    return {
        "cls.weight": (random.standard_normal((width, width)) * 0.3).astype(np.float32),
        "cls.bias": (random.standard_normal(width) * 0.3).astype(np.float32),
        "cls.output.weight": random.standard_normal((1, width)).astype(np.float32),
        "cls.output.bias": random.standard_normal(1).astype(np.float32),
    }


@pytest.fixture(scope="module")
def file(models: Path) -> Path:
    return write(models / "reranker.gguf")


def write(path: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        tensors = tiny_bert._tensors() | head()
        patch.setattr(tiny_bert, "_tensors", lambda: tensors)
        plain = gguf.GGUFWriter.add_pooling_type
        patch.setattr(gguf.GGUFWriter, "add_pooling_type", lambda self, _: plain(self, gguf.PoolingType.RANK))
        return tiny_bert.write(path)


def reference(query: str, text: str, vocabulary) -> float:
    torch = pytest.importorskip("torch")

    tokens = vocabulary.tokenize(query, whole=True) + vocabulary.tokenize(text, whole=True)[1:]
    with torch.inference_mode():
        state = tiny_bert.reference()(torch.tensor([tokens])).last_hidden_state[0, 0].numpy()
    layers = head()
    pooled = np.tanh(layers["cls.weight"] @ state + layers["cls.bias"])
    return float((layers["cls.output.weight"] @ pooled + layers["cls.output.bias"])[0])


def test_scores_are_those_of_transformers(file):
    reranker = GGUFReranker(model=str(file), normalize=False)
    vocabulary = reranker.embedder.vocabulary
    pair = vocabulary.tokenize(QUERY, whole=True) + vocabulary.tokenize(TEXTS[0], whole=True)[1:]
    assert [vocabulary.name(token) for token in pair if vocabulary.is_control(token)] == [b"[CLS]", b"[SEP]", b"[SEP]"]
    wanted = [reference(QUERY, text, vocabulary) for text in TEXTS]
    np.testing.assert_allclose(reranker.scores(QUERY, TEXTS), wanted, atol=2e-2)  # halves in between
    chances = GGUFReranker(model=str(file)).scores(QUERY, TEXTS)
    np.testing.assert_allclose(chances, 1 / (1 + np.exp(-np.array(wanted))), atol=2e-3)


def test_documents_come_in_the_order_of_their_scores(file):
    reranker = chainkit.reranker(f"gguf:{file}?top_n=3")
    kept = reranker.compress_documents([Document(text) for text in TEXTS], QUERY)
    scores = [document.metadata["relevance_score"] for document in kept]
    assert len(kept) == 3
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(max(reranker.scores(QUERY, TEXTS)))


def test_too_long_a_pair_is_refused_and_not_cut(file):
    with pytest.raises(ContextOverflow):
        GGUFReranker(model=str(file)).scores(QUERY, ["the cat " * 60])


def test_a_model_that_makes_no_score_is_refused(bpe_model):
    with pytest.raises(ModelFileError, match="is not a reranker"):
        GGUFReranker(model=str(bpe_model)).scores(QUERY, TEXTS)
