"""Sessions on GGUF models keep the contract."""

from pathlib import Path
from typing import Any

import pytest

from chainkit.backends.llama_cpp.runtime import LlamaRuntime, LlamaSettings
from chainkit.backends.llama_cpp.weights import LlamaLoading, load_weights
from chainkit.local.session import LocalSession
from tests.backends.llama_cpp import tiny
from tests.backends.session_contract import SessionContract


class GGUFContract(SessionContract):
    path: Path

    def runtime_of(self, **changes: Any) -> LlamaRuntime:
        settings = LlamaSettings(context_length=self.limit, kv_type=tiny.KV, flash_attention=False, **changes)
        return LlamaRuntime(load_weights(self.path, LlamaLoading(probe=False)), settings)

    @pytest.fixture(autouse=True)
    def _runtime(self, path: Path) -> None:
        self.path = path
        self.runtime = self.runtime_of(n_batch=32)

    def make(self) -> LocalSession:
        return LocalSession(self.runtime)

    def alone(self) -> LocalSession:
        return LocalSession(self.runtime_of())


class TestBPE(GGUFContract):
    @pytest.fixture
    def path(self, bpe_model: Path) -> Path:
        return bpe_model


class TestSentencePiece(GGUFContract):
    @pytest.fixture
    def path(self, spm_model: Path) -> Path:
        return spm_model
