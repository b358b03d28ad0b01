"""Sessions on GGUF models keep the contract, on each library."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainkit.backends.llama_cpp.libraries import opened
from chainkit.backends.llama_cpp.runtime import LlamaRuntime, LlamaSettings
from chainkit.backends.llama_cpp.weights import LlamaLoading, load_weights
from chainkit.base.errors import MissingLibrary
from chainkit.local.session import LocalSession
from tests.backends.llama_cpp import tiny
from tests.backends.session_contract import TEXT, SessionContract


class GGUFContract(SessionContract):
    path: Path
    loading = LlamaLoading(probe=False)
    kv_type = tiny.KV

    def runtime_of(self, **changes: Any) -> LlamaRuntime:
        settings = LlamaSettings(context_length=self.limit, kv_type=self.kv_type, flash_attention=False, **changes)
        return LlamaRuntime(load_weights(self.path, self.loading), settings)

    @pytest.fixture(autouse=True)
    def _runtime(self, path: Path) -> Iterator[None]:
        self.path = path
        self.runtime = self.runtime_of(n_batch=32)
        yield
        del self.runtime  # ik_llama.cpp holds few contexts, and pytest holds every test

    def make(self) -> LocalSession:
        return LocalSession(self.runtime)

    def alone(self) -> LocalSession:
        return LocalSession(self.runtime_of())


class OnIk(GGUFContract):
    """On ik_llama.cpp, which keeps what was read as f16 and one text in memory."""

    loading = LlamaLoading(probe=False, engine="ik_llama_cpp")
    kv_type = "f16"

    def runtime_of(self, **changes: Any) -> LlamaRuntime:
        try:
            opened("ik_llama_cpp")
        except MissingLibrary as error:
            pytest.skip(str(error))
        runtime = super().runtime_of(**changes)
        assert runtime.library.sequences == 1
        return runtime

    def test_prompts_in_turn_are_never_read_twice(self) -> None:
        """With one text in memory only what they have in common is not."""
        shared = self.make().append(TEXT)
        shared.logits()
        shared.close()
        for end in (" the dog ran", " was red", " the dog ran"):
            session = self.make().append(TEXT).append(end)
            session.logits()
            assert session.counters.cached == len(shared.tokens)
            self.same(session)
            session.close()


class TestBPE(GGUFContract):
    @pytest.fixture
    def path(self, bpe_model: Path) -> Path:
        return bpe_model


class TestSentencePiece(GGUFContract):
    @pytest.fixture
    def path(self, spm_model: Path) -> Path:
        return spm_model


class TestBPEOnIk(OnIk):
    @pytest.fixture
    def path(self, bpe_model: Path) -> Path:
        return bpe_model


class TestSentencePieceOnIk(OnIk):
    @pytest.fixture
    def path(self, spm_model: Path) -> Path:
        return spm_model
