"""Something a model object holds on to while it lives, and that no copy or pickle of it takes along."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """One value and what it was made for; made again when that changes. Copies begin empty."""

    def __init__(self) -> None:
        self._held: tuple[object, T] | None = None
        self._lock = threading.Lock()

    def value(self, key: object, make: Callable[[], T]) -> T:
        """The value for `key`; `make` is called once, even if several threads ask."""
        with self._lock:
            if self._held is None or self._held[0] != key:
                self._held = None  # free the old one first
                self._held = key, make()
            return self._held[1]

    def clear(self) -> None:
        """Let go of the value."""
        with self._lock:
            self._held = None

    def __deepcopy__(self, _memo: object) -> Kept[T]:
        return Kept()

    def __reduce__(self) -> tuple[type[Kept[T]], tuple[()]]:
        return Kept, ()
