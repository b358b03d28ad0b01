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

_FOLDER = Path(tempfile.mkdtemp(prefix="chainkit-tests-"))


def _token(text: str) -> int:
    return tiny.bpe_tokenizer().encode(text).ids[0]


# The suite asks a question whose right answer calls a tool, and shows the result: a random model does not know that.
# So the template ends with "?" where a call is due and with "!" where an answer is, and this model has the habit of
# beginning with "{" after "?" and with "t" after "!". Its only number is 3, its only text U+4F60 U+3053, as the suite
# likes them, and it comes to an end soon.
_CHARACTER = tiny.bpe_tokenizer().encode("\u4f60\u3053").ids
_QUOTE, _BRACKET = _token('"'), _token("}")
_TEMPLATE = tiny.CHATML.replace(
    "<|im_start|>assistant\n",
    "<|im_start|>assistant\n"
    "{% if messages[-1].role != 'tool' and not messages[-1].content.startswith('Result') %}?{% else %}!{% endif %}",
)
_HABITS = (
    {_QUOTE: 4.0, _BRACKET: 4.0, 2: 3.0, _token("3"): 4.5},
    {
        _token("?"): {_token("{"): 12.0},
        _token("!"): {_token("t"): 12.0},
        _token("3"): {_BRACKET: 12.0, _token(","): 12.0},
        _CHARACTER[-1]: {_QUOTE: 12.0},
        **{before: {after: 12.0} for before, after in zip([_QUOTE, *_CHARACTER], _CHARACTER, strict=False)},
    },
)
_MODEL = tiny.write_model(_FOLDER / "standard.gguf", template=_TEMPLATE, context=4096, habits=_HABITS)


@pytest.fixture(scope="module", autouse=True)
def folder():
    yield
    shutil.rmtree(_FOLDER, ignore_errors=True)


class _Chat:
    @property
    def chat_model_class(self) -> type[GGUFChat]:
        return GGUFChat

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": str(_MODEL), "temperature": 0}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "max_tokens": 400, "stop": []}  # no network, so no timeout, retries or key

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {}

    @property
    def supports_json_mode(self) -> bool:
        return True


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
