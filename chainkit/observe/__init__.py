"""Tracing: prompts, answers, latency and cost of model calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainkit.base.shelf import lazily

if TYPE_CHECKING:
    from chainkit.observe import log as log
    from chainkit.observe.step import Step as Step
    from chainkit.observe.trace import Trace as Trace

_HOMES = {
    "Step": "chainkit.observe.step",
    "Trace": "chainkit.observe.trace",
    "log": "chainkit.observe.log:",
}

__all__ = [
    "Step",
    "Trace",
    "log",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _HOMES)
