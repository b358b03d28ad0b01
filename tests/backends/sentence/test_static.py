"""Static vectors: every format is read, and a text is the mean of its tokens."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import tokenizers
from safetensors.numpy import save_file

import chainkit
from chainkit.backends.sentence import StaticEmbeddings
from chainkit.base.errors import BadTexts, ModelFileError, Unsupported

WORDS = ["[UNK]", "red", "car", "blue", "house", "tree"]
VECTORS = np.random.default_rng(3).normal(size=(6, 8)).astype(np.float32)


def write_tokenizer(path):
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: row for row, word in enumerate(WORDS)}, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(path))


@pytest.fixture
def folder(tmp_path):
    """A model in model2vec's format, with weights and rows that tokens share."""
    tensors = {
        "embeddings": VECTORS[:4].astype(np.float16),
        "mapping": np.array([0, 1, 2, 3, 3, 1]),
        "weights": np.array([1, 0.5, 2, 1, 1, 3], np.float64),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    write_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}))
    return tmp_path


def as_unit(vector):
    return vector / np.linalg.norm(vector)


def test_a_text_is_the_mean_of_its_weighted_tokens(folder):
    model = StaticEmbeddings(model=folder)
    rows = VECTORS[:4].astype(np.float16).astype(np.float32)
    found = model.embed_array(["red car tree", "house"])
    np.testing.assert_allclose(found[0], as_unit(rows[1] * 0.5 + rows[2] * 2 + rows[1] * 3), atol=1e-6)
    np.testing.assert_allclose(found[1], as_unit(rows[3]), atol=1e-6)
    assert model.embed_query("house") == pytest.approx(found[1].tolist())
    assert model.embed_documents(["house"])[0] == pytest.approx(found[1].tolist())


def test_tokens_that_count_are_counted(folder):
    assert StaticEmbeddings(model=folder).token_counts(["red car tree", "house xyz", ""]) == [3, 1, 0]


def test_unknown_tokens_do_not_count_and_nothing_known_is_zeros(folder):
    model = StaticEmbeddings(model=folder)
    np.testing.assert_array_equal(model.embed_array(["red xyz"]), model.embed_array(["red"]))
    found = model.embed_array(["xyz", "", "red"])
    assert not found[:2].any()
    np.testing.assert_allclose(np.linalg.norm(found[2]), 1, atol=1e-6)


def test_it_agrees_with_model2vec(folder):
    model2vec = pytest.importorskip("model2vec")
    texts = ["red car tree", "house", "xyz blue", "tree tree red"]
    reference = model2vec.StaticModel.from_pretrained(folder).encode(texts)
    np.testing.assert_allclose(StaticEmbeddings(model=folder).embed_array(texts), reference, atol=1e-3)


def test_vectors_of_sentence_transformers_stand_in_a_folder_of_their_own(tmp_path):
    home = tmp_path / "0_StaticEmbedding"
    home.mkdir()
    save_file({"embedding.weight": VECTORS}, home / "model.safetensors")
    write_tokenizer(home / "tokenizer.json")
    found = StaticEmbeddings(model=tmp_path, normalize=False).embed_array(["red xyz"])
    np.testing.assert_allclose(found[0], (VECTORS[1] + VECTORS[0]) / 2, atol=1e-6)


def test_a_file_of_vectors_and_a_tokenizer_elsewhere(tmp_path):
    save_file({"embedding.weight": VECTORS.astype(np.float16)}, tmp_path / "words.safetensors")
    write_tokenizer(tmp_path / "words.json")
    spec = f"static:{tmp_path}/words.safetensors?tokenizer={tmp_path}/words.json&dimensions=3"
    found = chainkit.embeddings(spec).embed_query("red")
    assert found == pytest.approx(as_unit(VECTORS[1, :3]), abs=1e-3)


def test_vectors_of_eight_bits_are_read(folder):
    save_file({"embeddings": np.rint(VECTORS * 20).astype(np.int8)}, folder / "model.safetensors")
    found = StaticEmbeddings(model=folder).embed_array(["tree"])[0]
    np.testing.assert_allclose(found, as_unit(np.rint(VECTORS[5] * 20)), atol=1e-6)


def test_many_texts_are_those_of_one_at_a_time(folder):
    model = StaticEmbeddings(model=folder)
    texts = ["red", "", "car tree blue", "house house"] * 1100
    told: list[tuple[int, int]] = []
    found = model.embed_array(texts, progress=lambda done, total: told.append((done, total)))
    np.testing.assert_array_equal(found[:4], found[-4:])
    assert told == [(4096, 4400), (4400, 4400)]
    assert model.embed_array(["red"], storage="int8").dtype == np.int8


def test_a_text_longer_than_a_piece_of_tokens_is_the_mean_of_all_of_them(folder):
    model = StaticEmbeddings(model=folder)
    lengths = [3, 0, 1020, 1, 0, 5000, 2, 1024, 1024, 0]
    texts = [" ".join((WORDS[1:] * length)[:length]) for length in lengths]
    together = model.embed_array(texts)
    rows = VECTORS[[1, 2, 3, 3, 1]].astype(np.float16).astype(np.float32) * np.array([[0.5], [2], [1], [1], [3]])
    for length, found in zip(lengths, together, strict=True):
        counted = np.tile(rows, (length // 5 + 1, 1))[:length].sum(axis=0)
        np.testing.assert_allclose(found, as_unit(counted) if length else counted, atol=1e-4)


def test_a_copy_in_another_process_gives_the_same(folder):
    model = StaticEmbeddings(model=folder)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.embed_array(["red car"]), model.embed_array(["red car"]))
    assert copy.fingerprint == model.fingerprint != StaticEmbeddings(model=folder, dimensions=2).fingerprint


def test_files_that_cannot_be_used_are_named(folder, tmp_path):
    save_file({"embeddings": VECTORS[:3]}, folder / "model.safetensors")
    with pytest.raises(ModelFileError, match="vectors for 3 tokens, and the tokenizer has 6"):
        StaticEmbeddings(model=folder)
    save_file({"other": VECTORS}, folder / "model.safetensors")
    with pytest.raises(ModelFileError, match="neither 'embeddings'"):
        StaticEmbeddings(model=folder)
    save_file({"embeddings": VECTORS}, folder / "model.safetensors")
    with pytest.raises(Unsupported, match="9 dimensions were asked for, and the vectors have 8"):
        StaticEmbeddings(model=folder, dimensions=9)
    with pytest.raises(BadTexts, match="not valid Unicode"):
        StaticEmbeddings(model=folder).embed_array(["\ud800"])
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelFileError, match="is missing"):
        StaticEmbeddings(model=folder)
