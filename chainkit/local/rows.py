"""Generations that go on side by side: each step of all of them is one forward pass.

Each has its own session, random numbers, constraint and stop texts, so it writes what it would write alone.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from chainkit.base.session import Piece
from chainkit.local.branches import Branches
from chainkit.local.requests import Answer
from chainkit.local.session import LocalSession
from chainkit.local.threads import Cancelled

Steps: TypeAlias = Generator[Piece | Branches | None, list[float] | None, Any]
"""What a row does: it gives pieces, None where it needs the scores of its session's next token, and branches where it
needs their joint log-probabilities, which are sent to it; what it returns is its result."""

_GUESS = 64  # tokens that a text is expected to grow by, where nobody says


@dataclass(frozen=True)
class Done:
    """A row has ended.

    Attributes:
        result: What it returned.
    """

    result: Any = None


News: TypeAlias = Piece | Done | Exception


@dataclass(eq=False)
class Group:
    """Rows that came together.

    Attributes:
        most: So many of them at once.
    """

    most: int


@dataclass(eq=False)
class Row:
    """One generation on its way.

    Attributes:
        session: Its text.
        steps: What it does.
        growth: So many tokens it will probably add.
        group: Those it came with, of which only so many may run at once.
        wants: What it waits for: its session's scores (None) or those of branches; only while `waits`.
    """

    session: LocalSession
    steps: Steps
    growth: int = _GUESS
    group: Group | None = None
    waits: bool = False
    wants: Branches | None = None
    scores: list[float] | None = None

    @property
    def size(self) -> int:
        """Tokens that it will probably have."""
        return min(len(self.session.tokens) + self.growth, self.session.limit)


class Rows:
    """Rows on one engine. One thread at a time calls these methods.

    Args:
        engine: What computes.
        most: So many at once; None leaves it to the engine.
    """

    def __init__(self, engine: Any, most: int | None = None) -> None:
        self._engine = engine
        self._most = max(1, min(most or engine.rows, engine.rows))
        self._active: list[Row] = []
        self._queue: deque[Row] = deque()

    def __bool__(self) -> bool:
        return bool(self._active or self._queue)

    def submit(self, row: Row) -> None:
        """Take up a row; nothing is computed yet."""
        self._queue.append(row)

    def withdraw(self, row: Row) -> None:
        """Let a row be; unknown ones are none."""
        if row in self._active:
            self._active.remove(row)
        elif row in self._queue:
            self._queue.remove(row)
        row.steps.close()

    def step(self) -> list[tuple[Row, News]]:
        """One pass for all that take part, and what came of it."""
        self._fill()
        news: list[tuple[Row, News]] = []
        for row in list(self._active):
            news += self._run(row)
        waiting = [row for row in self._active if row.waits]
        failed = self._compute(waiting)
        for row in waiting:
            news += [(row, failed[id(row)])] if id(row) in failed else self._run(row)
        return news

    def _fill(self) -> None:
        """As many at once as there is room for, in the order in which they came."""
        room = getattr(self._engine, "room", None)
        for row in list(self._queue):
            taken = sum(other.size for other in self._active)
            full = room is not None and taken + row.size > room
            if len(self._active) >= self._most or (self._active and full):
                return
            beside = sum(other.group is row.group for other in self._active)
            if row.group is None or beside < row.group.most:
                self._queue.remove(row)
                self._active.append(row)

    def _run(self, row: Row) -> list[tuple[Row, News]]:
        """Let a row go on until it needs the model."""
        if row.waits and not (row.session.ready if row.wants is None else row.scores is not None):
            return []
        news: list[tuple[Row, News]] = []
        scores, row.scores, row.waits = row.scores, None, False
        while True:
            try:
                step = row.steps.send(scores)
            except StopIteration as end:
                self._active.remove(row)
                return [*news, (row, Done(end.value))]
            except Exception as error:  # noqa: BLE001 - of this row only; whoever waits for it raises it
                self._active.remove(row)
                return [*news, (row, error)]
            scores = None
            if isinstance(step, Piece):
                news.append((row, step))
            elif step is not None or not row.session.ready:
                row.waits, row.wants = True, step
                return news

    def _compute(self, waiting: Sequence[Row]) -> dict[int, Exception]:
        """The pass; errors by row."""
        failed: dict[int, Exception] = {}
        rows = list(waiting)
        while rows:
            try:
                for row in rows:
                    row.session.alone = len(rows) == 1
                answers = self._engine.together([row.session.request(row.wants) for row in rows])
            except Cancelled as error:
                gone = [row for row in rows if row.session.cancelled] or rows
                failed |= {id(row): error for row in gone}
                rows = [row for row in rows if row not in gone]
                continue
            except Exception as error:  # noqa: BLE001 - each row's owner raises it
                failed |= {id(row): error for row in rows}
                break
            _receive(rows, answers)
            self._thin_out()
            break
        for row in waiting:
            if id(row) in failed:
                self._active.remove(row)
                row.steps.close()
        return failed

    def _thin_out(self) -> None:
        """Where there was no room for all, the last one waits until another is done."""
        if getattr(self._engine, "crowded", False) and len(self._active) > 1:
            self._most = len(self._active) - 1
            running = [row for row in self._active if not row.waits] or self._active
            row = running[-1]
            self._active.remove(row)
            self._queue.appendleft(row)


def _receive(rows: Sequence[Row], answers: Sequence[Answer[Any]]) -> None:
    if len(rows) == 1:
        _take(rows[0], answers[0])
        return
    # rows of one run share counters, and a pass that served several of them is one pass
    counters = {id(row.session.counters): row.session.counters for row in rows}
    before = {key: one.passes for key, one in counters.items()}
    most = dict.fromkeys(counters, 0)
    for row, answer in zip(rows, answers, strict=True):
        _take(row, answer)
        key = id(row.session.counters)
        most[key] = max(most[key], answer.passes)
    for key, one in counters.items():
        one.passes = before[key] + most[key]


def _take(row: Row, answer: Answer[Any]) -> None:
    row.session.receive(answer)
    if row.wants is not None:
        row.scores = row.wants.joint(answer.logits[0], answer.logits[1:])


@dataclass(eq=False)
class _Part:
    row: Row
    streaming: bool
    news: deque[News] = field(default_factory=deque[News])
    awake: threading.Event = field(default_factory=threading.Event)
    waits: bool = False
    over: bool = False


class Conductor:
    """Brings generations of several threads together: one of the threads computes for all, the others wait."""

    def __init__(self, engine: Any) -> None:
        self._rows = Rows(engine)
        self._parts: dict[int, _Part] = {}
        self._changes: deque[tuple[_Part, bool]] = deque()  # who came and who left, since the last pass
        self._lock = threading.Lock()
        self._driver: _Part | None = None

    def pieces(self, row: Row) -> Iterator[Piece]:
        """The pieces of one generation, as they come."""
        part = _Part(row, streaming=True)
        self._changes.append((part, True))
        try:
            yield from self._news(part)
        finally:
            self._leave([part])

    def gather(self, rows: Sequence[Row]) -> list[list[Piece]]:
        """All the pieces of several generations."""
        parts = [_Part(row, streaming=False) for row in rows]
        self._changes.extend((part, True) for part in parts)
        try:
            return [list(self._news(part)) for part in parts]
        finally:
            self._leave(parts)

    def _news(self, part: _Part) -> Iterator[Piece]:
        while not (part.over and not part.news):
            self._await(part)
            while part.news:
                item = part.news.popleft()
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, Piece):
                    yield item

    def _await(self, part: _Part) -> None:
        """Compute for all, or wait for who does, until there is news for this part."""
        while not _ready(part):
            with self._lock:
                if self._driver is None:
                    self._driver = part
                part.waits = self._driver is not part
            if part.waits:
                part.awake.wait()
                part.awake.clear()
                part.waits = False
                continue
            try:
                while not _ready(part):
                    self._step()
            finally:
                self._hand_over()

    def _step(self) -> None:
        self._take_up_changes()
        for row, item in self._rows.step():
            part = self._parts[id(row)]
            part.news.append(item)
            part.over = part.over or not isinstance(item, Piece)
            if part is not self._driver and _ready(part):
                part.awake.set()

    def _take_up_changes(self) -> None:
        while self._changes:
            part, came = self._changes.popleft()
            if came:
                self._parts[id(part.row)] = part
                self._rows.submit(part.row)
            elif self._parts.pop(id(part.row), None) is not None:
                self._rows.withdraw(part.row)

    def _hand_over(self) -> None:
        """Let another thread compute, one that waits: whoever reads a stream may pause as long as he likes."""
        with self._lock:
            self._take_up_changes()
            self._driver = None
            waiting = next((part for part in self._parts.values() if part.waits and not _ready(part)), None)
        if waiting is not None:
            waiting.awake.set()

    def _leave(self, parts: Sequence[_Part]) -> None:
        self._changes.extend((part, False) for part in parts)
        with self._lock:
            if self._driver is None:  # else the one that computes will see it
                self._take_up_changes()


def _ready(part: _Part) -> bool:
    return part.over or (part.streaming and bool(part.news))


_conductors: weakref.WeakKeyDictionary[Any, Conductor] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def conductor(engine: Any) -> Conductor:
    """The one conductor of an engine."""
    with _lock:
        found = _conductors.get(engine)
        if found is None:
            found = _conductors[engine] = Conductor(weakref.proxy(engine))
        return found


def row_of(session: LocalSession, steps: Steps, growth: int | None, group: Group | None = None) -> Row:
    """A row that will add so many tokens at most, where that is known."""
    return Row(session, steps, _GUESS if growth is None else growth, group)
