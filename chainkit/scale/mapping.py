"""A Runnable mapped over the rows of a file: durable row by row, resumable, within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from langchain_core.runnables import RunnableConfig

from chainkit.base.errors import (
    AuthenticationFailed,
    ChainkitError,
    MissingKey,
    MissingLibrary,
    ModelFileError,
    ModelNotFound,
    NoModel,
    NotEnoughMemory,
    PermissionDenied,
    Unsupported,
)
from chainkit.chains.limits import RateLimiter
from chainkit.scale.batches import BatchedCalls
from chainkit.scale.files import NUMBER
from chainkit.scale.ledger import ENDINGS, Ledger, beside, check_same, held, remove
from chainkit.scale.report import MapProgress, MapReport
from chainkit.scale.running import outcomes
from chainkit.scale.sources import NumberedRow, RowSource, UnreadableRow, first_of, open_rows
from chainkit.scale.spending import Spending
from chainkit.scale.work import RowWork, work_of

OnProgress = Callable[[MapProgress], None]
Engine = Literal["local", "batch", "ray"]

_TELL_SECONDS = 0.5
_WINDOW = 8  # rows per call that may wait for the one in front of them
_HOPELESS = (
    AuthenticationFailed, MissingKey, MissingLibrary, ModelFileError, ModelNotFound, NoModel, NotEnoughMemory,
    PermissionDenied,
)  # fmt: skip


def map_rows(
    runnable: Any,
    rows: str | Path | Iterable[Any],
    output: str | Path,
    *,
    column: str | None = None,
    into: str = "output",
    keep_input: bool = True,
    ordered: bool = True,
    concurrency: int | None = None,
    limiter: RateLimiter | None = None,
    max_tokens: int | None = None,
    max_cost: float | None = None,
    max_failures_in_a_row: int = 20,
    retry_failed: bool = False,
    overwrite: bool = False,
    identity: str = "",
    engine: Engine = "local",
    config: RunnableConfig | None = None,
    on_progress: OnProgress | None = None,
) -> MapReport:
    """Run something on every row, and write each result as soon as it is ready.

    A run that was killed or interrupted resumes where it ended when it is started again with the same
    arguments: no row is done twice, and at most the rows in flight are lost. Memory does not grow with the number of
    rows. A row that fails is written to `OUTPUT.failed.jsonl` with the reason, and the others go on.

    Args:
        runnable: A Runnable, a program, embeddings, a function of a row, or the spec of a model.
        rows: A .jsonl, .csv, .tsv or .parquet file, or an iterable of rows.
        output: A .jsonl, .csv, .tsv or .parquet file. A row of it is the number of the input's row, `_row`, from 1; the
            fields of that row; and the result.
        column: The column that the runnable is given; None gives it the whole row.
        into: The field of the result.
        keep_input: Whether the fields of the input are written too.
        ordered: Keep the order of the input. Rows that are finished before those in front of them wait in a file of
            their own, and at most eight for each call; without it they are written at once.
        concurrency: Rows at the same time. None: as many as a local model computes well side by side, 16 for hosted
            models, else 1.
        limiter: A rate limiter, asked before each row, and given the token counts of answers.
        max_tokens: Stop before models have read and written more than this many tokens in this run. Rows in flight are
            finished, and counted beforehand by the mean of those before.
        max_cost: Likewise, in US dollars, by the table of known prices.
        max_failures_in_a_row: Give up after this many.
        retry_failed: Do only the rows that have failed before; those that succeed are added to the end of the output.
        overwrite: Begin afresh.
        identity: Says what the runnable is; a run with another one does not go on with this output.
        engine: "local" asks the model row by row, "ray" in `concurrency` actors of Ray, "batch" sends the calls of
            10,000 rows at a time to the batch API of a hosted model and awaits `concurrency` (4) such batches at once.
        config: Of langchain-core, for every call.
        on_progress: Called about twice a second.

    Raises:
        ChainkitError: The output is of another input or another run, or another process writes to it; or an error
            that every row would meet, such as a missing key.
        DocumentError: The input cannot be read.
        ValueError: A number is out of range, or a field of the input is named as a field of the output.

    >>> import tempfile, chainkit
    >>> target = Path(tempfile.mkdtemp()) / "out.jsonl"
    >>> report = chainkit.map_rows(str.upper, ["a", "b"], target)
    >>> report.done, target.read_text()
    (2, '{"_row": 1, "input": "a", "output": "A"}\\n{"_row": 2, "input": "b", "output": "B"}\\n')
    """
    target = _target(output)
    spending = Spending(max_tokens, max_cost, limiter)
    if max_failures_in_a_row < 1:
        raise ValueError(f"max_failures_in_a_row must be 1 or more, got {max_failures_in_a_row}")
    source = open_rows(rows)
    settings: dict[str, Any] = {"into": into, "keep_input": keep_input, "column": column, "chain": identity}
    with held(target):
        if overwrite:
            remove(target)
        check_same(target, source.path, settings)
        work = _work(engine, runnable, column, config, spending, concurrency, target)
        columns = _columns(first_of(source), into, keep_input)
        ledger = Ledger(target, columns, ordered=ordered and not retry_failed)
        run = _Run(ledger, _limited(work, limiter), spending, into, keep_input, max_failures_in_a_row, on_progress)
        return run.all(source, retry_failed=retry_failed)


class _Run:
    """One run of a mapping."""

    def __init__(
        self,
        ledger: Ledger,
        work: RowWork,
        spending: Spending,
        into: str,
        keep_input: bool,
        most_failures: int,
        on_progress: OnProgress | None,
    ) -> None:
        self._ledger, self._work, self._spending = ledger, work, spending
        self._into, self._keep, self._most_failures, self._on_progress = into, keep_input, most_failures, on_progress
        self._done = self._failed = self._in_a_row = self._begun = 0
        self._stopped: str | None = None
        self._hopeless: Exception | None = None
        self._source: RowSource | None = None
        self._start = self._reported = time.monotonic()

    def all(self, source: RowSource, *, retry_failed: bool) -> MapReport:
        """Do all rows that are not done."""
        ledger, self._source = self._ledger, source
        ledger.recover(retry_failed=retry_failed)
        try:
            if retry_failed:
                again = ledger.output.exists()
                self._each(ledger.to_retry())
                ledger.flush()
                ledger.replace_failures()
                if again:
                    ledger.complete()
            elif not ledger.whole:
                self._each(self._readable(source.rows(ledger.done)))
                if self._stopped is None and self._hopeless is None:
                    ledger.complete()
        finally:
            ledger.close()
        self._tell(last=True)
        if self._hopeless is not None:
            raise self._hopeless
        return self._report()

    def _each(self, rows: Iterator[NumberedRow]) -> None:
        window = self._work.at_once * self._work.rows * _WINDOW
        for group in outcomes(self._work, rows, begin=self._begin, room=lambda: self._ledger.lag < window):
            for number, row, result in group:
                self._take(number, row, result)
            if self._on_progress is not None:
                self._tell()

    def _readable(self, rows: Iterator[NumberedRow]) -> Iterator[NumberedRow]:
        """The rows that can be read; the others are failures already."""
        for number, row in rows:
            if isinstance(row, UnreadableRow):
                self._ledger.begin(number)
                self._fail(number, row.text, ValueError(row.reason))
            else:
                yield number, row

    def _begin(self, group: list[NumberedRow]) -> bool:
        finished = self._done + self._failed
        if self._stopped is None:
            self._stopped = self._spending.reached(finished, self._begun - finished)
        if self._stopped is not None or self._hopeless is not None:
            return False
        for number, _ in group:
            self._ledger.begin(number)
        self._begun += len(group)
        return True

    def _take(self, number: int, row: Any, result: Any) -> None:
        if not isinstance(result, Exception):
            try:
                self._ledger.finish(number, self._fields(row, result))
            except (TypeError, ValueError) as error:
                result = error
            else:
                self._done += 1
                self._in_a_row = 0
                self._ledger.done.add(number)
                return
        self._fail(number, row, result)
        if isinstance(result, _HOPELESS):
            self._hopeless = self._hopeless or result
        elif self._in_a_row >= self._most_failures and self._hopeless is None:
            fault = f"{type(result).__name__}: {result}; they are in {self._ledger.failures}"
            self._hopeless = ChainkitError(
                f"{self._in_a_row} rows failed one after the other, the last with {fault}; fix the cause and ~"
                "do them again with --retry-failed (retry_failed=True)"
            )
            self._hopeless.__cause__ = result

    def _fail(self, number: int, row: Any, error: Exception) -> None:
        if not isinstance(error, _HOPELESS):  # the row may be right: it is done when the run is started again
            self._ledger.fail(number, row, error)
            self._failed += 1
        self._in_a_row += 1

    def _fields(self, row: Any, result: Any) -> dict[str, Any]:
        if not self._keep:
            return {self._into: result}
        if not isinstance(row, Mapping):
            return {"input": row, self._into: result}
        if NUMBER in row:  # the output of another mapping
            row = {name: value for name, value in row.items() if name != NUMBER}
        if self._into in row:
            raise ValueError(f"has a field '{self._into}' already; name another one with --into (into=...)")
        return {**row, self._into: result}

    def _tell(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if self._on_progress is None or (now - self._reported < _TELL_SECONDS and not last):
            return
        self._reported = now
        self._on_progress(
            MapProgress(
                done=self._done,
                failed=self._failed,
                skipped=self._ledger.skipped,
                seconds=now - self._start,
                tokens=self._spending.tokens,
                cost=self._spending.cost,
                part=self._source.part if self._source else None,
            )
        )

    def _report(self) -> MapReport:
        return MapReport(
            output=self._ledger.output,
            failures=self._ledger.failures,
            done=self._done,
            failed=self._failed,
            skipped=self._ledger.skipped,
            stopped=self._stopped,
            seconds=time.monotonic() - self._start,
            tokens=self._spending.tokens,
            cost=self._spending.cost,
        )


def _target(output: str | Path) -> Path:
    target = Path(output)
    if target.suffix.lower() not in ENDINGS:
        raise ChainkitError(f"{target}: cannot be written; choose one of these endings: {', '.join(ENDINGS)}")
    if target.is_dir() or not target.parent.is_dir():
        raise ChainkitError(f"{target}: is a folder, or lies in one that is not there; name a file")
    return target


def _columns(first: Any, into: str, keep_input: bool) -> list[str]:
    """The columns of a table, by the first row.

    Raises:
        ValueError: One is named as a field of the output.
    """
    if not keep_input:
        return [into]
    fields = [str(name) for name in first if name != NUMBER] if isinstance(first, Mapping) else ["input"]
    if into in fields:
        raise ValueError(f"the input has a field '{into}' already; name another one with --into (into=...)")
    return [*fields, into]


def _counted(config: RunnableConfig | None, spending: Spending) -> RunnableConfig:
    """The config with one more listener."""
    given: Any = (config or {}).get("callbacks")
    if given is not None and not isinstance(given, list):
        listening: Any = given.copy()
        listening.add_handler(spending, inherit=True)
    else:
        listening = [*(given or []), spending]
    return {**(config or {}), "callbacks": listening}


def _work(
    engine: Engine,
    runnable: Any,
    column: str | None,
    config: RunnableConfig | None,
    spending: Spending,
    concurrency: int | None,
    target: Path,
) -> RowWork:
    if engine not in get_args(Engine):
        raise ValueError(f"engine must be one of {', '.join(get_args(Engine))}, got {engine!r}")
    if engine == "ray":
        from chainkit.scale.on_ray import RayCalls

        if config is not None or spending.limited:
            raise Unsupported("the engine 'ray' takes no config and no budget, since its actors have their own models")
        return RayCalls(runnable, column, concurrency).work()
    models = work_of(runnable, column, config, concurrency).models
    work = work_of(runnable, column, _counted(config, spending) if models else config, concurrency)
    if engine == "local":
        return work
    return BatchedCalls(work, beside(target, "batches.jsonl")).work(models, concurrency)


def _limited(work: RowWork, limiter: RateLimiter | None) -> RowWork:
    if limiter is None:
        return work

    def call(rows: Sequence[Any]) -> list[Any]:
        limiter.acquire()
        return work.call(rows)

    return replace(work, call=call)
