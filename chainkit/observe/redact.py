"""Texts without API keys."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from chainkit.base.errors import ChainkitError
from chainkit.base.keys import KEY_VARIABLES, find_key

HIDDEN = "***"

_SECRET_NAMES = re.compile(r"(API_?KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_SHAPES = re.compile(r"\b(?:sk|gsk|hf|xai|pplx)[-_][A-Za-z0-9_-]{16,}|(?<=Bearer )[A-Za-z0-9._~+/-]{8,}=*")
_SHORTEST = 8  # a shorter value may be an ordinary word


class Redaction:
    """Puts `***` for every key that is set on this machine, and for what has the shape of a key.

    >>> Redaction().text("Authorization: Bearer abcdefgh12345")
    'Authorization: Bearer ***'
    """

    def __init__(self) -> None:
        words = sorted(_known(), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, words))) if words else None

    def text(self, text: str) -> str:
        """The text without keys."""
        if self._known:
            text = self._known.sub(HIDDEN, text)
        return _SHAPES.sub(HIDDEN, text)

    def value(self, value: Any) -> Any:
        """A value of JSON without keys, in its texts and under names such as `api_key`."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            pairs = cast("Mapping[str, Any]", value).items()
            return {self.text(name): self._field(name, part) for name, part in pairs}
        if isinstance(value, Sequence):
            return [self.value(part) for part in cast("Sequence[Any]", value)]
        return value

    def _field(self, name: str, value: Any) -> Any:
        return HIDDEN if isinstance(value, str) and value and _SECRET_NAMES.search(name) else self.value(value)


def _known() -> set[str]:
    found = {value for name, value in os.environ.items() if _SECRET_NAMES.search(name)}
    for provider in KEY_VARIABLES:
        try:
            key = find_key(provider)
        except ChainkitError:  # the file of keys is broken, so no key of it can be in use
            break
        if key:
            found.add(key.secret)
    return {word for word in found if len(word) >= _SHORTEST}
