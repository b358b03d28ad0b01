"""Sessions on GGUF models keep the contract."""

from pathlib import Path
from typing import Any

import pytest

from chainkit.backends.llama_cpp.engine import Engine, EngineSettings
from chainkit.backends.llama_cpp.session import LlamaSession
from chainkit.backends.llama_cpp.weights import Loading, load_weights
from tests.backends.session_contract import SessionContract


class GGUFContract(SessionContract):
    path: Path

    def engine_of(self, **changes: Any) -> Engine:
        settings = EngineSettings(n_ctx=self.limit, kv_type="f32", flash_attention=False, **changes)
        return Engine(load_weights(self.path, Loading(probe=False)), settings)

    @pytest.fixture(autouse=True)
    def _engine(self, path: Path) -> None:
        self.path = path
        self.engine = self.engine_of(n_batch=32)

    def make(self) -> LlamaSession:
        return LlamaSession(self.engine)

    def alone(self) -> LlamaSession:
        return LlamaSession(self.engine_of())


class TestBPE(GGUFContract):
    @pytest.fixture
    def path(self, bpe_model: Path) -> Path:
        return bpe_model


class TestSentencePiece(GGUFContract):
    @pytest.fixture
    def path(self, spm_model: Path) -> Path:
        return spm_model
