"""Errors whose tracebacks hold no API key in local variables, causes or notes.

`traceback`, rich, pytest and services that collect errors print the variables of each frame. A frame that took a spec
or an option has the key in them, and one that wrote to a connection has the header.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import aclosing
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from chainkit.base.redaction import Redaction

P = ParamSpec("P")
R = TypeVar("R")


def hides_locals(function: Callable[P, R]) -> Callable[P, R]:
    """Let an error that leaves the function take no local variables along: not its own, none of what it called."""
    return _hiding(function, always=True)


def ahides_locals(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """`hides_locals` for a coroutine function."""
    return _ahiding(function, always=True)


def hides_given_keys(function: Callable[P, R]) -> Callable[P, R]:
    """`hides_locals` where an argument, or an item of one, is a text with a key, as a spec or an address may be.

    Otherwise the variables stay: those of a model or a tool of the user help to find what failed in it.
    """
    return _hiding(function, always=False)


def ahides_given_keys(function: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """`hides_given_keys` for a coroutine function."""
    return _ahiding(function, always=False)


def _hiding(function: Callable[P, R], *, always: bool) -> Callable[P, R]:
    @wraps(function)
    def hiding(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            if always or _hold_a_key([*args, *kwargs.values()]):
                forget_locals(error)
                del args, kwargs  # this frame is in the traceback too
            raise

    return hiding


def _ahiding(function: Callable[P, Awaitable[R]], *, always: bool) -> Callable[P, Coroutine[Any, Any, R]]:
    @wraps(function)
    async def hiding(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            if always or _hold_a_key([*args, *kwargs.values()]):
                forget_locals(error)
                del args, kwargs
            raise

    return hiding


def stream_hides_locals(function: Callable[P, Generator[R]]) -> Callable[P, Generator[R]]:
    """`hides_locals` for a generator function."""

    @wraps(function)
    def hiding(*args: P.args, **kwargs: P.kwargs) -> Generator[R]:
        try:
            yield from function(*args, **kwargs)
        except GeneratorExit:
            raise
        except BaseException as error:
            forget_locals(error)
            del args, kwargs
            raise

    return hiding


def astream_hides_locals(function: Callable[P, AsyncGenerator[R]]) -> Callable[P, AsyncGenerator[R]]:
    """`hides_locals` for an asynchronous generator function."""

    @wraps(function)
    async def hiding(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R]:
        try:
            async with aclosing(function(*args, **kwargs)) as given:
                async for one in given:
                    yield one
        except GeneratorExit:
            raise
        except BaseException as error:
            forget_locals(error)
            del args, kwargs
            one = None
            raise

    return hiding


def forget_locals(error: BaseException) -> None:
    """Clear the frames that an error and its causes have left, and cut off causes whose words show a key.

    Frames that still run keep their variables; the lines and names of all frames stay.
    """
    redaction = Redaction()
    for one in _linked(error):
        traceback.clear_frames(one.__traceback__)
        if one.__cause__ is not None and shows_key(one.__cause__, redaction):
            one.__cause__ = None
        if one.__context__ is not None and shows_key(one.__context__, redaction):
            one.__context__ = None
        if hasattr(one, "__notes__"):
            one.__notes__ = [redaction.text(note) for note in one.__notes__]


def keep_keys_out_of_logs(*libraries: str) -> None:
    """Let the loggers of libraries that are imported write no key; some log whole answers of a service."""
    for name in list(logging.root.manager.loggerDict):
        if any(name == library or name.startswith(f"{library}.") for library in libraries):
            logging.getLogger(name).addFilter(_KEYLESS)  # one that is there already is not added again


class _KeylessRecords(logging.Filter):
    """Removes keys from log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        """True: every record is kept."""
        redaction, said = Redaction(), record.getMessage()
        record.msg, record.args = redaction.text(said), ()
        if record.exc_info:
            trace_text = logging.Formatter().formatException(record.exc_info)
            if redaction.text(trace_text) != trace_text:
                record.exc_text, record.exc_info = redaction.text(trace_text), None
        return True


_KEYLESS = _KeylessRecords()


def shows_key(error: BaseException, redaction: Redaction) -> bool:
    """Whether the words of an error hold a key."""
    words = f"{error}\n{error!r}"
    return redaction.text(words) != words


def _hold_a_key(values: Sequence[object]) -> bool:
    redaction = Redaction()
    return any(redaction.text(item) != item for value in values for item in _texts(value))


def _texts(value: object) -> list[str]:
    items = cast("Sequence[object]", value) if isinstance(value, list | tuple) else [value]
    return [item for item in items if isinstance(item, str)]


def _linked(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from; links that are cut meanwhile are not followed."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
