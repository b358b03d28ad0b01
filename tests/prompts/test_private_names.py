"""The inner names of langchain-core that chains rest on are five at most, and are there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import chainkit

NAMES = [
    "langchain_core.callbacks.manager:_configure",
    "langchain_core.language_models.chat_models:BaseChatModel._generate_with_cache",
    "langchain_core.language_models.chat_models:BaseChatModel._agenerate_with_cache",
    "langchain_core.language_models.chat_models:BaseChatModel._should_stream",
]
WRITTEN_BY_MODELS = {"_generate", "_agenerate", "_stream", "_astream"}
"""What langchain-core's documentation asks a model to define."""


@pytest.mark.parametrize("name", NAMES)
def test_the_name_is_still_there(name: str) -> None:
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        assert hasattr(found, part), (
            f"{name} has vanished: see chainkit/prompts/direct/chat.py and chainkit/prompts/unobserved.py"
        )
        found = getattr(found, part)


def test_no_other_inner_name_is_used() -> None:
    prompts = Path(chainkit.__file__).parent / "prompts"
    files = [*prompts.glob("direct/*.py"), prompts / "unobserved.py", prompts / "sequence.py"]
    used = set()
    for file in files:
        text = file.read_text("utf-8")
        own = set(re.findall(r"(?:def |class |self\.|^|\()(_[a-z]\w+)", text, re.MULTILINE))
        used |= {*re.findall(r"\.(_[a-z]\w+)", text), *re.findall(r'"(_[a-z]\w+)"', text)} - own
    assert used - WRITTEN_BY_MODELS == {name.rpartition(":")[2].rpartition(".")[2] for name in NAMES}
    assert len(NAMES) <= 5
