"""Progress of a mapping, and its report at the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class MapProgress:
    """How far a mapping is.

    Attributes:
        done: Rows finished in this run.
        failed: Rows that failed in this run.
        skipped: Rows that earlier runs had finished.
        seconds: Since the run began.
        tokens: That models read and wrote in this run, as far as they say.
        cost: Estimated US dollars of this run, as far as prices are known.
        part: How much of the input was read, from 0 to 1; None if that is not known.
    """

    done: int
    failed: int
    skipped: int
    seconds: float
    tokens: int
    cost: float
    part: float | None

    @property
    def rows_per_second(self) -> float:
        """Rows of this run, failed ones included."""
        return (self.done + self.failed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the rate so far; None as long as there is none."""
        here = self.done + self.failed
        if not self.part or not here or not self.rows_per_second:
            return None
        total = (here + self.skipped) / self.part
        return max(0.0, total - here - self.skipped) / self.rows_per_second

    def __str__(self) -> str:
        said = [f"{self.done:,} rows", f"{self.rows_per_second:,.1f} rows/s"]
        said += [f"{self.failed:,} failed"] if self.failed else []
        said += [f"{self.tokens:,} tokens"] if self.tokens else []
        said += [f"${self.cost:.4f}"] if self.cost else []
        said += [f"{_time(self.seconds_left)} left"] if self.seconds_left is not None else []
        return ", ".join(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapReport:
    """The report of a mapping.

    Attributes:
        output: The file of finished rows.
        failures: The file of failed rows; it is there only if there are some.
        done: Rows finished in this run.
        failed: Rows that failed in this run.
        skipped: Rows that earlier runs had finished.
        stopped: Why it ended before the last row, such as "max_cost of $2 is spent"; None if it did not.
        seconds: Of this run.
        tokens: As in `MapProgress`.
        cost: As in `MapProgress`.
    """

    output: Path
    failures: Path
    done: int
    failed: int
    skipped: int
    stopped: str | None
    seconds: float
    tokens: int
    cost: float


def _time(seconds: float) -> str:
    """Seconds for people.

    >>> _time(42), _time(4000), _time(200_000)
    ('42 s', '1 h 7 min', '2 days 7 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"
