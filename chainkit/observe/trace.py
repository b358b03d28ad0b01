"""`with chainkit.trace() as trace:` keeps what chains and models do meanwhile."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.context import register_configure_hook
from langchain_core.tracers.schemas import Run

from chainkit.base.redaction import Redaction
from chainkit.observe import log
from chainkit.observe.step import Step, from_run
from chainkit.observe.tree import tree

# One variable for each depth of traces inside traces: langchain-core adds the handler of each to every run.
_OPEN: list[ContextVar[BaseCallbackHandler | None]] = []
_LOCK = threading.Lock()


def trace(path: str | os.PathLike[str] | None = None) -> Trace:
    """A context manager that keeps what every chain, model, tool and retriever in it does.

    It follows context variables, so it holds for the tasks and for langchain-core's threads that are started inside,
    and not for others. Traces can be nested; each keeps all that happens in it.

    Args:
        path: An SQLite file to which each chain or call is added when it ends.

    >>> import chainkit
    >>> with chainkit.trace() as trace:
    ...     _ = (chainkit.prompt("Say {word}") | chainkit.chat_model("fake:?reply=bee")).invoke({"word": "bee"})
    >>> model = trace.models[0]
    >>> model.messages, model.answer, model.input_tokens, model.cost
    ((('human', 'Say bee'),), 'bee', 2, None)
    """
    return Trace(path)


class Trace:
    """The steps recorded inside `with chainkit.trace()`; `str()` of it is a readable tree.

    Attributes:
        path: The SQLite file that is written, or None.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = path
        self._steps: list[Step] = []
        self._listener: _Listener | None = None
        self._place: tuple[ContextVar[BaseCallbackHandler | None], Token[BaseCallbackHandler | None]] | None = None

    def __enter__(self) -> Self:
        if self._place is not None:
            raise RuntimeError("this trace is open already; chainkit.trace() makes another")
        self._listener = _Listener(self)
        variable = _free_variable()
        self._place = variable, variable.set(self._listener)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._place is not None
        assert self._listener is not None
        variable, token = self._place
        variable.reset(token)
        self._place = None
        self._listener.close()

    @property
    def steps(self) -> tuple[Step, ...]:
        """The outermost steps, in the order in which they ended; the others are in their `children`."""
        return tuple(self._steps)

    @property
    def models(self) -> tuple[Step, ...]:
        """Every call of a model."""
        return tuple(model for step in self._steps for model in step.models)

    @property
    def input_tokens(self) -> int:
        """Tokens that models read, where they said how many."""
        return sum(model.input_tokens or 0 for model in self.models)

    @property
    def output_tokens(self) -> int:
        """Tokens that models wrote, where they said how many."""
        return sum(model.output_tokens or 0 for model in self.models)

    @property
    def cost(self) -> float | None:
        """Estimated US dollars; None if the price of any call is not known."""
        total = 0.0
        for model in self.models:
            if model.cost is None:
                return None
            total += model.cost
        return total

    def to_sqlite(self, path: str | os.PathLike[str]) -> None:
        """Add all steps to an SQLite file; `chainkit.observe.log` reads it.

        Raises:
            LogFileError: The file is something else, or cannot be written.
        """
        log.write(path, self._steps)

    def tree(self, shorten: int | None = 300) -> str:
        """The steps as a text, each text cut to this many characters; None shows all."""
        return tree(self._steps, shorten)

    def __str__(self) -> str:
        return self.tree()

    def keep(self, step: Step) -> None:
        """Add a step that has ended."""
        self._steps.append(step)
        if self.path is not None:
            log.write(self.path, [step])


class _Listener(BaseTracer):
    """langchain-core's tracer, which hands every outermost run to a trace when it ends."""

    run_inline = True
    raise_error = True  # a trace that cannot be written is an error, not a line in a log
    log_missing_parent = False

    def __init__(self, owner: Trace) -> None:
        super().__init__(_schema_format="original+chat")
        self._owner = owner
        self._redaction = Redaction()
        self._closed = False

    def _persist_run(self, run: Run) -> None:
        if not self._closed:
            self._keep(run)

    def _keep(self, run: Run) -> None:
        if self._redaction.outdated:
            self._redaction = Redaction()
        self._owner.keep(from_run(run, self._redaction))

    def close(self) -> None:
        """Keep what has not ended, such as a stream that was left."""
        for run in list(self.run_map.values()):
            if run.parent_run_id is None or str(run.parent_run_id) not in self.run_map:
                self._keep(run)
        self._closed = True  # runs still active keep sending events, which are ignored


def _free_variable() -> ContextVar[Any]:
    with _LOCK:
        for variable in _OPEN:
            if variable.get() is None:
                return variable
        variable: ContextVar[BaseCallbackHandler | None] = ContextVar(f"chainkit_trace_{len(_OPEN)}", default=None)
        register_configure_hook(variable, inheritable=True)
        _OPEN.append(variable)
        return variable
