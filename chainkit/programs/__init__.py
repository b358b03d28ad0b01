"""Programs: templates in which a model generates, selects, loops and calls tools.

`chainkit.program("Hello {{gen 'name'}}", model)` makes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainkit.base.shelf import lazily

if TYPE_CHECKING:
    from chainkit.programs.model import cache as cache
    from chainkit.programs.model.protocol import ProgramModel as ProgramModel
    from chainkit.programs.run.limits import Limits as Limits
    from chainkit.programs.run.run import Run as Run
    from chainkit.programs.run.runnable import Options as Options
    from chainkit.programs.run.runnable import Program as Program
    from chainkit.programs.run.runnable import program as program

_HOMES = {
    "Limits": "chainkit.programs.run.limits",
    "Options": "chainkit.programs.run.runnable",
    "Program": "chainkit.programs.run.runnable",
    "ProgramModel": "chainkit.programs.model.protocol",
    "Run": "chainkit.programs.run.run",
    "cache": "chainkit.programs.model.cache:",
    "program": "chainkit.programs.run.runnable",
}

__all__ = [
    "Limits",
    "Options",
    "Program",
    "ProgramModel",
    "Run",
    "cache",
    "program",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _HOMES)
