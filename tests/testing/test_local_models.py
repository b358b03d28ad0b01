"""Local models pass the suites too: the demo model on llama.cpp, a tiny one of random weights on transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chainkit.testing import ChatIntegrationTests, ChatUnitTests, LLMIntegrationTests, LLMUnitTests

pytestmark = pytest.mark.slow

DEMO = Path(__file__).parents[2] / "examples" / "demo_model" / "demo-q8_0.gguf"


class Local:
    """Short answers: the promises do not need long ones."""

    prompts = ["the cat sat on", "Once there was", "What is the colour?"]
    prompt = "Once upon a time there was"


class Demo(Local):
    @property
    def model_params(self) -> dict[str, Any]:
        # rounding differs with the number of tokens computed at once; with these it changes no choice
        return {"model": str(DEMO), "max_tokens": 16, "kv_type": "f32", "flash_attention": False}


class TestGGUFModel(Demo, LLMUnitTests, LLMIntegrationTests):
    @property
    def model_class(self) -> Any:
        return pytest.importorskip("chainkit.backends.llama_cpp.models").GGUFModel


class TestGGUFChat(Demo, ChatUnitTests, ChatIntegrationTests):
    @property
    def model_class(self) -> Any:
        return pytest.importorskip("chainkit.backends.llama_cpp.models").GGUFChat


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("torch")
    from tests.backends.huggingface import tiny

    return tiny.save(tmp_path_factory.mktemp("tiny") / "llama", tiny.causal("llama"), tiny.bpe())


class TestHuggingFaceModel(Local, LLMUnitTests, LLMIntegrationTests):
    folder: str

    @pytest.fixture(autouse=True)
    def at(self, tiny_folder: str) -> None:
        self.folder = tiny_folder

    @property
    def model_class(self) -> Any:
        from chainkit.backends.huggingface.models import HuggingFaceModel

        return HuggingFaceModel

    @property
    def model_params(self) -> dict[str, Any]:
        return {"model": self.folder, "max_tokens": 16}
