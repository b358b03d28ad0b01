"""Output of commands: text, JSON and tables on standard output, notes and bars on standard error."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

PATIENCE_SECONDS = 0.7
"""How long something may take before a bar says that it is going on."""

NARROW = 50
"""Columns that a terminal must have for a table."""

_UNFOLDED = 100_000  # columns
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def say(text: str, *, end: str = "\n") -> None:
    """Write a result; in a terminal, without characters that would steer the terminal."""
    # explicit, because without a stream click writes UTF-8 even if standard output is ASCII
    click.echo((plain(text) if sys.stdout.isatty() else text) + end, file=sys.stdout, nl=False)


def note(text: str) -> None:
    """Tell the user something that is no part of the result."""
    click.echo(f"chainkit: {plain(text)}", file=sys.stderr)


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Write a value as JSON, in ASCII where standard output is not UTF-8."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    click.echo(json.dumps(value, ensure_ascii=not unicode, indent=indent, allow_nan=False), file=sys.stdout)


def plain(text: str) -> str:
    """Text without control characters other than tab and new line.

    >>> plain("red \\x1b[31m?")
    'red [31m?'
    """
    return _CONTROLS.sub("", text)


def amount(nbytes: int) -> str:
    """Bytes for people, in powers of 1000.

    >>> amount(4_080_000_000), amount(57_000), amount(7_600_000)
    ('4.08 GB', '57 kB', '7.6 MB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= size:
            digits = 2 if unit == "GB" else 1 if nbytes < 10 * size else 0
            return f"{nbytes / size:.{digits}f} {unit}"
    return f"{nbytes} bytes"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table: folded to a terminal's width, or one line for each row where there is no terminal.

    A terminal with fewer than `NARROW` columns gets one line for each cell.
    """
    from rich.console import Console

    terminal = sys.stdout.isatty()
    clean = [[_written(plain(cell if terminal else " ".join(cell.split()))) for cell in row] for row in rows]
    console = Console(file=sys.stdout, width=None if terminal else _UNFOLDED, highlight=False)
    if console.width < NARROW:
        records = ["\n".join(f"{c}: {cell}" for c, cell in zip(columns, row, strict=True) if cell) for row in clean]
        say("\n\n".join(records))
        return
    with console.capture() as capture:
        console.print(_sheet(columns, clean))
    lines = [line.rstrip() for line in capture.get().splitlines()]
    click.echo("\n".join(lines).strip("\n"), file=sys.stdout)


def _written(text: str) -> str:
    """The text as standard output will show it: replaced later, a wide character would leave a gap in its column."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _sheet(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    sheet = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        sheet.add_column(column, overflow="fold")
    for row in rows:
        sheet.add_row(*map(Text, row))  # Text, so that square brackets are not markup
    return sheet


class Waiting:
    """Tells that something is going on, and how far it is, once it takes longer than `PATIENCE_SECONDS`."""

    def __init__(self, doing: str, total: int | None) -> None:
        self._doing = doing
        self._done = 0
        self._total = total
        self._shown: tuple[Progress, Any] | None = None
        self._timer = threading.Timer(PATIENCE_SECONDS, self._show)
        self._timer.daemon = True
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to wait."""
        self._timer.start()

    def to(self, done: int, total: int | None = None, doing: str | None = None) -> None:
        """Report progress: `done` of `total`, and the current activity."""
        with self._lock:
            self._doing, self._done, self._total = doing or self._doing, done, total or self._total
            if self._shown:
                progress, task = self._shown
                progress.update(task, description=self._doing, completed=self._done, total=self._total)

    def stop(self) -> None:
        """Take the bar away."""
        self._timer.cancel()
        self._timer.join()
        if self._shown:
            self._shown[0].stop()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        with self._lock:
            progress.start()
            task = progress.add_task(self._doing, total=self._total, completed=self._done)
            self._shown = progress, task


class Silence:
    """Stands in for `Waiting` where standard error is not a terminal."""

    def to(self, done: int, total: int | None = None, doing: str | None = None) -> None:
        """Nothing to tell."""

    def stop(self) -> None:
        """Nothing to take away."""


def load(model: Any, bar: Waiting | Silence) -> None:
    """Load a local model that reports progress; does nothing for other models."""
    if hasattr(model, "on_progress") and hasattr(model, "load"):
        model.on_progress = lambda part: bar.to(int(part * 100), 100)
        try:
            model.load()
        finally:
            model.on_progress = None


@contextmanager
def waiting(doing: str, total: int | None = None, *, shown: bool = True) -> Iterator[Waiting | Silence]:
    """A bar on standard error while the block runs, in a terminal only."""
    if not shown or not sys.stderr.isatty():
        yield Silence()
        return
    bar = Waiting(doing, total)
    bar.start()
    try:
        yield bar
    finally:
        bar.stop()
