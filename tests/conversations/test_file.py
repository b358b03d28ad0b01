"""The file of conversations."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from chainkit.base.errors import ConversationFileError
from chainkit.conversations.file import ConversationFile
from tests.conversations.shapes import Exchange, talks, written


@pytest.fixture
def file(tmp_path: Path) -> ConversationFile:
    return ConversationFile(tmp_path / "here" / "c.sqlite3")


def kept(file: ConversationFile, question: str, answer: str = "yes", model: str = "fake:") -> str:
    id_ = file.begin(question)
    file.add(id_, [HumanMessage(question), AIMessage(answer)], model)
    return id_


@settings(max_examples=15)
@given(talk=talks)
def test_messages_of_every_shape_come_back_as_they_were(talk: Sequence[Exchange]) -> None:
    messages = written(talk, ["responses", "anthropic", "chat", "local"])
    with tempfile.TemporaryDirectory() as folder:
        file = ConversationFile(Path(folder) / "c.sqlite3")
        id_ = file.begin("title")
        file.add(id_, messages, "m")
        found = [one.message for one in file.messages(id_)]
    assert found == messages
    assert [type(one) for one in found] == [type(one) for one in messages]
    assert [one.model_dump() for one in found] == [one.model_dump() for one in messages]


def test_a_conversation_tells_its_first_question_its_model_and_how_long_it_is(file: ConversationFile) -> None:
    id_ = file.begin("Why\nis the sky blue? " + "x" * 200, "Be brief.")
    file.add(id_, [HumanMessage("a"), AIMessage("b")], "one:")
    file.add(id_, [HumanMessage("c"), AIMessage("d")], "two:", system="Be long.")
    found = file.find(id_[:4])
    assert (found.id, found.title[:22], found.system) == (id_, "Why is the sky blue? x", "Be long.")
    assert (found.model, found.count, len(found.title)) == ("two:", 4, 80)
    assert [one.model for one in file.messages(id_)] == ["one:", "one:", "two:", "two:"]
    assert found.started <= found.changed <= datetime.now(UTC)


def test_the_latest_is_the_one_in_which_something_was_said_last(file: ConversationFile) -> None:
    first, second = kept(file, "first"), kept(file, "second")
    assert [one.id for one in file.recent()] == [second, first]
    file.add(first, [HumanMessage("more")], "fake:")
    assert file.find().id == first
    assert [one.id for one in file.recent(1)] == [first]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["apple"], ["trees", "pie"]),
        (["APPLE", "oven"], ["pie"]),
        (["pple tr"], ["trees"]),
        (["lehm"], ["trees"]),  # part of a word
        (["ov"], ["pie"]),  # shorter than what the index holds
        (["50%"], ["pie"]),
        (["%"], ["pie"]),
        (['"quoted"'], ["pie"]),
        (["リンゴ"], ["trees"]),
        (["の木"], ["trees"]),
        (["NEAR"], []),
        (["apple", "stone"], []),
        ([" "], []),
    ],
)
def test_a_search_finds_the_conversations_that_hold_every_word(
    file: ConversationFile, words: list[str], found: list[str]
) -> None:
    pie = kept(file, 'How long does an apple pie bake, "quoted" and 50% more?', "In the oven one hour.")
    trees = kept(file, "Where grow apple trees?", "リンゴの木 grow in Lehm.")
    names = {pie: "pie", trees: "trees"}
    assert [names[one.id] for one in file.search(words)] == found


def test_a_search_shows_the_text_around_what_it_found(file: ConversationFile) -> None:
    kept(file, "q", "a " * 100 + "needle " + "b " * 100)
    (found,) = file.search(["Needle"])
    assert found.excerpt.startswith("...")
    assert found.excerpt.endswith("...")
    assert "a needle b" in found.excerpt


def test_what_is_forgotten_is_in_the_file_no_more(file: ConversationFile) -> None:
    gone, stays = kept(file, "the xylophone secret"), kept(file, "another question")
    assert file.forget([gone]) == 1
    assert [one.id for one in file.recent()] == [stays]
    assert file.search(["xylophone"]) == []
    assert [one.id for one in file.search(["another"])] == [stays]
    folder = file.path.parent
    assert not any(b"xyloph" in path.read_bytes().lower() for path in folder.iterdir())
    with closing(sqlite3.connect(file.path)) as base, base:
        shards = base.execute("SELECT block FROM words_data").fetchall()
    base.close()
    assert not any(b"xyl" in (row[0] or b"") for row in shards)


def test_old_conversations_are_forgotten_by_their_age(file: ConversationFile) -> None:
    kept(file, "one")
    assert file.forget(before=datetime.now(UTC) - timedelta(days=1)) == 0
    assert file.forget(before=datetime.now(UTC) + timedelta(days=1)) == 1
    assert file.forget() == 0
    assert file.recent() == []


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files")
def test_only_its_user_can_read_it(file: ConversationFile) -> None:
    previous = os.umask(0)
    try:
        kept(file, "one")
    finally:
        os.umask(previous)
    for path in file.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_known_keys_are_not_kept_and_what_only_looks_like_one_is(
    file: ConversationFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abcdef0123456789")
    id_ = kept(file, "is sk-abcdef0123456789 a key?", "from huggingface_hub import hf_hub_download")
    assert [str(one.message.text) for one in file.messages(id_)] == [
        "is *** a key?",
        "from huggingface_hub import hf_hub_download",
    ]
    assert b"abcdef0123456789" not in b"".join(path.read_bytes() for path in file.path.parent.iterdir())


def test_half_a_surrogate_pair_is_kept(file: ConversationFile) -> None:
    id_ = kept(file, "a\ud800b \0 c")
    assert file.messages(id_)[0].message.content == "a\ud800b \0 c"


def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite3"
    with closing(sqlite3.connect(other)) as base, base:
        base.execute("CREATE TABLE things (x)")
    base.close()
    before = other.read_bytes()
    file = ConversationFile(other)
    with pytest.raises(ConversationFileError, match="holds no conversations of chainkit"):
        file.begin("x")
    assert other.read_bytes() == before
    with pytest.raises(ConversationFileError, match="is a folder"):
        ConversationFile(tmp_path).begin("x")


def test_an_id_must_name_one_conversation(file: ConversationFile, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConversationFileError, match="no conversation is kept"):
        file.find()
    names = iter(["aa000000", "aa111111"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(names))
    kept(file, "one"), kept(file, "two")
    with pytest.raises(ConversationFileError, match="more than one conversation"):
        file.find("aa")
    with pytest.raises(ConversationFileError, match="no conversation has an id that begins with 'b'"):
        file.find("b")
    said: list[BaseMessage] = [one.message for one in file.messages(file.find("aa0").id)]
    assert said[0].content == "one"
