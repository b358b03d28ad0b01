"""Batches whose calls have settings of their own."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from chainkit.local.several import PairedModel, differ, pairs, settings_of_each


def test_one_setting_is_that_of_all_and_a_list_has_one_for_each() -> None:
    assert not differ({"soft_prompt": "a"})
    assert settings_of_each({"soft_prompt": "a", "seed": 1}, 2) == [{"soft_prompt": "a", "seed": 1}] * 2
    assert differ({"soft_prompt": ["a", None]})
    each = settings_of_each({"soft_prompt": ["a", None], "seed": 1}, 2)
    assert each == [{"soft_prompt": "a", "seed": 1}, {"soft_prompt": None, "seed": 1}]


@pytest.mark.parametrize("count", [1, 3])
def test_a_list_of_another_length_is_refused_with_both_numbers(count: int) -> None:
    with pytest.raises(ValueError, match=f"soft_prompt names 2 for {count} prompts"):
        settings_of_each({"soft_prompt": ["a", "b"]}, count)


async def test_each_input_is_sent_with_its_own_settings() -> None:
    def answer(text: str, **settings: Any) -> tuple[str, Any]:
        return text, settings["soft_prompt"]

    model = PairedModel(RunnableLambda(answer))
    wanted = [("x", "a"), ("y", None)]
    assert model.batch(pairs(["x", "y"], {"soft_prompt": ["a", None]})) == wanted
    assert await model.abatch(pairs(["x", "y"], {"soft_prompt": ["a", None]})) == wanted
