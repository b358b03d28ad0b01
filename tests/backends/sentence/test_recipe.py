"""What a model's files say about its use."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chainkit.backends.sentence import SentenceEmbeddings
from chainkit.backends.sentence.recipe import read_recipe
from chainkit.backends.sentence.vectors import pooled
from chainkit.base.errors import ModelFileError, Unsupported

POOLING = [{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]


def with_pooling(folder, settings):
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    return read_recipe(folder)


def test_a_plain_transformer_means_mean_pooling(make_model):
    recipe = read_recipe(make_model())
    assert recipe.pooling == ("mean",)
    assert not recipe.normalized
    assert recipe.max_tokens == 16


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",)),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, ("mean", "max")),
        ({"pooling_mode": "lasttoken"}, ("lasttoken",)),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, ("mean_sqrt_len_tokens",)),
    ],
)
def test_both_ways_of_writing_the_pooling_are_read(make_model, settings, pooling):
    assert with_pooling(make_model(modules=POOLING), settings).pooling == pooling


def test_unknown_steps_are_named(make_model):
    with pytest.raises(Unsupported, match="not known: Weighted"):
        read_recipe(make_model(modules=[{"path": "", "type": "a.b.Weighted"}]))
    with pytest.raises(Unsupported, match="pooling 'weightedmean' is not known"):
        with_pooling(make_model("other", modules=POOLING), {"pooling_mode": "weightedmean"})


def test_the_limit_is_the_least_of_what_the_files_say(make_model):
    folder = make_model()
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 7}')
    assert read_recipe(folder).max_tokens == 7
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 700}')
    assert read_recipe(folder).max_tokens == 16
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": null}')
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 1e30}')
    assert read_recipe(folder).max_tokens == 16


def test_a_missing_or_broken_file_is_named(make_model):
    folder = make_model()
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelFileError, match=r"config\.json: cannot be read as JSON"):
        read_recipe(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ModelFileError, match="is not a JSON object"):
        read_recipe(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelFileError, match=r"config\.json: is missing"):
        read_recipe(folder)


def test_a_tensor_that_is_missing_is_named(make_model):
    folder = make_model()
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ModelFileError, match=r"lacks the tensor 'encoder\.layer\.2\..*' and 15 others"):
        SentenceEmbeddings(model=str(folder), runtime="onnxruntime").embed_array(["red"])


def test_a_tokenizer_that_cannot_be_read_is_named(make_model):
    folder = make_model()
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelFileError, match=r"tokenizer\.json: has a damaged tokenizer: "):
        SentenceEmbeddings(model=str(folder))


def test_an_old_models_vocabulary_does_for_a_tokenizer(make_model):
    folder = make_model()
    wanted = SentenceEmbeddings(model=str(folder), runtime="onnxruntime").embed_array(["red car"])
    from tests.backends.sentence.conftest import WORDS

    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    found = SentenceEmbeddings(model=str(folder), runtime="onnxruntime").embed_array(["Red CAR"])
    np.testing.assert_array_equal(found, wanted)


def test_each_pooling_does_what_its_name_says():
    states = np.array([[[1, 8], [3, 2], [99, 99]], [[5, 5], [1, 1], [0, 6]]], np.float32)
    mask = np.array([[1, 1, 0], [1, 1, 1]])
    for way, wanted in {
        "mean": [[2, 5], [2, 4]],
        "cls": [[1, 8], [5, 5]],
        "max": [[3, 8], [5, 6]],
        "lasttoken": [[3, 2], [0, 6]],
        "mean_sqrt_len_tokens": [[4 / 2**0.5, 10 / 2**0.5], [6 / 3**0.5, 12 / 3**0.5]],
    }.items():
        np.testing.assert_allclose(pooled(states, mask, [way]), wanted, rtol=1e-6)
    assert pooled(states, mask, ["mean", "max"]).tolist() == [[2, 5, 3, 8], [2, 4, 5, 6]]


def test_prompts_stand_before_queries_and_documents(make_model):
    folder = make_model()
    plain = SentenceEmbeddings(model=str(folder), runtime="onnxruntime")
    prompts = {"prompts": {"query": "red ", "document": "blue "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    model = SentenceEmbeddings(model=str(folder), runtime="onnxruntime")
    assert model.embed_query("car") == plain.embed_query("red car")
    assert model.embed_documents(["car"]) == plain.embed_documents(["blue car"])
    chosen = SentenceEmbeddings(model=str(folder), runtime="onnxruntime", query_prompt="green ", document_prompt="")
    assert chosen.embed_query("car") == plain.embed_query("green car")
    np.testing.assert_array_equal(chosen.embed_array(["car"]), plain.embed_array(["car"]))


def test_layers_after_the_pooling_are_refused(make_model):
    folder = make_model(modules=[{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}])
    with pytest.raises(Unsupported, match="Dense"):
        SentenceEmbeddings(model=str(folder))
