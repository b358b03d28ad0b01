"""`gguf:` as embeddings: the vectors of transformers, whatever the batch."""

import copy
import pickle
import threading

import numpy as np
import pytest

import chainkit
from chainkit.backends.llama_cpp.models import GGUFEmbeddings, GGUFModel
from chainkit.base.errors import ContextOverflow, ModelFileError
from tests.backends.llama_cpp import tiny_bert

TEXTS = ["the cat sat on the mat", "a dog", "the small red house near the blue sea", "cats and dogs", "knife"]


@pytest.fixture(scope="module")
def bert():
    pytest.importorskip("torch")
    return tiny_bert.reference()


@pytest.fixture(scope="module")
def bert_model(models):
    return tiny_bert.write(models / "bert.gguf")


def reference_vectors(bert, embedder, texts):
    import torch

    result = []
    for text in texts:
        tokens = embedder.vocabulary.tokenize(text, whole=True)
        with torch.no_grad():
            states = bert(torch.tensor([tokens])).last_hidden_state[0].numpy()
        mean = states.mean(axis=0)
        result.append(mean / np.linalg.norm(mean))
    return np.array(result)


@pytest.mark.slow  # importing torch alone takes seconds
def test_vectors_are_those_of_transformers(bert, bert_model):
    made = GGUFEmbeddings(model=str(bert_model))
    wanted = reference_vectors(bert, made.embedder, TEXTS)
    assert np.abs(made.vectors(TEXTS) - wanted).max() < 2e-3


@pytest.mark.slow
def test_tokens_are_those_of_transformers(bert_model, tmp_path):
    from transformers import BertTokenizer

    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(tiny_bert.TOKENS))
    theirs = BertTokenizer(str(path))
    mine = GGUFEmbeddings(model=str(bert_model)).embedder.vocabulary
    for text in [*TEXTS, "The CAT, sitting!", "zzz qq?"]:
        assert mine.tokenize(text, whole=True) == theirs(text)["input_ids"]


def test_together_or_alone_the_vectors_are_the_same(bert_model, bpe_model):
    for path in (bert_model, bpe_model):
        made = GGUFEmbeddings(model=str(path))
        many = TEXTS * 9
        together = made.vectors(many)
        alone = np.array([made.embed_query(text) for text in TEXTS])
        assert np.abs(together - np.tile(alone, (9, 1))).max() < 2e-3
        assert np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)


def test_a_decoder_pools_as_asked(bpe_model):
    last = GGUFEmbeddings(model=str(bpe_model), pooling="last").embed_query("the cat sat")
    mean = GGUFEmbeddings(model=str(bpe_model), pooling="mean").embed_query("the cat sat")
    by_default = GGUFEmbeddings(model=str(bpe_model)).embed_query("the cat sat")
    assert not np.allclose(last, mean, atol=0.01)
    assert np.allclose(mean, by_default, atol=2e-3)


def test_lengths_stay_unless_normalized(bert_model):
    made = GGUFEmbeddings(model=str(bert_model), normalize=False)
    assert abs(np.linalg.norm(made.embed_query("a dog")) - 1) > 0.1


def test_values_are_plain_numbers_and_there_is_one_vector_per_text(bert_model):
    made = GGUFEmbeddings(model=str(bert_model))
    vectors = made.embed_documents(TEXTS)
    assert len(vectors) == len(TEXTS)
    assert {type(value) for vector in vectors for value in vector} == {float}
    assert made.embed_documents([]) == []


def test_prefixes_are_put_before_the_texts(bert_model):
    plain = GGUFEmbeddings(model=str(bert_model))
    made = GGUFEmbeddings(model=str(bert_model), query_prefix="the ", document_prefix="a ")
    assert made.embed_query("dog") == pytest.approx(plain.embed_query("the dog"), abs=1e-3)
    assert made.embed_documents(["dog"])[0] == pytest.approx(plain.embed_query("a dog"), abs=1e-3)


def test_a_text_that_is_too_long_is_refused_with_the_numbers(bert_model):
    made = GGUFEmbeddings(model=str(bert_model))
    with pytest.raises(ContextOverflow) as caught:
        made.embed_documents(["the cat", "the cat " * 100])
    assert (caught.value.limit, caught.value.tokens) == (tiny_bert.CONTEXT, 202)


def test_threads_get_their_own_vectors(bert_model):
    made = GGUFEmbeddings(model=str(bert_model))
    wanted = {text: made.embed_query(text) for text in TEXTS}
    found = {}
    threads = [threading.Thread(target=lambda t=t: found.update({t: made.embed_query(t)})) for t in TEXTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == wanted


def test_copies_and_pickles_give_the_same(bert_model):
    made = GGUFEmbeddings(model=str(bert_model))
    wanted = made.embed_query("a dog")
    for twin in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made), made.model_copy()):
        assert twin.embed_query("a dog") == wanted
    made.unload()
    assert made.embed_query("a dog") == wanted


def test_a_bert_does_not_continue_text(bert_model):
    with pytest.raises(ModelFileError, match="use it for embeddings"):
        GGUFModel(model=str(bert_model)).invoke("the")


def test_a_spec_makes_it(bert_model):
    made = chainkit.embeddings(f"gguf:{bert_model}?pooling=cls&normalize=false")
    assert (made.pooling, made.normalize) == ("cls", False)
    assert len(made.embed_query("a dog")) == tiny_bert.WIDTH
