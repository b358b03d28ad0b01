"""One execution of a program: its text, variables and cost, and how to resume it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from chainkit.base.errors import MissingVariable, ProgramError, nearest
from chainkit.programs.language.syntax import Template
from chainkit.programs.model.protocol import ProgramModel, Tally
from chainkit.programs.model.record import Event, Span, merged
from chainkit.programs.run.checks import TemplateChecks
from chainkit.programs.run.display import html
from chainkit.programs.run.limits import Limits


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a program is run.

    Attributes:
        seed: From which the seeds of slots with a temperature come: the same seed gives the same run.
        limits: Bounds on a run.
        shell: Whether `{{shell}}` may run commands of the operating system.
        soft_prompt: Folder of a soft prompt (`chainkit.tune`) or a `SoftPrompt` before all text that
            the model reads; None for none, `...` leaves it to the model.
    """

    seed: int | None = None
    limits: Limits = field(default_factory=Limits)
    shell: bool = False
    soft_prompt: Any = ...


class Executable(Protocol):
    """A program as runs know it: `chainkit.programs.Program`."""

    template: Template
    checks: TemplateChecks
    model: Any
    runs_on: ProgramModel | None
    options: Options

    def with_options(self, *, soft_prompt: Any = ...) -> Executable:
        """It, run otherwise."""
        ...

    def variables_for(self, given: Any) -> dict[str, Any]:
        """The variables of a run on an input."""
        ...

    def get_name(self) -> str:
        """Its name for listeners."""
        ...

    def resumed(self, state: RunState, more: Mapping[str, Any]) -> Run:
        """Go on with a run that waits."""
        ...

    async def aresumed(self, state: RunState, more: Mapping[str, Any]) -> Run:
        """As `resumed`, without blocking the event loop."""
        ...

    def streamed(self, state: RunState, more: Mapping[str, Any]) -> Iterator[Run]:
        """As `resumed`, giving runs that grow."""
        ...

    def astreamed(self, state: RunState, more: Mapping[str, Any]) -> AsyncIterator[Run]:
        """As `streamed`, without blocking the event loop."""
        ...


@dataclass(frozen=True, slots=True)
class Usage:
    """The cost of a run.

    Attributes:
        cached: Tokens that were in the model's memory already.
        read: Tokens that had to be computed.
        forced: Tokens that were certain, so that nothing was sampled.
        sampled: Tokens that the model chose.
        passes: Forward passes that this run took part in; 0 where the model does not tell.
        calls: Requests to a hosted model.
        seconds: Wall-clock time.
    """

    cached: int = 0
    read: int = 0
    forced: int = 0
    sampled: int = 0
    passes: int = 0
    calls: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RunState:
    """All that a `Run` rests on.

    Attributes:
        program: The program, with its model.
        given: Its initial variables.
        log: Answers it received, which allow replaying it up to here without the model.
        spans: The written text; it may have grown since.
        count: How many of `spans` belong to this run.
        variables: Their current values.
        tally: Its cost.
        seconds: How long it took.
        waiting: The variable that it waits for.
        finished: Whether it is over.
        incomplete: Slots with a form that a limit cut, and that limit.
        events: What has happened since the run before, of a stream.
    """

    program: Executable
    given: Mapping[str, Any]
    log: Sequence[Any]
    spans: Sequence[Span]
    count: int
    variables: Mapping[str, Any]
    tally: Tally
    seconds: float
    waiting: str | None = None
    finished: bool = True
    incomplete: Mapping[str, str] | None = None
    events: tuple[Event, ...] = ()


class Run:
    """One execution of a program; it does not change any more.

    `run["name"]` is a variable, `str(run)` the text. A run that stops at `{{await 'name'}}` is `waiting` for that
    variable, and `run(name=...)` resumes it.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state

    @cached_property
    def text(self) -> str:
        """All that is not hidden: template, variables and what the model wrote, with the marks of roles."""
        return "".join(span.text for span in self._spans() if not span.hidden)

    @property
    def timeline(self) -> tuple[Span, ...]:
        """Which characters of `text` came from the template, from variables, from the model; hidden ones beside."""
        return self._merged

    @cached_property
    def _merged(self) -> tuple[Span, ...]:
        return merged(self._spans())

    @property
    def variables(self) -> dict[str, Any]:
        """All variables, those given included."""
        return dict(self._state.variables)

    @property
    def written(self) -> dict[str, Any]:
        """The variables that the program has set, without those that it was given."""
        given = self._state.given
        return {name: value for name, value in self._state.variables.items() if name not in given}

    @property
    def usage(self) -> Usage:
        """Tokens, passes and time."""
        tally = self._state.tally
        counts = (tally.cached, tally.read, tally.forced, tally.sampled, tally.passes, tally.calls)
        return Usage(*counts, seconds=self._state.seconds)

    @property
    def waiting(self) -> str | None:
        """The variable that the run waits for, or None."""
        return self._state.waiting

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end; not while it waits or grows."""
        return self._state.finished

    @property
    def incomplete(self) -> dict[str, str]:
        """Slots with a form that max_tokens or the context cut, and which limit it was; their value is None."""
        return dict(self._state.incomplete or {})

    @property
    def events(self) -> tuple[Event, ...]:
        """Events since the previous run; only runs of `stream()` have them."""
        return self._state.events

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Role and text of each message that is not hidden."""
        result: list[tuple[str, str]] = []
        role: str | None = None
        parts: list[str] = []
        for span in self._spans():
            if span.hidden:
                continue
            if span.source != "role":
                parts.append(span.text)
            elif role is None:
                role, parts = span.name, []
            else:
                result.append((role, "".join(parts)))
                role = None
        return [*result, (role, "".join(parts))] if role is not None else result

    def get(self, name: str, default: Any = None) -> Any:
        """A variable, or `default` if there is none of this name."""
        return self._state.variables.get(name, default)

    def __getitem__(self, name: str) -> Any:
        if name in self._state.variables:
            return self._state.variables[name]
        known = sorted(map(str, self._state.variables))
        hint = nearest(name, known)
        advice = f"did you mean '{hint}'?" if hint else f"it has: {', '.join(known) or 'none'}"
        raise MissingVariable(f"the run has no variable '{name}'; {advice}")

    def __contains__(self, name: object) -> bool:
        return name in self._state.variables

    def __iter__(self) -> Iterator[str]:
        return iter(self._state.variables)

    def __call__(self, variables: Mapping[str, Any] | None = None, /, **more: Any) -> Run:
        """Resume after `{{await}}` with more variables; finished work is not repeated.

        Raises:
            ProgramError: The run is not waiting.
        """
        return self._state.program.resumed(self._resumable(), {**(variables or {}), **more})

    async def acall(self, variables: Mapping[str, Any] | None = None, /, **more: Any) -> Run:
        """As a call, without blocking the event loop."""
        return await self._state.program.aresumed(self._resumable(), {**(variables or {}), **more})

    def stream(self, variables: Mapping[str, Any] | None = None, /, **more: Any) -> Iterator[Run]:
        """Like a call, but yields growing runs; their events are those after the `{{await}}`."""
        return self._state.program.streamed(self._resumable(), {**(variables or {}), **more})

    def astream(self, variables: Mapping[str, Any] | None = None, /, **more: Any) -> AsyncIterator[Run]:
        """As `stream`, without blocking the event loop."""
        return self._state.program.astreamed(self._resumable(), {**(variables or {}), **more})

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        state = f"waiting for {self.waiting!r}" if self.waiting else "finished" if self.finished else "running"
        names = ", ".join(str(name) for name in self._state.variables)
        return f"<Run {state}: {len(self.text)} characters; variables: {names or 'none'}>"

    def _repr_html_(self) -> str:
        return html(self)

    def _spans(self) -> Sequence[Span]:
        return self._state.spans[: self._state.count]

    def _resumable(self) -> RunState:
        if self.waiting is None:
            state = "is finished" if self.finished else "has not come to its end"
            raise ProgramError(f"the run {state}; only one that waits for a variable can go on")
        return self._state
