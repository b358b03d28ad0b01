"""A package that is called like the one function that users want of it: `chainkit.upscale(...)`.

A function of the top package and a subpackage of the same name would take turns as `chainkit.NAME`, depending on which
was imported first. So the package itself is made callable, and is both.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class CallableModule(ModuleType):
    """A module that passes calls on to a function of its own package, imported at the first call."""

    _function_home: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Whatever the function answers."""
        return self._function()(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function())

    def _function(self) -> Callable[..., Any]:
        home, _, name = self._function_home.partition(":")
        return getattr(importlib.import_module(home), name)


def make_callable(package: str, function: str) -> None:
    """Let a package be called.

    Args:
        package: Its `__name__`; call this from its `__init__.py`.
        function: What a call calls, as "module:function".
    """
    module = sys.modules[package]
    module.__class__ = CallableModule
    module.__dict__["_function_home"] = function
