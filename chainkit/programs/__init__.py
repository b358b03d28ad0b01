"""Programs: templates in which a model writes, chooses, loops and calls tools, read as one stream.

`chainkit.program("Hello {{gen 'name'}}", model)` makes one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainkit.programs.model.engines import Engine as Engine
    from chainkit.programs.run.limits import Limits as Limits
    from chainkit.programs.run.run import Run as Run
    from chainkit.programs.run.runnable import Program as Program
    from chainkit.programs.run.runnable import program as program

_HOMES = {
    "Engine": "chainkit.programs.model.engines",
    "Limits": "chainkit.programs.run.limits",
    "Program": "chainkit.programs.run.runnable",
    "Run": "chainkit.programs.run.run",
    "program": "chainkit.programs.run.runnable",
}

__all__ = ["Engine", "Limits", "Program", "Run", "program"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'chainkit.programs' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
