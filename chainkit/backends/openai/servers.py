"""Load balancing over several servers of one model, with failing servers taken out until they recover."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


@dataclass(eq=False)
class _Server:
    """State of one server.

    Attributes:
        busy: Calls that it answers now, streams included.
        served: Number of the last call that it was given.
        failures: In a row.
        out_until: By `time.monotonic`; it gets no call before, unless there is no other server.
        doubted: Whether it must answer a check first.
        checked: Whether it is being asked now.
    """

    busy: int = 0
    served: int = 0
    failures: int = 0
    out_until: float = 0.0
    doubted: bool = False
    checked: bool = False

    @property
    def up(self) -> bool:
        return not self.doubted and self.out_until <= time.monotonic()


class Servers:
    """Servers that answer the same calls; safe to use from any thread.

    A call goes to the one that is least busy. One that fails is left out for a second, twice as long each time, and
    then asked whether it is well, beside the calls; it gets calls again when it says so. Running answers continue.

    Args:
        names: The servers.
        well: Asks one of them, and may take some seconds.
    """

    def __init__(self, names: Sequence[int], well: Callable[[int], bool]) -> None:
        self._servers: Mapping[int, _Server] = {name: _Server() for name in names}
        self._well, self._lock, self._calls = well, threading.Lock(), 0

    def take(self, tried: Collection[int] = ()) -> int:
        """The server for a call, which is then busy with it.

        Args:
            tried: Those that have failed this call; taken only if no other is up.
        """
        with self._lock:
            self._check_those_that_wait()
            self._calls += 1
            up = {name: one for name, one in self._servers.items() if one.up}
            fresh = {name: one for name, one in up.items() if name not in tried}
            if found := fresh or up:
                name = min(found, key=lambda name: (found[name].busy, found[name].served))
            else:  # all are out: the one that may come back first
                name = min(self._servers, key=lambda name: self._servers[name].out_until)
            one = self._servers[name]
            one.busy, one.served = one.busy + 1, self._calls
            return name

    def hold(self, name: int) -> None:
        """One more call that a server is busy with."""
        with self._lock:
            self._servers[name].busy += 1

    def give_back(self, name: int) -> None:
        """A call has ended, however."""
        with self._lock:
            self._servers[name].busy -= 1

    def worked(self, name: int) -> None:
        """A server has answered: it is up."""
        one = self._servers[name]
        if one.failures or one.doubted:
            with self._lock:
                one.failures, one.out_until, one.doubted = 0, 0.0, False

    def failed(self, name: int, seconds: float | None = None, *, check: bool = True, tolerated: int = 0) -> None:
        """Leave a server out.

        Args:
            name: The server.
            seconds: How long; None: a second after the first failure, twice as long after each further one.
            check: Whether it has to say that it is well before it gets calls again.
            tolerated: Number of consecutive failures that have no effect yet.
        """
        with self._lock:
            one = self._servers[name]
            if check and one.doubted and one.out_until > time.monotonic():
                return  # calls that were on their way when it failed
            one.failures += 1
            if one.failures <= tolerated:
                return
            usual = min(FIRST_PAUSE_SECONDS * 2 ** min(one.failures - 1, 10), LONGEST_PAUSE_SECONDS)
            one.out_until = time.monotonic() + (usual if seconds is None else seconds)
            one.doubted = one.doubted or check

    def others_up(self, tried: Collection[int]) -> bool:
        """Whether there is a server that has not been tried and is not left out."""
        return any(one.up for name, one in self._servers.items() if name not in tried)

    def _check_those_that_wait(self) -> None:
        now = time.monotonic()
        for name, one in self._servers.items():
            if one.doubted and not one.checked and one.out_until <= now:
                one.checked = True
                threading.Thread(target=self._check, args=(name,), name="chainkit-health", daemon=True).start()

    def _check(self, name: int) -> None:
        well = False
        try:
            well = self._well(name)
        finally:
            self._servers[name].checked = False
            if well:
                self.worked(name)
            else:
                self.failed(name)
