"""Names of groups by a chat model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import chainkit
from chainkit.testing import ScriptedChat
from chainkit.vectors import NotNamed, clusters, named
from chainkit.vectors.naming import PROMPT

DEMO_MODEL = Path(__file__).parents[2] / "examples" / "demo_model" / "demo-q8_0.gguf"
TEXTS = ["red car", "blue car", "green car", "old house", "new house"]
VECTORS = np.array([[1, 0], [0.9, 0.1], [1, 0.1], [0, 1], [0.1, 1]])


def test_each_group_gets_the_name_that_the_model_writes():
    model = ScriptedChat(["**Cars.**\nbecause they are", '"Houses"'])
    found = named(clusters(TEXTS, VECTORS, k=2), model, max_concurrency=1)
    assert [group.name for group in found.groups] == ["Cars", "Houses"]
    assert {group.name for group in named(found, "fake:?reply=Things").groups} == {"Things", "Things (2)"}
    assert found.groups[0].keywords == clusters(TEXTS, VECTORS, k=2).groups[0].keywords


def test_the_model_sees_the_texts_of_the_group():
    asked: list[str] = []

    class Listening(ScriptedChat):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            asked.append(messages[0].content)
            return super()._generate(messages, stop, run_manager, **kwargs)

    found = named(clusters(TEXTS, VECTORS, k=2), Listening(["a", "b"]), max_concurrency=1)
    assert asked[1] == PROMPT.format(texts="\n".join(f"- {TEXTS[row]}" for row in found.groups[1].members))
    assert "old house" in asked[1]
    assert "car" not in asked[1]


def test_equal_names_are_told_apart():
    found = named(clusters(TEXTS, VECTORS, k=2), ScriptedChat("Things"))
    assert [group.name for group in found.groups] == ["Things", "Things (2)"]


def test_an_empty_answer_keeps_the_keywords_and_warns():
    plain = clusters(TEXTS, VECTORS, k=2)
    with pytest.warns(NotNamed, match=r"no name for 1 groups; their keywords stay: \[1\]"):
        found = named(plain, ScriptedChat(["Cars", " \n**"]), max_concurrency=1)
    assert found.groups[1].name == plain.groups[1].name


def test_long_answers_are_shortened():
    found = named(clusters(TEXTS, VECTORS, k=2), ScriptedChat("word " * 50))
    assert len(found.groups[0].name) <= 60


def test_vectors_without_texts_cannot_be_named():
    with pytest.raises(ValueError, match="no texts to name them by"):
        named(clusters(VECTORS), ScriptedChat("x"))
    with pytest.raises(ValueError, match="no texts to name them by"):
        chainkit.clusters(VECTORS, names="fake:")


def test_the_front_door_takes_a_spec():
    found = chainkit.clusters(TEXTS, VECTORS, k=2, names="fake:?reply=Vehicles")
    assert found.groups[0].name == "Vehicles"


def test_a_model_that_is_not_local_cannot_be_kept_to_the_words_of_the_group():
    with pytest.raises(ValueError, match="ScriptedChat is not a local model"):
        named(clusters(TEXTS, VECTORS, k=2), ScriptedChat("x"), own_words=True)


def test_a_small_local_model_chooses_among_the_words_of_the_group():
    pytest.importorskip("xllamacpp")
    model = chainkit.chat_model(f"gguf:{DEMO_MODEL}", temperature=0, max_tokens=24)
    found = clusters(TEXTS, VECTORS, k=2)
    for group in named(found, model).groups:
        written = group.name.removesuffix(" (2)").split()
        assert 1 <= len(written) <= 2
        assert set(written) <= set(group.keywords)
