"""Drives runs: sends what they ask for to the model, and the answers back. Any number of runs go on side by side."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chainkit.base.session import Piece
from chainkit.programs.model.observed import Observer
from chainkit.programs.model.protocol import Generate, JobRunner, OptionScores, SlotResult
from chainkit.programs.model.record import Event, Paused
from chainkit.programs.run.steps import Ask, Invoke, Step, Steps, Together, Wait

Log = list[Any]
"""The answers that a run was sent, in order; those of parts that ran together are lists inside it."""


@dataclass(eq=False)
class RunTask:
    """A run, or a part of one that runs beside others.

    Attributes:
        steps: The steps to execute.
        replay: Answers of an earlier run, replayed instead of asking the model.
        log: All answers so far.
        check: Looks whether the run has gone on for too long.
        observer: RunUpdate of what the model is asked.
        result: Return value of `steps`, once done.
        error: Exception of `steps`, once done.
        waiting: The variable that it waits for.
    """

    steps: Steps
    replay: deque[Any] = field(default_factory=deque[Any])
    check: Callable[[], None] | None = None
    parent: RunTask | None = None
    observer: Observer | None = None
    log: Log = field(default_factory=Log)
    result: Any = None
    error: BaseException | None = None
    waiting: str | None = None
    done: bool = False
    answer: Any = None
    ask: Ask | None = None
    parts: list[RunTask] = field(default_factory=list["RunTask"])

    @property
    def root(self) -> RunTask:
        """The run that this is a part of."""
        return self if self.parent is None else self.parent.root


RunUpdate = tuple[RunTask, Event | None]
"""A run and what happened in it; None when it is over."""

Call = Callable[[RunTask, Invoke], bool]


class Driver:
    """Runs tasks on one `JobRunner`, until all are done."""

    def __init__(self, work: JobRunner) -> None:
        self._work = work
        self._ready: deque[RunTask] = deque()
        self._asking: dict[int, RunTask] = {}
        self._calls: dict[asyncio.Task[Any], RunTask] = {}
        self._number = 0
        self._updates: deque[RunUpdate] = deque()

    def add(self, task: RunTask) -> None:
        """Take up a run."""
        self._ready.append(task)

    def run(self) -> Generator[RunUpdate, None, None]:
        """Run all tasks, telling what happens; only the errors of single tasks are kept in them."""
        try:
            while self._ready or self._asking:
                while self._ready:
                    self._advance(self._ready.popleft(), self._call)
                    yield from self._news()
                if self._asking:
                    self._dispatch(self._work.step())
                    yield from self._news()
        finally:
            self._end()

    async def arun(self) -> AsyncGenerator[RunUpdate, None]:
        """As `run`, without blocking the event loop."""
        step: asyncio.Task[Any] | None = None
        try:
            while self._ready or self._asking or self._calls:
                while self._ready:
                    self._advance(self._ready.popleft(), self._acall)
                    async for event in self._anews():
                        yield event
                if self._asking and step is None:
                    step = asyncio.ensure_future(self._work.astep())
                if not self._calls and step is not None:
                    await asyncio.wait([step])
                elif self._calls:
                    await asyncio.wait([*self._calls, *filter(None, [step])], return_when=asyncio.FIRST_COMPLETED)
                if step is not None and step.done():
                    finished, step = step, None
                    self._dispatch(finished.result())
                self._collect()
                async for event in self._anews():
                    yield event
        finally:
            for pending in [*self._calls, *filter(None, [step])]:
                pending.cancel()
            self._end()

    def _news(self) -> Iterator[RunUpdate]:
        while self._updates:
            yield self._updates.popleft()

    async def _anews(self) -> AsyncGenerator[RunUpdate, None]:
        for event in self._news():
            if (observer := event[0].observer) is not None:
                await observer.flush()
            yield event

    def _end(self) -> None:
        self._work.close()
        for task in [*self._ready, *self._asking.values(), *self._calls.values()]:
            task.steps.close()
            task.root.steps.close()

    def _advance(self, task: RunTask, call: Call) -> None:
        """Go on with a task until it asks for something that takes time, or is done."""
        if task.done or task.root.done:
            task.steps.close()
            return
        going = True
        while going:
            answer, error = task.answer, task.error
            task.answer = task.error = None
            try:
                step: Step = task.steps.send(answer) if error is None else task.steps.throw(error)
            except StopIteration as stop:
                self._finish(task, result=stop.value)
                return
            except Exception as raised:  # noqa: BLE001 - the task's own; raised again where its result is taken
                self._finish(task, error=raised)
                return
            going = self._take(task, step, call)

    def _take(self, task: RunTask, step: Step, call: Call) -> bool:
        """Do what a task asks for; whether it can go on at once."""
        match step:
            case Ask():
                return self._ask(task, step)
            case Invoke():
                return call(task, step)
            case Together():
                return self._begin(task, step.parts)
            case Wait():
                return self._wait(task, step)
        self._updates.append((task.root, step))
        self._ready.appendleft(task)  # a listener must see the run in its state at this event
        return False

    def _ask(self, task: RunTask, ask: Ask) -> bool:
        """Whether the answer is there already, from an earlier run."""
        if task.replay:
            answer = task.replay.popleft()
            if isinstance(answer, SlotResult) and isinstance(ask.job, Generate):
                ask.job.context.replay(answer)
            task.log.append(answer)
            task.answer = answer
            return True
        self._number += 1
        task.ask, self._asking[self._number] = ask, task
        if observer := task.root.observer:
            observer.begin(self._number, ask.job)
        self._work.submit(self._number, ask.job)
        return False

    def _begin(self, task: RunTask, parts: Sequence[Steps]) -> bool:
        """Whether there is nothing to wait for."""
        earlier = task.replay.popleft() if task.replay else []
        logs: list[Any] = []
        task.log.append(logs)
        task.parts = []
        for number, steps in enumerate(parts):
            part = RunTask(steps, deque(earlier[number] if number < len(earlier) else ()), task.check, task)
            logs.append(part.log)
            task.parts.append(part)
        self._ready.extend(task.parts)
        task.answer = []
        return not task.parts

    def _wait(self, task: RunTask, wait: Wait) -> bool:
        """Whether the variable was given already."""
        if task.replay:
            task.answer = task.replay.popleft()
            task.log.append(task.answer)
            return True
        task.waiting = wait.name
        self._updates.append((task.root, Paused(wait.name)))
        task.done = True
        self._updates.append((task.root, None))
        task.steps.close()
        return False

    def _finish(self, task: RunTask, *, result: Any = None, error: BaseException | None = None) -> None:
        task.done, task.result, task.error = True, result, error
        parent = task.parent
        if parent is None:
            self._updates.append((task, None))
            return
        if parent.done or not parent.parts:
            return
        if error is not None:
            for other in parent.parts:
                if not other.done:
                    other.done = True
                    self._drop(other)
            parent.parts, parent.error = [], error
            self._ready.append(parent)
        elif all(part.done for part in parent.parts):
            parent.answer, parent.parts = [part.result for part in parent.parts], []
            self._ready.append(parent)

    def _drop(self, task: RunTask) -> None:
        """Forget what a task asked for; an answer that still comes finds nobody."""
        for part in task.parts:
            part.done = True
            self._drop(part)
        if task.ask is None:
            task.steps.close()

    def _dispatch(self, news: Sequence[tuple[int, Any]]) -> None:
        for number, what in news:
            task = self._asking.get(number)
            if task is None:
                continue
            if isinstance(what, Piece):
                self._heard(task, what)
                continue
            del self._asking[number]
            task.ask = None
            if observer := task.root.observer:
                observer.end(number, what)
            if task.done or task.root.done:
                task.steps.close()
                continue
            if isinstance(what, BaseException):
                task.error = what
            else:
                assert isinstance(what, SlotResult | OptionScores)
                task.log.append(what)
                task.answer = what
            self._ready.append(task)

    def _heard(self, task: RunTask, piece: Piece) -> None:
        if task.done or task.root.done or task.ask is None:
            return
        try:
            if task.check:
                task.check()
            event = task.ask.heard(piece) if task.ask.heard else None
        except Exception as error:  # noqa: BLE001 - a limit of this run, which alone ends
            task.error = error
            self._asking = {number: other for number, other in self._asking.items() if other is not task}
            task.ask = None
            self._ready.append(task)
            return
        if event is not None:
            self._updates.append((task.root, event))

    def _replayed(self, task: RunTask) -> bool:
        if not task.replay:
            return False
        task.answer = task.replay.popleft()
        task.log.append(task.answer)
        return True

    def _call(self, task: RunTask, invoke: Invoke) -> bool:
        if self._replayed(task):
            return True
        try:
            result = invoke.function(*invoke.positional, **invoke.named)
            task.answer = _awaited(result) if inspect.isawaitable(result) else result
            task.log.append(task.answer)
        except Exception as error:  # noqa: BLE001 - the function's own; raised again where it was called
            task.error = error
        return True

    def _acall(self, task: RunTask, invoke: Invoke) -> bool:
        if self._replayed(task):
            return True

        async def called() -> Any:
            if inspect.iscoroutinefunction(invoke.function):
                return await invoke.function(*invoke.positional, **invoke.named)
            result = await asyncio.to_thread(invoke.function, *invoke.positional, **invoke.named)
            return await result if inspect.isawaitable(result) else result

        self._calls[asyncio.ensure_future(called())] = task
        return False

    def _collect(self) -> None:
        for call in [call for call in self._calls if call.done()]:
            task = self._calls.pop(call)
            if call.exception() is not None:
                task.error = call.exception()
            else:
                task.answer = call.result()
                task.log.append(task.answer)
            self._ready.append(task)


def _awaited(awaitable: Awaitable[Any]) -> Any:
    """The result of something to await, for callers without an event loop."""

    async def result() -> Any:
        return await awaitable

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(result())
    # a synchronous run inside an event loop, as in a notebook: a new loop in another thread
    box: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            box.append(asyncio.run(result()))
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return box[0]


def replayed(log: Log, given: Mapping[str, Any]) -> deque[Any]:
    """The answers of a waiting run, followed by the variables given now."""
    return deque([*log, dict(given)])
