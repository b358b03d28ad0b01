"""langchain-core's own promises, held against the service on loopback."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests, EmbeddingsUnitTests

from chainkit.backends.openai import OpenAIChat, OpenAIEmbeddings
from chainkit.testing.server.openai import OpenAIServer, running

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FILES = {".png": PIXEL, ".pdf": b"%PDF-1.4\n%%EOF\n", ".wav": b"RIFF\x24\x00\x00\x00WAVEfmt "}


@pytest.fixture(scope="module")
def service() -> Iterator[OpenAIServer]:
    with running() as service:
        yield service


@pytest.fixture(autouse=True)
def files_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite fetches its pictures, papers and sounds from the web; here they are at hand."""

    def get(url: str, **_: Any) -> httpx.Response:
        return httpx.Response(200, content=FILES[url[url.rindex(".") :]])

    monkeypatch.setattr(httpx, "get", get)
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "tests")


class TestChatUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[OpenAIChat]:
        return OpenAIChat

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "gpt-4o-mini", "api_key": "sk-test"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"OPENAI_API_KEY": "sk-test"}, {"model": "gpt-4o-mini"}, {"model": "gpt-4o-mini"}


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[OpenAIEmbeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "text-embedding-3-small", "api_key": "sk-test"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        params = {"model": "text-embedding-3-small"}
        return {"OPENAI_API_KEY": "sk-test"}, params, params


class TestChat(ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def at(self, service: OpenAIServer) -> None:
        type(self).server = service

    server: OpenAIServer

    @property
    def chat_model_class(self) -> type[OpenAIChat]:
        return OpenAIChat

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "gpt-4o-mini", "api_key": self.server.key, "base_url": self.server.base_url}

    @property
    def model_override_value(self) -> str:
        return "gpt-4o"

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_audio_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def enable_vcr_tests(self) -> bool:
        return True

    @pytest.fixture
    def vcr(self) -> Any:
        """The suite times streaming from recorded replies; the server on loopback is as good."""

        class Recorded:
            responses = (1,)

        return Recorded()

    @property
    def supported_usage_metadata_details(self) -> dict[str, list[str]]:
        return {"invoke": ["reasoning_output", "cache_read_input"], "stream": ["reasoning_output", "cache_read_input"]}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return self._asked("reasoner-1", stream=stream)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        return self._asked("cached-1", stream=stream)

    def _asked(self, name: str, *, stream: bool) -> AIMessage:
        model = OpenAIChat(**{**self.chat_model_params, "model": name})
        if not stream:
            return model.invoke("Hello")
        first, *rest = model.stream("Hello")
        return sum(rest, first)


class TestChatByToolCalls(TestChat):
    """The same with schemas asked for as tools."""

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "function_calling"}


class TestChatByResponses(TestChat):
    """The same over the Responses API."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "api": "responses"}


class TestEmbeddings(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def at(self, service: OpenAIServer) -> None:
        type(self).server = service

    server: OpenAIServer

    @property
    def embeddings_class(self) -> type[OpenAIEmbeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "text-embedding-3-small", "api_key": self.server.key, "base_url": self.server.base_url}
