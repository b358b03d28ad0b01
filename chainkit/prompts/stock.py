"""Whether the code of langchain-core is still the code of langchain-core."""

from __future__ import annotations

from operator import attrgetter
from types import FunctionType


def of_core(function: object) -> bool:
    """Whether a function is written in langchain-core: `functools.wraps` changes a name, but not the globals."""
    return type(function) is FunctionType and str(function.__globals__.get("__name__")).startswith("langchain_core.")


class Stock:
    """The methods of a class as langchain-core wrote them, to see whether a subclass or a patch changed one.

    >>> from langchain_core.runnables import Runnable
    >>> class Same(Runnable):
    ...     def invoke(self, input, config=None, **kwargs): return input
    >>> class Other(Same):
    ...     def batch(self, inputs, config=None, **kwargs): return inputs
    >>> stock = Stock(Runnable, "batch", "abatch")
    >>> stock.kept_by(Same()), stock.kept_by(Other())
    (True, False)
    """

    def __init__(self, owner: type, first: str, second: str, *names: str) -> None:
        self._of = attrgetter(first, second, *names)
        self._methods: tuple[object, ...] = self._of(owner)
        # A library that wrapped them before chainkit was imported may want to see the calls.
        self._untouched = all(map(of_core, self._methods))

    def kept_by(self, thing: object) -> bool:
        """Whether the class of a thing has these methods unchanged, at this moment."""
        return self._untouched and self._of(type(thing)) == self._methods
