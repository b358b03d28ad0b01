"""What tests and benchmarks of mappings run in processes of their own."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

from chainkit.scale.mapping import map_rows

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.scale.mapped"])


def worked(row: dict, sleep: float = 0.0) -> str:
    """What is done with a row."""
    if row["n"] % 97 == 0:
        raise ValueError("a multiple of 97")
    if sleep and row["n"] % 50 == 0:
        time.sleep(sleep)
    return f'line one of {row["n"]}\n"and" line two'


def slowly(row: dict) -> str:
    """As `worked`, but it takes a while."""
    time.sleep(0.05)
    return worked(row)


def run(source: Path, output: Path, ordered: bool, workers: int, sleep: float, told: object) -> None:
    """Map a file, and tell before and after."""
    told.send("ready")
    map_rows(lambda row: worked(row, sleep), source, output, ordered=ordered, concurrency=workers)
    told.send("done")


def kill(source: Path, output: Path, ordered: bool, workers: int, after: float) -> bool:
    """Run a mapping and kill it after so many seconds; whether it was still running."""
    hear, tell = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=run, args=(source, output, ordered, workers, 0.004, tell))
    process.start()
    tell.close()
    assert hear.recv() == "ready"
    time.sleep(after)
    process.kill()
    process.join()
    hear.close()
    return process.exitcode != 0
