"""Results and rows as JSON can hold them."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import PromptValue
from pydantic import BaseModel

from chainkit.programs.run.run import Run


def as_json(value: Any) -> Any:
    """A value as JSON can hold it: of a message its text, of a run what the program wrote, of an array its numbers.

    Raises:
        TypeError: It is of a kind that has no such form.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool or kind is int:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is dict:
        return {str(name): as_json(part) for name, part in value.items()}
    if kind is list or kind is tuple:
        return [as_json(part) for part in value]
    return _object(value)


def _object(value: Any) -> Any:  # noqa: C901 - one case for each kind
    match value:
        case BaseMessage():
            return _message(value)
        case Run():
            return _run(value)
        case PromptValue():
            return value.to_string()
        case Document():
            return {"page_content": value.page_content, "metadata": as_json(value.metadata)}
        case BaseModel():
            return as_json(value.model_dump(mode="json"))
        case np.ndarray() | np.generic():
            return as_json(value.tolist())
        case Mapping():
            return {str(name): as_json(part) for name, part in value.items()}
        case set() | frozenset() | list() | tuple():
            return [as_json(part) for part in value]
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal() | Path():
            return str(value)
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case str() | int() | float():  # subclasses, such as those of enumerations
            return as_json(str(value) if isinstance(value, str) else float(value) if value % 1 else int(value))
        case _ if is_dataclass(value) and not isinstance(value, type):
            return as_json(asdict(value))
        case _:
            raise TypeError(
                f"a result of type {type(value).__name__} cannot be written as JSON; let the chain end in text"
            )


def _message(message: BaseMessage) -> Any:
    calls = getattr(message, "tool_calls", None)
    text = str(message.text)
    return {"text": text, "tool_calls": as_json(calls)} if calls else text


def _run(run: Run) -> Any:
    """What a program wrote into variables, or else its text."""
    written = run.written
    return {name: as_json(value) for name, value in written.items()} if written else str(run)
