"""Cross-encoders of transformers put passages in the order of their scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from langchain_core.documents import BaseDocumentCompressor, Document
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

import chainkit
from chainkit.backends.huggingface.reranker import HuggingFaceReranker
from chainkit.base.errors import ContextOverflow, ModelFileError, SpecError, Unsupported
from tests.backends.huggingface import tiny

QUERY = "what is the colour of the house"
TEXTS = ["the house is red", "the cat sat on the mat and the dog ran to the cat near the sea", "12", ""]


def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted({word for text in [QUERY, *TEXTS] for word in text.split()})]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )


def saved(folder, labels: int) -> str:
    torch.manual_seed(labels)
    config = BertConfig(
        vocab_size=len(tokenizer()), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=40, num_labels=labels, initializer_range=0.5,
    )  # fmt: skip
    return tiny.save(folder, BertForSequenceClassification(config).eval(), tokenizer())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("reranker") / "bert", 1)


def test_scores_are_those_of_the_library_one_by_one(model):
    found = HuggingFaceReranker(model=model, normalize=False, batch_size=2).scores(QUERY, TEXTS)
    reference = BertForSequenceClassification.from_pretrained(model).eval()
    with torch.inference_mode():
        wanted = [float(reference(**tokenizer()(QUERY, text, return_tensors="pt")).logits) for text in TEXTS]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    chances = HuggingFaceReranker(model=model).scores(QUERY, TEXTS)
    np.testing.assert_allclose(chances, 1 / (1 + np.exp(-np.array(wanted))), atol=1e-5)


def test_tokens_are_counted_with_those_of_the_question(model):
    found = HuggingFaceReranker(model=model).token_counts(QUERY, TEXTS)
    assert found == [len(tokenizer()(QUERY, text)["input_ids"]) for text in TEXTS]


def test_documents_come_in_the_order_of_their_scores_as_copies(model):
    reranker = chainkit.reranker(f"hf:{model}?top_n=2")
    assert isinstance(reranker, BaseDocumentCompressor)
    documents = [Document(text, metadata={"place": place}) for place, text in enumerate(TEXTS)]
    scores = reranker.scores(QUERY, TEXTS)
    kept = reranker.compress_documents(documents, QUERY)
    assert [document.metadata["place"] for document in kept] == sorted(range(4), key=lambda n: -scores[n])[:2]
    assert kept[0].metadata["relevance_score"] == max(scores)
    assert "relevance_score" not in documents[0].metadata
    assert reranker.compress_documents([], QUERY) == []
    least = sorted(scores)[1]
    assert len(HuggingFaceReranker(model=model, least_score=least).compress_documents(documents, QUERY)) == 3


async def test_it_works_from_an_event_loop(model):
    reranker = HuggingFaceReranker(model=model)
    documents = [Document(text) for text in TEXTS]
    assert await reranker.acompress_documents(documents, QUERY) == reranker.compress_documents(documents, QUERY)


def test_a_classifier_into_no_and_yes_is_a_reranker_and_one_into_more_is_none(tmp_path):
    assert len(HuggingFaceReranker(model=saved(tmp_path / "two", 2)).scores(QUERY, TEXTS)) == 4
    with pytest.raises(Unsupported, match="sorts texts into 3 kinds"):
        HuggingFaceReranker(model=saved(tmp_path / "three", 3)).scores(QUERY, TEXTS)


def test_too_long_a_pair_is_refused_and_not_cut(model):
    with pytest.raises(ContextOverflow, match="the context holds 40"):
        HuggingFaceReranker(model=model).scores(QUERY, ["the cat " * 20])


def test_a_model_without_trained_scores_is_refused(folder):
    with pytest.raises(ModelFileError, match="is not a reranker: it has no weights for score.weight"):
        HuggingFaceReranker(model=folder("llama")).scores(QUERY, TEXTS)


def test_an_unknown_option_is_named():
    with pytest.raises(SpecError, match="did you mean 'top_n'"):
        chainkit.reranker("hf:x?topn=3")
    with pytest.raises(SpecError, match="has no reranker"):
        chainkit.reranker("openai:x")
