"""How much memory there is, here and now: the system's own count, and the limits of the control groups we run in."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = 1 << 60  # control groups of the first version say so with a number near 2**63
_RECLAIMABLE = ("inactive_file", "active_file", "slab_reclaimable")
_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def total_memory(proc: Path = _PROC, groups: Path = _GROUPS) -> int | None:
    """Bytes that this process could use if nothing else ran; None where that cannot be known."""
    return _least([_from_meminfo(proc, "MemTotal") or _physical(), *(limit for limit, _ in _limits(proc, groups))])


def available_memory(proc: Path = _PROC, groups: Path = _GROUPS) -> int | None:
    """Bytes that can be taken now without swapping: caches that the system would give up count as free.

    None where that is unknown; callers then refuse nothing.
    """
    free = _from_meminfo(proc, "MemAvailable") or _free_on_windows()
    return _least([free, *(limit - used for limit, used in _limits(proc, groups))])


def _least(values: list[int | None]) -> int | None:
    return min((max(0, value) for value in values if value is not None), default=None)


def _from_meminfo(proc: Path, name: str) -> int | None:
    for line in _text(proc / "meminfo").splitlines():
        key, _, value = line.partition(":")
        if key == name and value.split()[:1] and value.split()[0].isdigit():
            return int(value.split()[0]) * 1024
    return None


def _limits(proc: Path, groups: Path) -> Iterator[tuple[int, int]]:
    """The limit and the use of each control group that we are in, and of those around it."""
    for line in _text(proc / "self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            yield from _up(groups, path, "memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
            yield from _up(groups / "memory", path, *names)


def _up(root: Path, path: str, limit: str, use: str, prefix: str) -> Iterator[tuple[int, int]]:
    """In a container the group's own folder may be the root: folders that are not there are passed over."""
    parts = [part for part in path.split("/") if part and part != ".."]
    for depth in range(len(parts), -1, -1):
        folder = root.joinpath(*parts[:depth])
        most, used = _number(folder / limit), _number(folder / use)
        if most is not None and used is not None and most < _UNLIMITED:
            yield most, max(0, used - _cached(folder / "memory.stat", prefix))


def _cached(path: Path, prefix: str) -> int:
    """What the kernel would give up under pressure: pages of files, mapped models among them."""
    lines = (line.partition(" ") for line in _text(path).splitlines())
    wanted = {prefix + name for name in _RECLAIMABLE}
    return sum(int(value) for key, _, value in lines if key in wanted and value.strip().isdigit())


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _physical() -> int | None:
    """What the hardware has, on systems without /proc/meminfo."""
    if sys.platform == "win32":
        return _windows_memory()[0]
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
    return pages * size if pages > 0 and size > 0 else None


def _free_on_windows() -> int | None:
    return _windows_memory()[1] if sys.platform == "win32" else None


def _windows_memory() -> tuple[int | None, int | None]:
    """Total and available memory, by GlobalMemoryStatusEx."""
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *(
                (name, ctypes.c_uint64)
                for name in ("total", "free", "page", "page_free", "all", "all_free", "extended")
            ),
        )

    status = Status(length=ctypes.sizeof(Status))
    windll = getattr(ctypes, "windll", None)
    if windll is None or not windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return status.total, status.free
