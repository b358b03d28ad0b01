"""Errors as a user sees them: one line that says what to do, and an exit status."""

from __future__ import annotations

import _thread
import errno
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from chainkit.base.errors import ChainkitError, of_system
from chainkit.base.redaction import Redaction

DEBUG = "chainkit.debug"
"""The name in click's `ctx.meta` under which --debug is kept."""

INTERRUPTED = 130  # 128 + SIGINT, as shells count
TERMINATED = 143  # 128 + SIGTERM

_AGAIN_SECONDS = 0.02
_KEPT = "chainkit.kept"


class CommandFault(click.ClickException):
    """An error that ends the program with status 1 and one line on standard error."""

    def show(self, file: Any = None) -> None:
        """Write the line."""
        click.echo(f"chainkit: {one_line(self.message)}", file=file or sys.stderr)


@contextmanager
def exit_status(ctx: click.Context) -> Iterator[None]:
    """Turn errors and interrupts of a command into click's exit statuses."""
    try:
        with warnings.catch_warnings():
            if not ctx.meta.get(DEBUG):
                warnings.showwarning = _show_warning
            yield
        flush()
    except (KeyboardInterrupt, click.Abort):
        raise _stopped(ctx) from None
    except (click.ClickException, click.exceptions.Exit):
        raise
    except Exception as error:
        if _was_interrupted(error):
            raise _stopped(ctx) from None
        raise _ending(ctx, error) from error


def keeps(saved: Callable[[], str]) -> None:
    """On Ctrl-C, end the command with a line that says what was saved."""
    click.get_current_context().meta[_KEPT] = saved


def _stopped(ctx: click.Context) -> click.exceptions.Exit:
    if saved := ctx.meta.get(_KEPT):
        click.echo(f"\nchainkit: stopped; {one_line(saved())}", file=sys.stderr)
    return click.exceptions.Exit(INTERRUPTED)


def _ending(ctx: click.Context, error: Exception) -> Exception:
    """What ends the program when this error reaches its outer edge; nobody above could handle it."""
    if isinstance(error, OSError) and error.errno == errno.EPIPE and _reader_has_gone():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what is still buffered would fail again at exit
        return click.exceptions.Exit(0)
    if isinstance(error, OSError):
        return _fault(ctx, error, _of_system(error))
    if isinstance(error, (ChainkitError, UnicodeError, MemoryError)):
        return _fault(ctx, error, str(error) or type(error).__name__)
    # a user is shown a line, not a traceback
    name = type(error).__name__
    return _fault(ctx, error, f"unexpected {name}: {error}; --debug shows where, please report it")


def _was_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C caused an error: a library interrupted during its import reports that it cannot be loaded."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def end_on_sigterm() -> None:
    """Let SIGTERM end the program as an error does: the terminal is restored and temporary folders are removed."""
    signal.signal(signal.SIGTERM, _end)


def _end(*_signal: object) -> None:
    raise SystemExit(TERMINATED)


def interrupt_again(lost: Any) -> None:
    """As `sys.unraisablehook`: a signal that fell into a place that cannot raise, like a callback of an import, is
    repeated a moment later; Python would write it down and go on."""
    if not isinstance(lost.exc_value, KeyboardInterrupt | SystemExit):
        sys.__unraisablehook__(lost)
        return
    number = signal.SIGTERM if isinstance(lost.exc_value, SystemExit) else signal.SIGINT
    again = threading.Timer(_AGAIN_SECONDS, _interrupt, [number])
    again.daemon = True
    again.start()


def _interrupt(number: signal.Signals) -> None:
    """The signal for the main thread; a real one, where there are such, ends a wait at once."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        _thread.interrupt_main(number)


def flush() -> None:
    """Flush standard output, so that a closed pipe is noticed here and not at exit."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _reader_has_gone() -> bool:
    """Whether it was standard output that could not be written; a broken connection looks the same."""
    try:
        sys.stdout.write("\n")
        flush()
    except BrokenPipeError:
        return True
    return False


def one_line(text: str) -> str:
    """A message on one line, without any API key that may stand in it.

    >>> one_line("bad spec\\n 'openai:x?api_key=sk-123'")
    "bad spec 'openai:x?api_key=***'"
    """
    return without_keys(" ".join(text.split()))


def without_keys(text: str) -> str:
    """The text with `***` for every key; see `base.redaction`."""
    return Redaction().text(text)


def trace(ctx: click.Context, error: BaseException) -> None:
    """Show where an error came from, if --debug was given."""
    if ctx.meta.get(DEBUG):
        click.echo(without_keys("".join(traceback.format_exception(error))), file=sys.stderr, nl=False)


def _fault(ctx: click.Context, error: BaseException, message: str) -> CommandFault:
    trace(ctx, error)
    return CommandFault(message)


def _show_warning(message: Warning | str, *_place: object) -> None:
    click.echo(f"chainkit: {one_line(str(message))}", file=sys.stderr)


def _of_system(error: OSError) -> str:
    if isinstance(error, ChainkitError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {of_system(error)}" if error.filename else of_system(error)
