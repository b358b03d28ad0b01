"""Programs: templates in which a model writes, chooses, loops and calls tools, read as one stream.

The package is also the function that makes one: `chainkit.program("Hello {{gen 'name'}}", model)`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from chainkit.base.callable_module import make_callable

if TYPE_CHECKING:
    from chainkit.program.engines import Engine as Engine
    from chainkit.program.limits import Limits as Limits
    from chainkit.program.run import Run as Run
    from chainkit.program.runnable import Program as Program
    from chainkit.program.runnable import program as program

_HOMES = {
    "Engine": "chainkit.program.engines",
    "Limits": "chainkit.program.limits",
    "Program": "chainkit.program.runnable",
    "Run": "chainkit.program.run",
}

__all__ = ["Engine", "Limits", "Program", "Run", "program"]

if not TYPE_CHECKING:
    # so that `from chainkit import program` and `import chainkit.program` find the same thing
    program = make_callable(__name__, "chainkit.program.runnable:program")


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'chainkit.program' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
