"""Scripted models say what the test wrote down, in that order."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from chainkit.testing import Scripted, ScriptedChat, ScriptEnded


def test_a_string_is_the_answer_each_time() -> None:
    model = Scripted("same")
    assert [model.invoke("a"), model.invoke("b")] == ["same", "same"]


def test_a_list_is_taken_in_turn_and_its_end_is_told() -> None:
    model = Scripted(["one", "two"])
    assert [model.invoke("a"), model.invoke("b")] == ["one", "two"]
    with pytest.raises(ScriptEnded, match="2 answers.*'third'"):
        model.invoke("third")


def test_the_longest_ending_of_the_prompt_chooses() -> None:
    model = Scripted({"?": "short", "name?": ["first", "second"], "": "any"})
    assert [model.invoke(p) for p in ["Your name?", "Why?", "A name?", "Hello"]] == ["first", "short", "second", "any"]


def test_a_prompt_that_the_script_does_not_know_is_told() -> None:
    with pytest.raises(ScriptEnded, match="ends with: 'What now'"):
        Scripted({"?": "x"}).invoke("What now")


def test_prompts_are_remembered_in_order() -> None:
    model = Scripted("x")
    model.batch(["a", "b"])
    "".join(model.stream("c"))
    assert sorted(model.prompts[:2]) == ["a", "b"]
    assert model.prompts[2] == "c"


def test_a_stream_gives_the_same_text_in_pieces() -> None:
    assert list(Scripted("one two three").stream("", stop=[" three"])) == ["one", " two", ""]


async def test_the_async_twins_follow_the_script_too() -> None:
    model = Scripted(["one", "two words"])
    assert await model.ainvoke("a") == "one"
    assert [piece async for piece in model.astream("b")] == ["two", " words", ""]


def test_each_model_has_its_own_place_in_its_own_script() -> None:
    outputs = ["one", "two"]
    first, second = Scripted(outputs), Scripted(outputs)
    assert [first.invoke(""), second.invoke(""), first.invoke("")] == ["one", "one", "two"]
    assert second.prompts == [""]


def test_threads_share_a_script_without_loss() -> None:
    model = Scripted([str(i) for i in range(200)])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: model.invoke("x"), range(200)))
    assert sorted(answers, key=int) == [str(i) for i in range(200)]


def test_a_chat_is_chosen_by_its_last_message_and_remembers_conversations() -> None:
    model = ScriptedChat({"Ping": "Pong", "Bye": ["See you"]})
    assert model.invoke([("human", "Bye"), ("ai", "?"), ("human", "Ping")]).content == "Pong"
    assert [c.content for c in model.stream("Bye") if c.content] == ["See", " you"]
    assert [len(messages) for messages in model.conversations] == [3, 1]
