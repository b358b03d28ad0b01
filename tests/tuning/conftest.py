"""A tiny model and a task that its soft prompt can learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("peft")

from tests.backends.huggingface import tiny


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.save(tmp_path_factory.mktemp("tuning") / "llama", tiny.causal("llama"), tiny.bpe())


@pytest.fixture(scope="session")
def pairs() -> list[tuple[str, str]]:
    """Whatever is asked, the answer is the same few words."""
    things = ["cat", "dog", "house", "sea", "mat", "red", "blue", "small", "sat", "ran", "once", "there"]
    return [(f"the {one} and the {two}", " is red") for one in things for two in things[:3] if one != two]


@pytest.fixture
def tuned(folder: str, pairs: list[tuple[str, str]]) -> Callable[..., object]:
    """`tune` with settings that are quick."""
    from chainkit.tuning import tune

    def call(out: Path | None = None, **changes: object) -> object:
        settings = {"epochs": 3, "batch_size": 8, "show_plan": None, "answer_ends": False} | changes
        return tune(settings.pop("model", folder), settings.pop("examples", pairs), out, **settings)

    return call
