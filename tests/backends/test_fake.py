"""`fake:` models keep langchain-core's contracts."""

import numpy as np
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests, EmbeddingsUnitTests

from chainkit.backends.fake import FakeChat, FakeEmbeddings, FakeLLM


class FakeChatSettings:
    @property
    def chat_model_class(self) -> type[FakeChat]:
        return FakeChat

    @property
    def chat_model_params(self) -> dict[str, str]:
        return {"model": ""}

    @property
    def standard_chat_model_params(self) -> dict[str, object]:
        return {"temperature": 0, "max_tokens": 100, "stop": [], "seed": 1}

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False


class TestChatUnit(FakeChatSettings, ChatModelUnitTests):
    pass


class TestChat(FakeChatSettings, ChatModelIntegrationTests):
    pass


class FakeEmbeddingsSettings:
    @property
    def embeddings_class(self) -> type[FakeEmbeddings]:
        return FakeEmbeddings


class TestEmbeddingsUnit(FakeEmbeddingsSettings, EmbeddingsUnitTests):
    pass


class TestEmbeddings(FakeEmbeddingsSettings, EmbeddingsIntegrationTests):
    pass


def test_a_chat_without_a_reply_repeats_the_last_human_message() -> None:
    messages = [SystemMessage("Be kind."), HumanMessage("First"), HumanMessage("Second")]
    assert FakeChat().invoke(messages).content == "Second"
    assert FakeChat().invoke([SystemMessage("Be kind.")]).content == ""


def test_a_stream_is_the_answer_word_by_word_with_one_usage() -> None:
    chunks = list(FakeChat(reply="One two  three").stream("Count"))
    assert [chunk.content for chunk in chunks if chunk.content] == ["One", " two", "  three"]
    whole = sum(chunks[1:], start=chunks[0])
    assert isinstance(whole, AIMessageChunk)
    assert whole.usage_metadata == {"input_tokens": 1, "output_tokens": 3, "total_tokens": 4}


@pytest.mark.parametrize("stop", [["two"], ["three", "two"]])
def test_a_stop_text_ends_the_answer_and_is_not_part_of_it(stop: list[str]) -> None:
    assert FakeLLM(reply="One two three").invoke("", stop=stop) == "One "
    assert "".join(FakeLLM(reply="One two three").stream("", stop=stop)) == "One "
    assert FakeChat(reply="One two three").invoke("", stop=stop).content == "One "


def test_the_limit_of_words_is_kept_and_told() -> None:
    answer = FakeChat(reply="One two three", max_tokens=2).invoke("")
    assert (answer.content, answer.response_metadata["finish_reason"]) == ("One two", "length")
    assert FakeChat(reply="One two", max_tokens=2).invoke("").response_metadata["finish_reason"] == "stop"


def test_an_empty_answer_is_an_answer() -> None:
    assert FakeLLM(reply="").invoke("x") == ""
    assert list(FakeLLM(reply="").stream("x")) == [""]
    assert "".join(str(chunk.content) for chunk in FakeChat(reply="").stream("x")) == ""


@pytest.mark.parametrize("model", [FakeLLM(), FakeChat()], ids=["llm", "chat"])
def test_a_misspelt_setting_of_a_call_is_an_error(model: FakeLLM | FakeChat) -> None:
    with pytest.raises(TypeError, match="temprature"):
        model.invoke("x", temprature=1)


def test_vectors_have_unit_length_and_shared_words_bring_texts_near() -> None:
    vectors = FakeEmbeddings(dimensions=512).embed_array(["the red house", "the red door", "blue cars drive", ""])
    assert vectors.shape == (4, 512)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


async def test_the_async_twins_say_the_same() -> None:
    assert await FakeLLM(reply="One two").ainvoke("") == "One two"
    assert [piece async for piece in FakeLLM(reply="One two").astream("")] == ["One", " two", ""]
    assert (await FakeChat(reply="One two").ainvoke("")).content == "One two"
    assert [chunk.content async for chunk in FakeChat(reply="One two").astream("")][:2] == ["One", " two"]
