"""Texts without API keys: the one place that every message, trace and log passes.

A key is known here if it is set on this machine (environment, `.env`, the file of stored keys) or was given to a model
of this process. It is found verbatim and in the forms that libraries write: `repr`, JSON, percent-encoded, base64.
"""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from chainkit.base.errors import ChainkitError
from chainkit.base.keys import KEY_VARIABLES, find_key

HIDDEN = "***"

_SECRET_NAMES = re.compile(r"((API|ACCESS|SECRET|PRIVATE|AUTH)_?KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_SECRET_VARIABLES = re.compile(f"{_SECRET_NAMES.pattern}|_BEARER_TOKEN", re.IGNORECASE)
_OPTIONS = re.compile(r"((?:(?:api_?)?key|token|secret|password)=)(?!\.\.\.)[^&\s'\"]+", re.IGNORECASE)
_SHAPES = re.compile(
    r"\b(?:sk|gsk|hf|xai|pplx)[-_][\w*-]{6,}|(?<=Bearer )[A-Za-z0-9._~+/-]{8,}=*|(?<=://)[^/@\s]+(?=@)"
)
_SHORTEST = 8
"""A shorter value of an environment variable may be an ordinary word."""

_in_use: set[str] = set()


def remember(secret: str) -> None:
    """Know a key that was given to a model, so that no text of this process shows it."""
    if len(secret) >= _SHORTEST:
        _in_use.add(secret)


class Redaction:
    """Replaces keys by `***`: known keys, those given, and text shaped like a key.

    >>> Redaction().text("Authorization: Bearer abcdefgh12345; openai:m?api_key=1234")
    'Authorization: Bearer ***; openai:m?api_key=***'

    Args:
        secrets: More of them, of any length.
    """

    def __init__(self, *secrets: str) -> None:
        words = {form for secret in {*_known(), *filter(None, secrets)} for form in _forms(secret)}
        longest_first = sorted(words, key=len, reverse=True)
        self._keys_in_use = len(_in_use)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if words else None

    @property
    def outdated(self) -> bool:
        """Whether a key came into use since this was made."""
        return self._keys_in_use != len(_in_use)

    def text(self, text: str) -> str:
        """The text without keys."""
        return _SHAPES.sub(HIDDEN, _OPTIONS.sub(rf"\1{HIDDEN}", self.known(text)))

    def known(self, text: str) -> str:
        """The text without known keys; text that only looks like a key is left unchanged."""
        return self._known.sub(HIDDEN, text) if self._known else text

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


def _forms(secret: str) -> Iterable[str]:
    """How a key may be written: plain, as Python or JSON shows it, in an address, in a header."""
    data = secret.encode("utf-8", "surrogatepass")
    yield secret
    yield repr(secret)[1:-1]
    yield repr(data)[2:-1]
    yield json.dumps(secret)[1:-1]
    yield urllib.parse.quote(data, safe="")
    yield urllib.parse.quote_plus(data)
    if len(secret) >= _SHORTEST:
        for encoded in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
            yield encoded.rstrip(b"=").decode()


def _known() -> set[str]:
    found = {value for name, value in os.environ.items() if _SECRET_VARIABLES.search(name)}
    for provider in KEY_VARIABLES:
        try:
            key = find_key(provider)
        except ChainkitError:  # the file of keys is broken, so no key of it can be in use
            break
        if key:
            found.add(key.secret)
    return {word for word in {*found, *_in_use} if len(word.strip()) >= _SHORTEST}
