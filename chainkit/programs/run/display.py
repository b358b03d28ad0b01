"""Runs as people see them: HTML with what the model wrote in colour, and a live view in notebooks and terminals."""

from __future__ import annotations

import html as escaping
import re
import sys
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from chainkit.programs.model.record import ROLE_BEGIN, Event, Span, TextAdded

if TYPE_CHECKING:
    from rich.console import Console


_SECONDS = 0.1  # between two pictures of a growing run
_COLOURS: Mapping[str, str] = {"model": "rgba(0, 165, 0, 0.22)", "variable": "rgba(0, 110, 220, 0.16)"}
_STYLES: Mapping[str, str] = {"model": "green", "variable": "blue", "template": ""}
_BOX = "border-left: 3px solid rgba(128, 128, 128, 0.5); margin: 0.3em 0; padding: 0.1em 0.6em"
_LABEL = "font-weight: bold; opacity: 0.6; font-size: 85%"
_TAGS = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class ShownRun(Protocol):
    """The parts of a run that are displayed."""

    @property
    def timeline(self) -> tuple[Span, ...]: ...  # noqa: D102

    @property
    def waiting(self) -> str | None: ...  # noqa: D102

    @property
    def events(self) -> tuple[Event, ...]: ...  # noqa: D102


R = TypeVar("R", bound=ShownRun)


def html(run: ShownRun) -> str:
    """A run as HTML: what the model wrote green, what variables held blue, each with its name; messages as boxes."""
    parts: list[str] = []
    inside = False
    for span in run.timeline:
        if span.hidden:
            continue
        if span.source != "role":
            parts.append(_coloured(span))
        elif inside:
            parts.append("</div>")
            inside = False
        else:
            parts.append(f'<div style="{_BOX}"><div style="{_LABEL}">{escaping.escape(span.name)}</div>')
            inside = True
    if inside:
        parts.append("</div>")
    if run.waiting:
        parts.append(f'<div style="{_LABEL}">waiting for {escaping.escape(run.waiting)}</div>')
    return f'<pre style="white-space: pre-wrap; line-height: 1.4">{"".join(parts)}</pre>'


def program_html(text: str) -> str:
    """The text of a program as HTML, with its tags in colour."""
    parts: list[str] = []
    position = 0
    for match in _TAGS.finditer(text):
        parts.append(escaping.escape(text[position : match.start()]))
        parts.append(f'<span style="color: rgb(150, 80, 190)">{escaping.escape(match[0])}</span>')
        position = match.end()
    parts.append(escaping.escape(text[position:]))
    return f'<pre style="white-space: pre-wrap">{"".join(parts)}</pre>'


def live(runs: Iterable[R]) -> R:
    """Show a run while it grows, and give it: in a notebook as a picture that is renewed, elsewhere as text.

    Raises:
        ValueError: There are no runs.
    """
    notebook = _notebook()
    return _in_notebook(runs, notebook) if notebook else _in_terminal(runs)


def _coloured(span: Span) -> str:
    text = escaping.escape(span.text)
    colour = _COLOURS.get(span.source)
    if colour is None:
        return text
    shown = span.name + "".join(f"\n---\n{other}" for other in span.alternatives)
    title = f' title="{escaping.escape(shown, quote=True)}"' if shown else ""
    return f'<span style="background: {colour}"{title}>{text}</span>'


def _notebook() -> Any:
    """IPython's display function, if the output goes to a notebook."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import HTML, display  # pyright: ignore[reportMissingImports]

    return lambda run, handle: (
        display(HTML(html(run)), display_id=True) if handle is None else handle.update(HTML(html(run)))
    )


def _in_notebook(runs: Iterable[R], show: Any) -> R:
    handle, shown, last = None, 0.0, None
    for run in runs:
        last = run
        if time.monotonic() - shown >= _SECONDS:
            handle, shown = show(run, handle) or handle, time.monotonic()
    if last is None:
        raise ValueError("there is no run to show")
    show(last, handle)
    return last


def _in_terminal(runs: Iterable[R]) -> R:
    screen = Screen()
    last = None
    for run in runs:
        last = run
        for event in run.events:
            screen.tell(event)
    if last is None:
        raise ValueError("there is no run to show")
    screen.end()
    return last


class Screen:
    """Text as it comes, in a terminal with colours: green from the model, blue from variables."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._opened = False
        self._fresh = True

    def tell(self, event: Event) -> None:
        """Show what an event adds."""
        if not isinstance(event, TextAdded) or event.hidden:
            return
        if event.source == "role":
            self._role(event)
        else:
            self._write(event.text, _STYLES[event.source])

    def end(self) -> None:
        """The last line ends."""
        if not self._fresh:
            self._write("\n", "")

    def _role(self, event: TextAdded) -> None:
        if not self._fresh:
            self._write("\n", "")
        self._opened = event.text.startswith(ROLE_BEGIN)  # a resumed run may begin inside a message
        if self._opened:
            self._write(f"[{event.name}]\n", "bold")

    def _write(self, text: str, style: str) -> None:
        from rich.text import Text

        if self._fresh and not text.strip("\n") and not self._opened:
            return  # between messages
        clean = _CONTROLS.sub("", text) if self._console.is_terminal else text
        self._console.print(Text(clean, style=style), end="", soft_wrap=True)
        if text:
            self._fresh = text.endswith("\n")
