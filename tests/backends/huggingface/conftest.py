"""Tiny models, saved once per test run."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.backends.huggingface import tiny


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The folder of a model: a kind of `tiny.KINDS`, "spm" or "t5"."""
    place = tmp_path_factory.mktemp("models")

    @cache
    def made(kind: str) -> str:
        target: Path = place / kind
        if kind == "t5":
            return tiny.save(target, tiny.seq2seq(), tiny.unigram())
        if kind == "spm":
            return tiny.save(target, tiny.causal("llama", tiny.spm()), tiny.spm())
        return tiny.save(target, tiny.causal(kind), tiny.bpe())

    return made
