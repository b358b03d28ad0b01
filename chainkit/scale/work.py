"""The work on rows: any Runnable, embeddings or function, as one call on a list of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from chainkit.base import opening
from chainkit.base.errors import ChainkitError
from chainkit.programs.run.runnable import Program
from chainkit.scale.sources import text_of

Call: TypeAlias = Callable[[Sequence[Any]], list[Any]]
"""Rows to results; the result of a failed row is its error."""

EMBEDDED_ROWS = 256
"""Texts that are embedded at once: the models sort them by length and compute those of one length together."""

_HOSTED_CALLS = 16
_PARTS = ("bound", "steps", "steps__", "models", "runnable", "fallbacks", "branches", "default", "model", "mapper")
_PRIVATE_PARTS = ("_answering",)


@dataclass(frozen=True)
class RowWork:
    """The work to do on rows.

    Attributes:
        call: Does it.
        rows: How many are given to a call.
        at_once: How many calls go on at the same time; 1 needs no threads.
        models: The models in it.
        stop: Called when the run ends early, so that calls that wait do not go on.
    """

    call: Call
    rows: int
    at_once: int
    models: tuple[Any, ...]
    stop: Callable[[], object] | None = None


def work_of(runnable: Any, column: str | None, config: RunnableConfig | None, concurrency: int | None) -> RowWork:
    """What a runnable does with rows.

    Args:
        runnable: A Runnable, embeddings, a function of a row, or the spec of a model.
        column: The column that it is given; None gives it the whole row.
        config: For every call.
        concurrency: Calls at the same time; None: as many texts as a local model computes well together, 16 for hosted
            models, and 1 for what holds no model.

    Raises:
        TypeError: It is none of these.
    """
    made: Any = opening.answering(runnable) if isinstance(runnable, str) else runnable
    if isinstance(made, Embeddings):
        return RowWork(_embedding(made, column), EMBEDDED_ROWS, concurrency or 1, ())
    if not isinstance(made, Runnable) and not callable(made):
        raise TypeError(f"a Runnable, embeddings, a function or a spec is mapped, not {type(made).__name__}")
    models = _distinct(models_in(made))
    call = _calling(made, column, config)
    return RowWork(call, 1, concurrency or default_concurrency(models), models)


def default_concurrency(models: Sequence[Any]) -> int:
    """How many calls of these models go on at the same time."""
    if not models:
        return 1
    local = [model for model in models if hasattr(model, "runtime")]
    if not local:
        return _HOSTED_CALLS
    return max(1, min(int(getattr(model.runtime, "parallel", 1)) for model in local))


def models_in(step: Any, depth: int = 0) -> Iterator[Any]:
    """The models that a Runnable holds, as far as they can be seen from outside; those inside functions cannot."""
    if isinstance(step, BaseLanguageModel):
        yield step
        return
    if depth > 20 or not isinstance(step, Runnable):
        return
    for name in (*_PARTS, *_PRIVATE_PARTS):
        part: Any = getattr(step, name, None)
        inside = part.values() if isinstance(part, Mapping) else part if isinstance(part, list | tuple) else [part]
        for one in inside:
            for two in one if isinstance(one, tuple) else (one,):
                yield from models_in(two, depth + 1)


def _distinct(models: Iterator[Any]) -> tuple[Any, ...]:
    return tuple({id(model): model for model in models}.values())


def _calling(made: Any, column: str | None, config: RunnableConfig | None) -> Call:
    if isinstance(made, RunnableLambda) and config is None and _plain(made.func):
        made = made.func
    act = (lambda row: made.invoke(row, config)) if isinstance(made, Runnable) else made
    if isinstance(made, Program) and config is None:
        act = made.invoke

    def call(rows: Sequence[Any]) -> list[Any]:
        (row,) = rows
        try:
            return [act(row if column is None else text_of(row, column))]
        except Exception as error:  # noqa: BLE001 - of this row only; it is written down with it
            return [error]

    return call


def _plain(function: Any) -> bool:
    """Whether a function takes nothing but the row; langchain-core gives others a config or a run manager."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_argcount == 1 and not code.co_kwonlyargcount


def _embedding(model: Embeddings, column: str | None) -> Call:
    def text(row: Any) -> str:
        found = text_of(row, column) if column is not None else _only_text(row)
        if not isinstance(found, str) or not found.strip():
            raise TypeError(f"the row holds {type(found).__name__ if found else 'no text'} where a text should be")
        return found

    def call(rows: Sequence[Any]) -> list[Any]:
        results: list[Any] = [None] * len(rows)
        texts: dict[int, str] = {}
        for place, row in enumerate(rows):
            try:
                texts[place] = text(row)
            except (KeyError, TypeError) as error:
                results[place] = error
        for place, vector in zip(texts, _vectors(model, list(texts.values())), strict=True):
            results[place] = vector
        return results

    return call


def _vectors(model: Embeddings, texts: list[str]) -> list[Any]:
    """Vectors, or errors where one text cannot be embedded."""
    try:
        return list(model.embed_documents(texts)) if texts else []
    except (ChainkitError, ValueError, TypeError) as error:
        if len(texts) == 1:
            return [error]
    return [vector for text in texts for vector in _vectors(model, [text])]


def _only_text(row: Any) -> Any:
    if isinstance(row, str):
        return row
    if isinstance(row, Mapping) and len(row) == 1:
        return next(iter(row.values()))
    names = ", ".join(map(str, row)) if isinstance(row, Mapping) else type(row).__name__
    raise KeyError(f"the row has several columns; choose one with --column (column=...): {names}")
