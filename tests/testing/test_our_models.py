"""Our own models pass the suites that we give to others."""

from __future__ import annotations

from typing import Any

import pytest

from chainkit.backends.fake import FakeChat, FakeLLM
from chainkit.backends.openai import OpenAIChat, OpenAIModel
from chainkit.testing import (
    ChatIntegrationTests,
    ChatUnitTests,
    LLMIntegrationTests,
    LLMUnitTests,
    OpenAIServer,
    Scripted,
    ScriptedChat,
)
from chainkit.testing.server import faults

SECRETS = {"api_key": "sk-0123456789-not-to-be-seen"}


class TestFakeLLM(LLMUnitTests, LLMIntegrationTests):
    model_class = FakeLLM
    counts_tokens = False


class TestFakeChat(ChatUnitTests, ChatIntegrationTests):
    model_class = FakeChat


class Scripts:
    """A script with an answer for each prompt of the suites."""

    prompts = ["one", "two"]

    @property
    def model_params(self) -> dict[str, Any]:
        return {"outputs": {"one": "the first answer", "two": "the second answer", "": "1 2 3 4 5 6 7"}}


class TestScripted(Scripts, LLMUnitTests, LLMIntegrationTests):
    model_class = Scripted
    counts_tokens = False


class TestScriptedChat(Scripts, ChatUnitTests, ChatIntegrationTests):
    model_class = ScriptedChat


class OverOpenAI:
    """The scripted service behind a model."""

    secrets = SECRETS
    has_tokenizer = False  # its vocabulary is fetched
    server: OpenAIServer

    @pytest.fixture(autouse=True)
    def at(self, openai_server: OpenAIServer) -> None:
        self.server = openai_server

    @property
    def model_params(self) -> dict[str, Any]:
        return {"model": "gpt-4o-mini", "api_key": self.server.key, "base_url": self.server.base_url, "max_retries": 0}

    def slow_model(self) -> Any:
        self.server.fail(faults.slow(0.3))
        return self.make()

    def waiting_model(self) -> Any:
        self.server.fail(faults.stall(after=4))
        return self.make()

    def broken_model(self) -> Any:
        self.server.fail(faults.cut(4))
        return self.make()

    def open_calls(self) -> int:
        return self.server.connections


class TestOpenAIChat(OverOpenAI, ChatUnitTests, ChatIntegrationTests):
    model_class = OpenAIChat


class TestOpenAIModel(OverOpenAI, LLMUnitTests, LLMIntegrationTests):
    model_class = OpenAIModel
