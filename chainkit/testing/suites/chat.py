"""Suites for chat models with what langchain-tests' lack; use them beside those."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk

from chainkit.testing.suites.answers import AnswerTests, StopTests, UsageTests
from chainkit.testing.suites.conduct import BreakTests, CancelTests, EventTests, LoopTests
from chainkit.testing.suites.making import MakingTests, SecretTests
from chainkit.testing.suites.model import Model


class ChatUnitTests(MakingTests, SecretTests):
    """What a chat model promises before it is asked anything."""

    def test_it_is_a_chat_model(self, model: Model) -> None:
        """It is a `BaseChatModel`, and traces hear so."""
        assert isinstance(model, BaseChatModel)
        assert model._get_ls_params().get("ls_model_type") == "chat"


class ChatIntegrationTests(AnswerTests, StopTests, UsageTests, LoopTests, CancelTests, BreakTests, EventTests):
    """What a chat model promises when it is asked."""

    def test_the_chunks_of_a_stream_add_up_to_the_message(self, model: Model) -> None:
        """Text, id, finish reason and the name of the model are those of `invoke`."""
        chunks: list[Any] = list(model.stream(self.prompt))
        assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
        whole: Any = sum(chunks[1:], chunks[0])
        message = model.invoke(self.prompt)
        assert isinstance(message, AIMessage)
        assert len({chunk.id for chunk in chunks}) == 1, "chunks of one message have different ids"
        for name in ("finish_reason", "model_name"):
            assert whole.response_metadata.get(name) == message.response_metadata.get(name), f"{name} differs"
        assert chunks[-1].chunk_position == "last", "the last chunk does not say that it is"
