"""Moments as they are written on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_AGE = re.compile(r"(\d{1,6})\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType):
    """A date, a time, or an age like 7d."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment; without a zone it is local time."""
        if isinstance(value, datetime):
            return value
        try:
            if age := _AGE.fullmatch(value.strip()):
                return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
            return datetime.fromisoformat(value.strip()).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"'{value}' is not a date like 2026-11-21 or 2026-11-21T09:30 or an age like 30m, 12h, 7d or 4w.")
