"""LangChain's own suites for chat models and embeddings."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests, EmbeddingsUnitTests

from chainkit.backends.llama_cpp.models import GGUFChat, GGUFEmbeddings
from tests.backends.llama_cpp import tiny
from tests.local.chat_suite import TEMPLATE, LocalChat, habits

_FOLDER = Path(tempfile.mkdtemp(prefix="chainkit-tests-"))


def _encode(text: str) -> list[int]:
    return tiny.bpe_tokenizer().encode(text).ids


_MODEL = tiny.write_model(_FOLDER / "standard.gguf", template=TEMPLATE, context=4096, habits=habits(_encode, 2))


@pytest.fixture(scope="module", autouse=True)
def folder():
    yield
    shutil.rmtree(_FOLDER, ignore_errors=True)


class _Chat(LocalChat):
    @property
    def chat_model_class(self) -> type[GGUFChat]:
        return GGUFChat

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": str(_MODEL), "temperature": 0}


class TestGGUFChatUnit(_Chat, ChatModelUnitTests):
    pass


class TestGGUFChat(_Chat, ChatModelIntegrationTests):
    pass


class _Embeddings:
    @property
    def embeddings_class(self) -> type[GGUFEmbeddings]:
        return GGUFEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": str(_MODEL)}


class TestGGUFEmbeddingsUnit(_Embeddings, EmbeddingsUnitTests):
    pass


class TestGGUFEmbeddings(_Embeddings, EmbeddingsIntegrationTests):
    pass
