"""What a tokenizer of the `tokenizers` library may do to a text: its file can come from anywhere.

A file of some lines can make of one letter a million (a chain of replacements that double), and a damaged one fails in
the middle of a text, with bare errors or a panic of the library's Rust.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from chainkit.base.errors import ChainkitError, ModelFileError

MOST_GROWTH = 64
"""How many times longer a text may become; the normalizers of released models replace one character by one or three."""
MOST_PUT_AROUND = 1_000
"""How many tokens a tokenizer may put around a text."""


def check_growth(tokenizer: Any, path: object) -> None:
    """Refuse a tokenizer that makes texts longer than they may become.

    Args:
        tokenizer: A `tokenizers.Tokenizer`.
        path: Its file, for the error.

    Raises:
        ModelFileError: Its normalizers or its decoders can make a text more than `MOST_GROWTH` times longer, or it
            repeats the text, or it puts more than `MOST_PUT_AROUND` tokens around it.
    """
    for part, name in ((tokenizer.normalizer, "normalizer"), (tokenizer.decoder, "decoder")):
        if (times := _growth(_described(part))) > MOST_GROWTH:
            raise ModelFileError(
                path, f"has a {name} that makes a text {times} times longer; {MOST_GROWTH} are allowed"
            )
    texts, tokens = _put_together(_described(tokenizer.post_processor))
    if texts > 2 or tokens > MOST_PUT_AROUND:
        raise ModelFileError(path, f"puts {tokens} tokens around a text and repeats it {texts} times")


@contextmanager
def named_tokenizer_faults(path: object) -> Iterator[None]:
    """Name what the library raises for a damaged tokenizer.

    Raises:
        ModelFileError: It failed.
    """
    try:
        yield
    except (ChainkitError, MemoryError, TypeError, UnicodeEncodeError):  # the last two are about the text
        raise
    except Exception as error:
        raise ModelFileError(path, f"has a damaged tokenizer: {_brief(error)}") from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # raised by a Rust library; it does not derive from Exception
            raise ModelFileError(path, f"has a damaged tokenizer: {_brief(error)}") from error
        raise


def _described(part: Any) -> Any:
    return None if part is None else json.loads(part.__getstate__())


def _growth(node: Any) -> int:
    """The most bytes that come of one byte."""
    if not isinstance(node, dict):
        return 1
    steps = cast("dict[str, Any]", node)
    if steps.get("type") == "Replace":
        return max(1, len(str(steps.get("content", "")).encode("utf-8", "replace")) + _between(steps.get("pattern")))
    if steps.get("type") == "Prepend":
        return max(1, len(str(steps.get("prepend", "")).encode("utf-8", "replace")))
    times = 1
    for inner in (*(steps.get("normalizers") or ()), *(steps.get("decoders") or ())):
        times = min(times * _growth(inner), 1 << 40)
    return times


def _between(pattern: Any) -> int:
    """1 for an expression, which may match between characters and leave them."""
    return 1 if isinstance(pattern, dict) and "Regex" in pattern else 0


def _put_together(node: Any) -> tuple[int, int]:
    """How often the text occurs in the result, and how many tokens surround it."""
    if not isinstance(node, dict):
        return 1, 0
    steps = cast("dict[str, Any]", node)
    texts, tokens = 1, 0
    for inner in steps.get("processors") or ():
        again, more = _put_together(inner)
        texts, tokens = min(texts * again, 1 << 40), tokens + more
    if single := steps.get("single"):
        specials: dict[str, Any] = steps.get("special_tokens") or {}
        texts = sum("Sequence" in piece for piece in single)
        named = [str(piece["SpecialToken"].get("id")) for piece in single if "SpecialToken" in piece]
        tokens = sum(len((specials.get(name) or {}).get("ids") or ()) for name in named)
    return texts, tokens


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
