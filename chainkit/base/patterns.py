"""Regular expressions that users give, matched in linear time wherever their pattern allows it.

Python's engine can take exponential time for a pattern like `(a+)+c`. The Rust engine in pydantic cannot, but it
supports neither look-around nor back-references: a pattern that has them is matched by Python alone. So is one with
a `$`, which in Python also matches before a final line break.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema

_DOLLAR = re.compile(r"(?<!\\)(?:\\\\)*\$")


class Pattern:
    """One pattern of a user.

    Args:
        pattern: As Python reads it.

    Raises:
        re.error: Python cannot read it.
    """

    def __init__(self, pattern: str) -> None:
        self._python = re.compile(pattern)
        self._whole, self._start, self._anywhere = (
            _linear(form.format(pattern)) for form in (r"\A(?:{})\z", r"\A(?:{})", "(?:{})")
        )

    def fullmatch(self, text: str) -> bool:
        """Whether the whole text is of the pattern."""
        if self._whole is None:
            return self._python.fullmatch(text) is not None
        return self._whole.isinstance_python(text)

    def match(self, text: str) -> re.Match[str] | None:
        """Match at the beginning of the text."""
        return self._python.match(text) if self._start is None or self._start.isinstance_python(text) else None

    def search(self, text: str) -> re.Match[str] | None:
        """First match in the text."""
        return self._python.search(text) if self._anywhere is None or self._anywhere.isinstance_python(text) else None


@lru_cache(maxsize=256)
def pattern(text: str) -> Pattern:
    """A pattern, read once.

    Raises:
        re.error: Python cannot read it.
    """
    return Pattern(text)


def _linear(text: str) -> SchemaValidator | None:
    if _DOLLAR.search(text):
        return None
    try:
        return SchemaValidator(core_schema.str_schema(pattern=text, regex_engine="rust-regex"))
    except SchemaError:
        return None
