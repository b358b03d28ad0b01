"""Continuous batching: each step of all running generations is one forward pass.

Each has its own session, random numbers, constraint and stop texts, so it writes what it would write alone. Chats,
texts, batches, slots and scored options of programs, in all threads: everything on one runtime goes through its one
scheduler. One of the threads that wait computes for all of them.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from chainkit.base.session import Piece
from chainkit.local.branches import Branches
from chainkit.local.runtime import ForwardResult, LocalRuntime
from chainkit.local.session import LocalSession
from chainkit.local.threads import Cancelled, OwnProcess

Steps: TypeAlias = Generator[Piece | Branches | None, list[float] | None, Any]
"""What a generation does: it gives pieces, None where it needs the logits of its session's next token, and branches
where it needs their joint log-probabilities, which are sent to it; what it returns is its result."""

_GROWTH = 64  # tokens that a text is expected to grow by, where nobody says


@dataclass(frozen=True, slots=True)
class GenerationEnd:
    """A generation has ended.

    Attributes:
        result: What its steps returned.
    """

    result: Any = None


Update: TypeAlias = Piece | GenerationEnd | Exception


@dataclass(eq=False)
class GenerationTask:
    """One generation on its way.

    Attributes:
        session: Its text.
        steps: What it does.
        growth: Number of tokens that it will probably add; None where nobody says.
        continues: Its session has more to write after it, so that its place in the KV cache is worth keeping.
        number: Its number at its client.
        client: Who waits for it.
        waits: Whether it needs a pass.
        wants: What it needs: the logits of the next token (None) or those of branches; only while it `waits`.
    """

    session: LocalSession
    steps: Steps
    growth: int | None = None
    continues: bool = False
    number: int = 0
    client: Client | None = None
    waits: bool = False
    wants: Branches | None = None
    scores: list[float] | None = None

    @property
    def size(self) -> int:
        """Number of tokens that it will probably have."""
        growth = _GROWTH if self.growth is None else self.growth
        return min(len(self.session.tokens) + growth, self.session.context_length)


class Client:
    """A client waiting for generations: one thread, or one event loop.

    Args:
        scheduler: Where they are computed.
        streaming: Whether pieces are wanted as they come; if not, only when all generations have ended.
        most: At most this many generations at once; None: as many as the runtime computes well.
    """

    def __init__(self, scheduler: Scheduler, *, streaming: bool, most: int | None = None) -> None:
        self.streaming, self.most = streaming, most
        self.updates: deque[tuple[GenerationTask, Update]] = deque()
        self.open = 0
        self.awake = threading.Event()
        self.waiting = False
        self.places: weakref.WeakSet[LocalSession] = weakref.WeakSet()  # sessions that have more to write
        self._scheduler = scheduler

    @property
    def ready(self) -> bool:
        """Whether there is nothing to wait for."""
        return not self.open or (self.streaming and bool(self.updates))

    def submit(self, task: GenerationTask) -> None:
        """Take up a generation; nothing is computed yet."""
        task.client = self
        self.open += 1
        if task.continues:
            self.places.add(task.session)
        self._scheduler.changes.append((task, True))

    def wait(self) -> list[tuple[GenerationTask, Update]]:
        """Updates of generations; computes, or waits for the thread that does, until there is one."""
        self._scheduler.run(self)
        found = list(self.updates)
        self.updates.clear()
        return found

    def close(self, tasks: Sequence[GenerationTask]) -> None:
        """Withdraw generations, also those that another thread computes; those that have ended are ignored."""
        self._scheduler.leave(self, tasks)


class Scheduler:
    """Brings generations of several threads together: one of the threads computes for all, the others wait."""

    def __init__(self, runtime: LocalRuntime) -> None:
        self.changes: deque[tuple[GenerationTask, bool]] = deque()  # who came and who left, since the last pass
        self._runtime = runtime
        self._process = OwnProcess()
        self._most = runtime.parallel
        self._active: list[GenerationTask] = []
        self._queue: deque[GenerationTask] = deque()
        self._lock = threading.Lock()
        self._driver: Client | None = None
        self._clients: list[Client] = []  # those that wait in other threads

    def pieces(self, task: GenerationTask) -> Iterator[Piece]:
        """The pieces of one generation, as they come."""
        client = Client(self, streaming=True)
        try:
            client.submit(task)
            while client.open:
                self.run(client)
                while client.updates:
                    item = client.updates.popleft()[1]
                    if isinstance(item, Piece):
                        yield item
                    elif isinstance(item, Exception):
                        raise item
        finally:
            self.leave(client, (task,))

    def gather(self, tasks: Sequence[GenerationTask], most: int | None = None) -> list[list[Piece]]:
        """All the pieces of several generations.

        Args:
            tasks: The generations.
            most: At most this many of them at once.
        """
        client = Client(self, streaming=False, most=most)
        found: dict[int, list[Piece]] = {id(task): [] for task in tasks}
        try:
            for task in tasks:
                client.submit(task)
            for task, item in client.wait():
                if isinstance(item, Piece):
                    found[id(task)].append(item)
                elif isinstance(item, Exception):
                    raise item
        finally:
            self.leave(client, tasks)
        return list(found.values())

    def run(self, client: Client) -> None:
        """Compute for all, or wait for who does, until a client is ready."""
        self._process.check()
        try:
            while not client.ready:
                with self._lock:
                    if self._driver is None:
                        self._driver = client
                    client.waiting = self._driver is not client
                    if client.waiting and client not in self._clients:
                        self._clients.append(client)
                if client.waiting:
                    client.awake.wait()
                    client.awake.clear()
                else:
                    self._step()
        finally:
            client.waiting = False
            if self._driver is client:
                self._hand_over()

    def leave(self, client: Client, tasks: Sequence[GenerationTask]) -> None:
        """Withdraw a client's generations; unknown ones are ignored."""
        if client.open:
            self.changes.extend((task, False) for task in tasks)
        if self._driver is client:  # an interrupt came before it could hand over
            self._hand_over()
        with self._lock:
            if self._driver is None:  # else the one that computes will see it
                self._take_up_changes()

    def _hand_over(self) -> None:
        """Let another thread compute, one that waits: who reads a stream may pause for as long as they like."""
        with self._lock:
            self._take_up_changes()
            self._driver = None
            if self._clients:
                self._clients = [client for client in self._clients if client.waiting]
                for client in self._clients:
                    if not client.ready:
                        client.awake.set()
                        break

    def _take_up_changes(self) -> None:
        while self.changes:
            task, came = self.changes.popleft()
            if came:
                self._queue.append(task)
            elif task in self._active or task in self._queue:
                (self._active if task in self._active else self._queue).remove(task)
                if task.client is not None:
                    task.client.open -= 1
                task.steps.close()

    def _step(self) -> None:
        """One pass for all that take part, and what came of it."""
        if self.changes:
            self._take_up_changes()
        if self._queue:
            self._fill()
        for task in list(self._active):
            self._advance(task)
        waiting = [task for task in self._active if task.waits]
        if waiting:
            self._compute(waiting)
        for task in waiting:
            self._advance(task)

    def _fill(self) -> None:
        """As many at once as there is room for: first those whose text is in the KV cache, then in order of arrival."""
        if len(self._queue) == 1 and not self._active:
            self._active.append(self._queue.popleft())
            return
        room = self._runtime.room
        sessions = [task.session for task in (*self._active, *self._queue)]
        sessions += [one for task in self._queue if task.client for one in task.client.places]
        begun = {id(session) for session in sessions if session.sequence is not None}
        for task in sorted(self._queue, key=lambda task: task.session.sequence is None):
            taken = sum(other.size for other in self._active)
            full = room is not None and taken + task.size > room
            if len(self._active) >= self._most or (self._active and full):
                return
            if task.session.sequence is None and self._active and len(begun) >= self._most:
                return
            most = task.client.most if task.client is not None else None
            if most is None or sum(other.client is task.client for other in self._active) < most:
                self._queue.remove(task)
                self._active.append(task)
                begun.add(id(task.session))

    def _advance(self, task: GenerationTask) -> None:
        """Run a generation until it needs the model."""
        if task.waits and not (task.session.ready if task.wants is None else task.scores is not None):
            return
        scores, task.scores, task.waits = task.scores, None, False
        while True:
            try:
                step = task.steps.send(scores)
            except StopIteration as end:
                self._end(task, GenerationEnd(end.value))
                return
            except Exception as error:  # noqa: BLE001 - of this generation only; its client raises it
                self._end(task, error)
                return
            except BaseException:
                if task.client is not self._driver:  # an interrupt of this thread has ended another one's generation
                    self._end(task, Cancelled("the thread that computed for this generation was interrupted"))
                raise
            scores = None
            if isinstance(step, Piece):
                self._tell(task, step)
            elif step is not None or not task.session.ready:
                task.waits, task.wants = True, step
                return

    def _tell(self, task: GenerationTask, update: Update) -> None:
        client = task.client
        assert client is not None
        client.updates.append((task, update))
        if client is not self._driver and client.ready:
            client.awake.set()

    def _end(self, task: GenerationTask, update: Update) -> None:
        if task in self._active:
            self._active.remove(task)
        task.steps.close()
        self._most = self._runtime.parallel  # where one had to wait, there may be room now
        assert task.client is not None
        task.client.open -= 1
        self._tell(task, update)

    def _compute(self, tasks: Sequence[GenerationTask]) -> None:
        """The pass; generations that fail end with their error."""
        while tasks:
            try:
                for task in tasks:
                    task.session.alone = len(tasks) == 1
                results = self._runtime.forward([task.session.request(task.wants) for task in tasks])
            except Cancelled as error:
                gone = [task for task in tasks if task.session.cancelled] or tasks
                for task in gone:
                    self._end(task, error)
                tasks = [task for task in tasks if task not in gone]
                continue
            except Exception as error:  # noqa: BLE001 - each generation's client raises it
                for task in tasks:
                    self._end(task, error)
                return
            if len(tasks) == 1 and tasks[0].wants is None:
                tasks[0].session.receive(results[0])
            else:
                _receive(tasks, results)
            if self._runtime.crowded and len(self._active) > 1:
                self._thin_out()
            return

    def _thin_out(self) -> None:
        """Where there was no room for all, the last one waits until another has ended."""
        self._most = len(self._active) - 1
        running = [task for task in self._active if not task.waits] or self._active
        task = running[-1]
        self._active.remove(task)
        self._queue.appendleft(task)


def _receive(tasks: Sequence[GenerationTask], results: Sequence[ForwardResult]) -> None:
    """Give the results to the sessions; a pass that served several sessions of one run counts once for it."""
    counters = {id(task.session.counters): task.session.counters for task in tasks}
    before = {key: one.passes for key, one in counters.items()}
    most = dict.fromkeys(counters, 0)
    for task, result in zip(tasks, results, strict=True):
        task.session.receive(result)
        if task.wants is not None:
            task.scores = task.wants.joint(result.logits[0], result.logits[1:])
        key = id(task.session.counters)
        most[key] = max(most[key], result.passes)
    for key, one in counters.items():
        one.passes = before[key] + most[key]


_schedulers: weakref.WeakKeyDictionary[LocalRuntime, Scheduler] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def scheduler_of(runtime: LocalRuntime) -> Scheduler:
    """The one scheduler of a runtime."""
    with _lock:
        found = _schedulers.get(runtime)
        if found is None:
            found = _schedulers[runtime] = Scheduler(weakref.proxy(runtime))
        return found
