"""A package that can be called: `chainkit.program(...)` is a function, and `chainkit.programs.Program` lives in it."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class CallableModule(ModuleType):
    """A module whose call is that of the function which `_call` names as "module:function", imported when called."""

    _call: str

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function."""
        return self._function()(*args, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function())

    def _function(self) -> Callable[..., Any]:
        module, _, name = self._call.partition(":")
        return getattr(importlib.import_module(module), name)


def make_callable(module: str, target: str) -> ModuleType:
    """Let a module that is being imported be called as the function `target`, "module:function"; gives the module."""
    found = sys.modules[module]
    found.__class__ = CallableModule
    found.__dict__["_call"] = target
    return found
