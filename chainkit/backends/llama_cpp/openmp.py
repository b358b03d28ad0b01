"""libgomp, which xllamacpp's library asks the system for; minimal Linux systems and slim containers lack it.

Wheels of scikit-learn, simsimd and torch bundle libgomp under a mangled name. A copy of it with the usual name is
loaded from memory, and the system's loader then resolves libgomp to it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

NAME = "libgomp.so.1"
REMEDY = (
    "apt-get install libgomp1 (Debian, Ubuntu), dnf install libgomp (Fedora, RHEL), apk add libgomp (Alpine), or, "
    "without the rights for that, pip install simsimd, whose wheel holds a copy that chainkit uses"
)
"""What brings it."""


def lacking(error: OSError) -> bool:
    """Whether a library could not be loaded because the system has no libgomp."""
    return str(error).startswith(f"{NAME}:")


def bring() -> bool:
    """Load libgomp from an installed wheel; whether there was one."""
    for path in _bundled():
        data = _renamed(path)
        if data is not None and _loaded(data):
            return True
    return False


def _bundled() -> Iterator[Path]:
    """The copies of libgomp in wheels."""
    for entry in dict.fromkeys(sys.path):
        folder = Path(entry)
        if folder.is_dir():
            yield from sorted(folder.glob("*.libs/libgomp*.so*"))
            yield from sorted(folder.glob("torch/lib/libgomp*.so*"))


def _renamed(path: Path) -> bytes | None:
    """A library under libgomp's usual name; None if its own name is not its file's.

    The name (SONAME) is one of the strings in the file; a shorter one fits in its place.
    """
    data = path.read_bytes()
    if path.name == NAME:
        return data
    old = b"\0" + path.name.encode() + b"\0"
    new = b"\0" + NAME.encode()
    return data.replace(old, new.ljust(len(old), b"\0")) if data.count(old) == 1 else None


def _loaded(data: bytes) -> bool:
    file = os.memfd_create(NAME)
    try:
        with os.fdopen(file, "wb", closefd=False) as memory:
            memory.write(data)
        ctypes.CDLL(f"/proc/self/fd/{file}")
    except OSError:  # no /proc, or a system that runs nothing from memory
        return False
    finally:
        os.close(file)
    return True
