"""Sampling settings are checked when they are made."""

import pytest

from chainkit.base.sampling import Sampling


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
        ("max_tokens", 0),
        ("stop", ("a", "")),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=setting):
        Sampling(**{setting: value})  # type: ignore[arg-type]


def test_the_default_is_greedy() -> None:
    assert Sampling().temperature == 0.0
