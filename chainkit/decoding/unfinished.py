"""Arguments of a call that were cut: how merged pieces are kept from being read as whole ones."""

from __future__ import annotations

import json
from collections.abc import Mapping

from chainkit.decoding.outline import Outline


def unfinished(arguments: str) -> bool:
    """Whether a text is not a JSON object.

    >>> unfinished('{"a": 1}'), unfinished('{"a": 1')
    (False, True)
    """
    try:
        return not isinstance(json.loads(arguments, strict=False), Mapping)
    except (ValueError, RecursionError):
        return True


def mark_of_cut(arguments: str, reason: str) -> str:
    """A suffix for cut arguments, so that parsers that complete partial JSON do not take them as complete.

    langchain-core closes open brackets in the arguments of streamed calls, and fails on a mismatched one.

    >>> mark_of_cut('{"city": "Mün', "cut at the limit of tokens")
    '"] cut at the limit of tokens'
    """
    outline = Outline().after(arguments.encode())
    wrong = "}" if outline.stack.endswith(b"[") else "]"
    return ("\\" * outline.escaped) + '"' * outline.in_string + f"{wrong} {reason}"
