"""The settings of a generation are checked when they are made, and all of them are in its key."""

from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from chainkit.base.generation import GenerationRequest


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", 2.0),
        ("repeat_penalty", 0.0),
        ("seed", -1),
        ("max_tokens", 0),
        ("stop", ("a", "")),
        ("logprobs", -1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=setting):
        GenerationRequest(**{setting: value})  # type: ignore[arg-type]


def test_the_default_is_greedy() -> None:
    assert GenerationRequest().temperature == 0.0


@dataclass(frozen=True)
class Words:
    """A constraint whose name does not tell it from another."""

    grammar: str
    name: str = "the JSON schema 'Answer'"


class Virtual:
    """A soft prompt by its digest."""

    digest = "5f3a"


OTHERS: dict[str, Any] = {
    "temperature": 0.5,
    "top_k": 3,
    "top_p": 0.5,
    "min_p": 0.5,
    "repeat_penalty": 1.5,
    "seed": 4,
    "max_tokens": 7,
    "stop": ("|",),
    "stop_regex": ("[.]",),
    "constraint": Words("start: /a/"),
    "following": "x",
    "logprobs": 0,
    "token_healing": False,
    "stop_repetition": True,
    "soft_prompt": Virtual(),
    "timeout": 9.0,
}


@pytest.mark.parametrize("name", [one.name for one in fields(GenerationRequest)])
def test_every_field_is_in_the_key(name: str) -> None:
    request = GenerationRequest()
    assert replace(request, **{name: OTHERS[name]}).key != request.key


def test_two_schemas_of_one_name_have_two_keys() -> None:
    first, second = (GenerationRequest(constraint=Words(grammar)) for grammar in ("start: /a/", "start: /b/"))
    assert first.key != second.key


def test_stops_that_run_together_are_told_apart() -> None:
    assert GenerationRequest(stop=("ab", "c")).key != GenerationRequest(stop=("a", "bc")).key


def test_what_cannot_be_told_apart_has_no_key() -> None:
    with pytest.raises(TypeError, match="object"):
        _ = GenerationRequest(soft_prompt=object()).key
