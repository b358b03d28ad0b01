from __future__ import annotations

import pytest

from chainkit.backends.fake import FakeEmbeddings
from chainkit.knowledge import Conversation, Index
from chainkit.testing import ScriptedChat

from . import samples


@pytest.fixture
def index(tmp_path):
    (tmp_path / "bees.md").write_text(samples.BEES, "utf-8")
    with Index(None, FakeEmbeddings()) as index:
        index.add(tmp_path)
        yield index


def test_a_follow_up_is_written_out_and_looked_up_in_full(index):
    model = ScriptedChat(outputs=["Honey [1].", '"What do bees do in winter?"\nSure!', "They cluster [1]."])
    talk = Conversation(index, model=model)
    assert talk.ask("What do bees make?").question == "What do bees make?"
    answer = talk.ask("And in winter?")
    assert answer.question == "What do bees do in winter?"
    assert "Question: What do bees do in winter?" in answer.prompt
    assert [turn.question for turn in talk.history] == ["What do bees make?", "And in winter?"]


@pytest.mark.parametrize("reply", ["", "  \n", "x" * 1000])
def test_a_rewriting_that_is_none_leaves_the_question_as_it_was(index, reply):
    talk = Conversation(index, model=ScriptedChat(outputs=["Honey [1].", reply, "They cluster [1]."]))
    talk.ask("What do bees make?")
    assert talk.ask("And in winter?").question == "And in winter?"


def test_without_a_model_or_turns_questions_are_looked_up_as_they_are(index):
    talk = Conversation(index)
    talk.ask("What do bees make?")
    assert talk.ask("In winter?").question == "In winter?"
    model = ScriptedChat(outputs=["Honey [1].", "They cluster [1]."])
    talk = Conversation(index, model=model, turns=0)
    talk.ask("What do bees make?")
    assert talk.ask("In winter?").text == "They cluster [1]."


def test_a_turn_is_remembered_once_its_stream_was_read(index):
    talk = Conversation(index, model=ScriptedChat(outputs="Honey [1]."))
    stream = talk.stream("What do bees make?")
    assert talk.history == []
    assert "".join(stream) == "Honey [1]."
    assert talk.history[0].answer is stream.answer
    assert len(talk.history) == 1


def test_settings_that_make_no_sense_are_refused(index):
    with pytest.raises(ValueError, match="turns must be 0 or more, got -1"):
        Conversation(index, turns=-1)
    with pytest.raises(ValueError, match="the question is empty"):
        Conversation(index).ask(" ")
