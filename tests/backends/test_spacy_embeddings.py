"""Word vectors of spaCy; runs where spaCy is installed."""

from __future__ import annotations

import importlib.util
import pickle

import numpy as np
import pytest

import chainkit
from chainkit.backends.spacy_embeddings import SpacyEmbeddings
from chainkit.base.errors import BadTexts, MissingLibrary, ModelFileError, SpecError, Unsupported

has_spacy = importlib.util.find_spec("spacy") is not None
needs_spacy = pytest.mark.skipif(not has_spacy, reason="needs spacy")


@pytest.fixture
def folder(tmp_path):
    import spacy

    language = spacy.blank("en")
    for word, vector in {"red": [1, 0, 0], "car": [0, 2, 0], "house": [0, 0, 4]}.items():
        language.vocab.set_vector(word, np.array(vector, np.float32))
    language.to_disk(tmp_path / "package")
    return tmp_path / "package"


@needs_spacy
def test_a_text_has_the_mean_of_the_vectors_of_its_words(folder):
    model = chainkit.embeddings(f"spacy:{folder}?normalize=false")
    assert model.embed_documents(["red car", "unknown", ""]) == [[0.5, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert SpacyEmbeddings(model=str(folder)).embed_query("house house") == [0, 0, 1]


@needs_spacy
def test_no_texts_and_a_copy(folder):
    model = SpacyEmbeddings(model=str(folder))
    assert model.embed_array([]).shape == (0, 3)
    assert pickle.loads(pickle.dumps(model)).embed_query("red") == [1, 0, 0]


@needs_spacy
def test_wrong_input_is_named(folder, tmp_path):
    import spacy

    with pytest.raises(BadTexts, match="text 0 is of type int"):
        SpacyEmbeddings(model=str(folder)).embed_documents([1])
    with pytest.raises(ModelFileError, match="python -m spacy download en_core_web_md"):
        SpacyEmbeddings(model="en_core_web_md").embed_query("red")
    spacy.blank("en").to_disk(tmp_path / "bare")
    with pytest.raises(Unsupported, match="has no word vectors"):
        SpacyEmbeddings(model=str(tmp_path / "bare")).embed_query("red")


def test_a_name_is_needed():
    with pytest.raises(SpecError, match="spacy needs the name of a package"):
        chainkit.embeddings("spacy:")


@pytest.mark.skipif(has_spacy, reason="spacy is here")
def test_a_missing_library_is_named():
    with pytest.raises(MissingLibrary, match="spacy"):
        chainkit.embeddings("spacy:en_core_web_md").embed_query("red")
