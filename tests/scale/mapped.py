"""A process that maps rows and can be killed: `python mapped.py INPUT OUTPUT ORDERED CONCURRENCY SLEEP`."""

from __future__ import annotations

import sys
import time

import chainkit

SLEEP = 0.0


def worked(row: dict) -> str:
    if row["n"] % 97 == 0:
        raise ValueError("a multiple of 97")
    if SLEEP and row["n"] % 50 == 0:
        time.sleep(SLEEP)
    return f'line one of {row["n"]}\n"and" line two'


if __name__ == "__main__":
    source, output, ordered, concurrency, sleep = sys.argv[1:]
    SLEEP = float(sleep)
    print("ready", flush=True)
    report = chainkit.map_rows(worked, source, output, ordered=ordered == "1", concurrency=int(concurrency))
    print("done", report.done, flush=True)
