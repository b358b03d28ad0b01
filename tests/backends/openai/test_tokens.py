"""Counting tokens with the tokenizer of the model, and never by guessing."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import requests
import tiktoken
import tiktoken.registry
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from chainkit.backends.openai import OpenAIChat, OpenAIModel
from chainkit.base.errors import MissingLibrary, ModelFileError, Unsupported

CALL: Any = {"type": "tool_call", "id": "c", "name": "f", "args": {}}


def chat(name: str = "gpt-4o-mini", **options: Any) -> OpenAIChat:
    return OpenAIChat(model=name, api_key="sk-test", **options)  # type: ignore[arg-type]


@pytest.fixture
def vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer whose tokens are bytes, and the word `Hello`, in the place of OpenAI's."""
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"He": 256, b"ll": 257, b"Hell": 258, b"Hello": 259}
    small = tiktoken.Encoding("o200k_base", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens={"<|end|>": 260})
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, "o200k_base", small)


def test_a_text_is_counted_by_the_tokenizer_of_its_model(vocabulary: None) -> None:
    assert chat().get_token_ids("Hello you") == [259, *b" you"]
    assert chat("ft:gpt-4o-mini:org::id").get_num_tokens("Hello") == 1
    assert OpenAIModel(model="gpt-4o", api_key="sk-test").get_num_tokens("Hello") == 1  # type: ignore[arg-type]
    assert chat().get_num_tokens("<|end|>") == 7  # what a user writes is text, never a command


def test_messages_are_counted_with_what_stands_around_them(vocabulary: None) -> None:
    messages = [
        SystemMessage("Hello"),
        HumanMessage([{"type": "text", "text": "Hello"}], name="Bo"),
        AIMessage("Hello"),
    ]
    roles = len("system") + len("user") + len("assistant")
    assert chat().get_num_tokens_from_messages(messages) == 3 * 3 + roles + 3 * 1 + (1 + 2) + 3


@pytest.mark.parametrize(
    "message", [AIMessage("", tool_calls=[CALL]), HumanMessage([{"type": "image", "url": "https://example.org/a.png"}])]
)
def test_what_cannot_be_counted_is_not_guessed(vocabulary: None, message: Any) -> None:
    with pytest.raises(Unsupported, match="usage_metadata"):
        chat().get_num_tokens_from_messages([message])
    with pytest.raises(Unsupported, match="tools"):
        chat().get_num_tokens_from_messages([HumanMessage("x")], tools=[print])
    with pytest.raises(Unsupported, match="does not know the tokenizer of 'llama3'"):
        chat("llama3", service="ollama").get_num_tokens("x")


def test_a_vocabulary_that_cannot_be_fetched_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def offline(*_: Any, **__: Any) -> Any:
        raise requests.ConnectionError("offline")

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(requests, "get", offline)
    monkeypatch.delitem(tiktoken.registry.ENCODINGS, "o200k_base", raising=False)
    with pytest.raises(ModelFileError, match="TIKTOKEN_CACHE_DIR"):
        chat().get_num_tokens("x")


def test_without_tiktoken_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(MissingLibrary, match=r"chainkit\[tokens\]"):
        chat().get_num_tokens("x")


def test_a_known_model_has_a_profile_and_an_unknown_one_none() -> None:
    found = chat("gpt-5-mini-2025-08-07").profile
    assert found
    assert (found["max_input_tokens"], found["reasoning_output"], found["image_inputs"]) == (272_000, True, True)
    assert found["reasoning_effort_levels"][0] == "minimal"
    assert chat("gpt-4o").profile["max_output_tokens"] == 16_384  # type: ignore[index]
    assert chat("no-such-model").profile is None
    assert chat("gpt-4o", service="ollama").profile is None  # another service may call anything so
    assert chat("gpt-4o", profile={"max_input_tokens": 5}).profile == {"max_input_tokens": 5}
