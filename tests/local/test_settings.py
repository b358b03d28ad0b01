"""Settings that hosted models have mean the same, or do no harm, on local ones."""

from __future__ import annotations

from pathlib import Path

import pytest

import chainkit
from chainkit.backends.llama_cpp.chat import GGUFChat
from chainkit.base.errors import TimedOut

DEMO = Path(__file__).parents[2] / "examples" / "demo_model" / "demo-q8_0.gguf"


def test_a_text_that_takes_too_long_is_timed_out_and_the_model_goes_on() -> None:
    model = GGUFChat(model=str(DEMO), context_length=256, timeout=0.000001, max_tokens=200)
    for call in (lambda: model.invoke("Hello"), lambda: list(model.stream("Hello"))):
        with pytest.raises(TimedOut, match="not complete within timeout=1e-06 s"):
            call()
    assert model.invoke("Hello", timeout=600, max_tokens=3).text


def test_the_words_of_hosted_models_are_taken() -> None:
    model = chainkit.chat_model(f"gguf:{DEMO}?timeout=60&max_retries=2&max_tokens=3")
    assert model.invoke("Hello").text


@pytest.mark.parametrize("timeout", [0, -1])
def test_no_time_at_all_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be above 0"):
        GGUFChat(model=str(DEMO), timeout=timeout)
