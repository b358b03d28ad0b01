from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from chainkit.conversations.file import ConversationFile, conversations_file


@pytest.fixture
def kept(run) -> tuple[str, str]:
    """The ids of two conversations, the older first."""
    first = run("chat", "-m", "fake:?reply=In the oven.", "--json", "Where does a pie bake?")
    second = run("chat", "-m", "fake:?reply=In an orchard.", "-s", "Be brief.", "--json", "Where grow apples?")
    return json.loads(first.stdout)["conversation"], json.loads(second.stdout)["conversation"]


def cells(run, *arguments: str) -> list[list[str]]:
    return [line.split()[:1] + line.split()[3:] for line in run("chats", *arguments).stdout.splitlines()[2:]]


def test_conversations_are_listed_the_newest_first(run, kept: tuple[str, str]) -> None:
    assert [row[0] for row in cells(run)] == [kept[1], kept[0]]
    assert [row[0] for row in cells(run, "list", "-n", "1")] == [kept[1]]
    (listed, _) = json.loads(run("chats", "--json").stdout)
    assert (listed["title"], listed["count"], listed["model"]) == (
        "Where grow apples?",
        2,
        "fake:?reply=In an orchard.",
    )


@pytest.mark.parametrize("words", [["search", "orchard"], ["orchard"], ["APPLE", "orch"], ["where grow"]])
def test_words_find_the_conversations_that_hold_them(run, kept: tuple[str, str], words: list[str]) -> None:
    assert [row[0] for row in cells(run, *words)] == [kept[1]]
    assert [one["id"] for one in json.loads(run("chats", "search", *words[-1:], "--json").stdout)] == [kept[1]]


def test_words_that_are_nowhere_are_told_with_the_commands(run) -> None:
    result = run("chats", "shwo", "1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no conversation holds 'shwo 1'; commands: list, search, show" in result.stderr
    assert f"no conversation is kept in {conversations_file()}" in run("chats").stderr


def test_a_conversation_is_shown_with_what_was_said_to_which_model(run, kept: tuple[str, str]) -> None:
    run("chat", "-c", "-m", "fake:?reply=In a box.", "And kept?")
    shown = run("chats", "show").stdout.splitlines()
    assert shown[0].startswith(kept[1])
    assert shown[1:] == [
        "system: Be brief.",
        "model: fake:?reply=In an orchard.",
        *["", "> Where grow apples?", "", "In an orchard."],
        "model: fake:?reply=In a box.",
        *["", "> And kept?", "", "In a box."],
    ]
    assert "In the oven." in run("chats", "show", kept[0][:6]).stdout
    assert json.loads(run("chats", "show", "--json").stdout)["system"] == "Be brief."


def test_what_is_exported_can_be_imported_without_loss(run, kept: tuple[str, str]) -> None:
    assert run("chats", "export", "-o", "all.jsonl").stdout == "wrote 2 conversations to all.jsonl\n"
    before = messages(*kept)
    run("chats", "forget", "--all")
    assert run("chats", "import", "all.jsonl").stdout == "added 2 conversations\n"
    ids = [one.id for one in ConversationFile().recent()][::-1]
    assert messages(*ids) == before
    assert not set(ids) & set(kept)
    assert "all.jsonl is there already" in run("chats", "export", "-o", "all.jsonl").stderr


def messages(*ids: str) -> list[list[tuple[object, str]]]:
    file = ConversationFile()
    return [[(one.message, one.model) for one in file.messages(id_)] for id_ in ids]


def test_exports_are_read_by_people_and_by_other_programs(run, kept: tuple[str, str]) -> None:
    told = json.loads(run("chats", "export", kept[1], "--format", "openai").stdout)
    assert [(one["role"], one["content"]) for one in told["messages"]] == [
        ("system", "Be brief."),
        ("user", "Where grow apples?"),
        ("assistant", "In an orchard."),
    ]
    page = run("chats", "export", kept[1], "--format", "markdown").stdout
    assert page.startswith("# Where grow apples?\n")
    assert "## Question\n\nWhere grow apples?" in page
    assert "## Answer (fake:?reply=In an orchard.)\n\nIn an orchard." in page


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files")
def test_an_export_is_readable_by_its_user_alone(run, kept: tuple[str, str]) -> None:
    run("chats", "export", "-o", "a.jsonl")
    assert stat.S_IMODE(Path("a.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize("line", ["{}", "[1]", "x", '{"messages": [{"message": {}}]}'])
def test_an_import_of_something_else_is_refused_with_its_line(run, line: str) -> None:
    Path("a.jsonl").write_text(line)
    result = run("chats", "import", "a.jsonl")
    assert result.exit_code == 1
    assert "line 1 is not an exported conversation" in result.stderr


def test_conversations_are_forgotten_by_id_by_age_or_all(run, kept: tuple[str, str]) -> None:
    assert run("chats", "forget", kept[0][:5]).stdout == "forgot 1 conversation\n"
    assert run("chats", "forget", "--older-than", "1d").stdout == "forgot 0 conversations\n"
    assert [row[0] for row in cells(run)] == [kept[1]]
    assert run("chats", "forget", "--all").stdout == "forgot 1 conversation\n"
    assert run("chats", "forget").exit_code == 2


def test_one_setting_switches_it_off(run) -> None:
    assert "are not kept from now on" in run("chats", "off").stdout
    run("chat", "-m", "fake:", "secret")
    assert not conversations_file().exists()
    assert "'chainkit chats on' keeps them" in run("chats").stderr
    run("chats", "on")
    run("chat", "-m", "fake:", "known")
    assert [row[-1] for row in cells(run)] == ["known"]
