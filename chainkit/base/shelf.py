"""Public modules that import a name when it is first used, and show all of their names to `dir` and `help`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def lazily(module: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a module whose public names live elsewhere.

    Args:
        module: The module's `__name__`.
        homes: Public name to "package.module", which has an attribute of that name; "package.module:" is the module
            itself.
    """

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        home = importlib.import_module(homes[name].removesuffix(":"))
        value = home if homes[name].endswith(":") else getattr(home, name)
        setattr(sys.modules[module], name, value)
        return value

    def names() -> list[str]:
        return sorted({*homes, *(name for name in vars(sys.modules[module]) if name == "__version__")})

    return load, names
