"""Embeddings of the gpt4all package; runs where it is installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import chainkit
from chainkit.base.errors import BadTexts, MissingLibrary, ModelFileError

has_gpt4all = importlib.util.find_spec("gpt4all") is not None
needs_gpt4all = pytest.mark.skipif(not has_gpt4all, reason="needs gpt4all")


@pytest.fixture
def file(tmp_path):
    from tests.backends.llama_cpp import tiny_bert

    return tiny_bert.write(tmp_path / "bert.gguf")


@needs_gpt4all
def test_vectors_are_those_that_llama_cpp_gives(file):
    model = chainkit.embeddings(f"gpt4all:{file}?query_prefix=&document_prefix=&device=cpu")
    texts = ["the cat", "a dog sat on the mat", ""]
    reference = chainkit.embeddings(f"gguf:{file}")
    np.testing.assert_allclose(model.embed_documents(texts[:2]), reference.embed_documents(texts[:2]), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(model.embed_documents(texts), axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(model.embed_query("the cat"), model.embed_documents(["the cat"])[0], atol=1e-6)
    assert model.embed_documents([]) == []


@needs_gpt4all
def test_wrong_input_is_named(file, tmp_path):
    with pytest.raises(ModelFileError, match="give query_prefix and document_prefix"):
        chainkit.embeddings(f"gpt4all:{file}?device=cpu").embed_query("the cat")
    with pytest.raises(ModelFileError, match="cannot be loaded: Model file does not exist"):
        chainkit.embeddings(f"gpt4all:{tmp_path}/none.gguf").embed_query("the cat")
    with pytest.raises(BadTexts, match="text 0 is of type int"):
        chainkit.embeddings(f"gpt4all:{file}?query_prefix=&document_prefix=").embed_documents([1])


@pytest.mark.skipif(has_gpt4all, reason="gpt4all is here")
def test_a_missing_library_is_named():
    with pytest.raises(MissingLibrary, match="gpt4all"):
        chainkit.embeddings("gpt4all:").embed_query("red")
