"""The cost of a hosted model's call, from a table of prices with the month of each."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from importlib.resources import files

_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens.

    Attributes:
        as_of: The month for which the price is known; providers change them.
        cached: For input that the provider had in its cache; None if that is not known.
    """

    as_of: str
    input: float
    output: float
    cached: float | None = None

    def of(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
        """US dollars for one call; cached tokens count at the full price if theirs is not known."""
        cached = self.input if self.cached is None else self.cached
        read = (input_tokens - cached_tokens) * self.input + cached_tokens * cached
        return (read + output_tokens * self.output) / 1e6


def price(provider: str, model: str) -> Price | None:
    """The price of a model at a provider; None if it is not in the table: nothing is guessed from a similar name.

    A date at the end of a name is left out, as it names a version of the same model.

    >>> price("openai", "gpt-4o-mini-2024-07-18") == price("openai", "gpt-4o-mini")
    True
    >>> price("openai", "gpt-4o-maxi") is None
    True
    """
    return _table().get(f"{provider.lower()}:{_DATE.sub('', model.lower())}")


@functools.cache
def _table() -> dict[str, Price]:
    text = files("chainkit.observe").joinpath("prices.json").read_text("utf-8")
    return {name: Price(*row) for name, row in json.loads(text)["models"].items()}
