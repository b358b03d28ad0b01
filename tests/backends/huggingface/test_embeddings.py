"""Models of sentence-transformers on torch."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import chainkit
from chainkit.base.errors import BadTexts, ContextOverflow, ModelFileError, SpecError, Unsupported

pytest.importorskip("sentence_transformers")

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as models
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from chainkit.backends.huggingface.embeddings import HuggingFaceEmbeddings, TextsCut

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue", "car", "house", "query", ":", "document"]
LIMIT = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model with prompts, made here."""
    import torch

    torch.manual_seed(3)
    home = tmp_path_factory.mktemp("st")
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(home / "bert")
    fast.save_pretrained(home / "bert")
    word = models.Transformer(str(home / "bert"), max_seq_length=LIMIT)
    pooling = models.Pooling(16, pooling_mode="mean")
    prompts = {"query": "query: ", "document": "document: "}
    SentenceTransformer(modules=[word, pooling], prompts=prompts, device="cpu").save(str(home / "model"))
    return home / "model"


@pytest.fixture(scope="module")
def model(folder):
    return HuggingFaceEmbeddings(model=str(folder), device="cpu")


def test_vectors_are_those_of_the_package_with_its_prompts(model, folder):
    reference = SentenceTransformer(str(folder), device="cpu")
    texts = ["red car", "blue house blue house", "red"]
    expected = reference.encode(texts, prompt="document: ", normalize_embeddings=True)
    np.testing.assert_allclose(model.embed_array(texts), expected, atol=1e-6)
    expected = reference.encode(["red car"], prompt="query: ", normalize_embeddings=True)
    np.testing.assert_allclose([model.embed_query("red car")], expected, atol=1e-6)
    plain = HuggingFaceEmbeddings(model=str(folder), query_prompt="", normalize=False, device="cpu")
    np.testing.assert_allclose([plain.embed_query("red car")], reference.encode(["red car"], prompt=""), atol=1e-6)


def test_fewer_dimensions_are_the_first_ones_at_unit_length(model, folder):
    short = chainkit.embeddings(f"hf:{folder}?dimensions=8&device=cpu").embed_array(["red car", "blue house"])
    whole = model.embed_array(["red car", "blue house"])[:, :8]
    np.testing.assert_allclose(short, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)
    with pytest.raises(Unsupported, match="17 dimensions were asked for, and the model's vectors have 16"):
        HuggingFaceEmbeddings(model=str(folder), dimensions=17, device="cpu").embed_query("red")


def test_order_and_repetition_do_not_matter(model):
    texts = ["red car", "blue", "red car", "house"]
    vectors = model.embed_array(texts)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_array_equal(model.embed_array(texts[::-1]), vectors[::-1])
    assert model.embed_array([]).shape == (0, 16)


def test_what_is_cut_is_said_or_refused(model, folder):
    texts = ["red", "car " * 40]
    with pytest.warns(TextsCut, match="1 of 2 texts are longer than the 12 tokens that the model reads") as told:
        model.embed_array(texts)
    assert told[0].message.texts == [1]
    with pytest.raises(ContextOverflow, match="split text 1"):
        HuggingFaceEmbeddings(model=str(folder), truncate="error", device="cpu").embed_documents(texts)


def test_tokens_are_counted_as_the_model_reads_them(folder):
    model = HuggingFaceEmbeddings(model=str(folder), device="cpu")
    model.load()
    assert model.token_counts(["red car", "red", "car " * 40]) == [6, 5, LIMIT]  # [CLS] document : red car [SEP]
    assert model.token_counts(["red car"], query=True) == [6]
    assert HuggingFaceEmbeddings(model=str(folder), query_prompt="").token_counts(["red"], query=True) == [3]
    model.unload()
    assert model.embed_query("red")  # it is loaded again


def test_progress_is_told(folder):
    told = []
    model = HuggingFaceEmbeddings(model=str(folder), batch_size=2, device="cpu")
    model.embed_array(["red", "blue", "car"], progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 3), (3, 3)]


def test_small_storage(model):
    vectors = model.embed_array(["red car", "blue house"])
    small = model.embed_array(["red car", "blue house"], storage="int8").astype(np.float32)
    assert small.dtype == np.float32
    np.testing.assert_allclose(
        (small[0] @ small[1]) / np.linalg.norm(small[0]) / np.linalg.norm(small[1]), vectors[0] @ vectors[1], atol=0.01
    )


def test_a_copy_in_another_process_loads_its_own(model):
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(copy.embed_query("red"), model.embed_query("red"), atol=1e-6)


def test_wrong_input_is_named(model, tmp_path):
    with pytest.raises(SpecError, match="huggingface needs the name of a model"):
        chainkit.embeddings("hf:")
    with pytest.raises(BadTexts, match="write \\[text\\]"):
        model.embed_array("red")
    with pytest.raises(ModelFileError, match="no such folder"):
        HuggingFaceEmbeddings(model=str(tmp_path / "none")).embed_query("red")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match="cannot be loaded"):
        HuggingFaceEmbeddings(model=str(tmp_path / "empty"), device="cpu").embed_query("red")
