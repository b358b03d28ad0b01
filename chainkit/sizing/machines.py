"""Computers that a model may have to fit: this one, a Raspberry Pi, or one of a given size."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from chainkit.base.errors import nearest
from chainkit.sizing.memory import available_memory, total_memory

GIB = 1 << 30
_SPINS = "10000"  # 3,000 to 10,000 were the fastest, on an idle and on a busy machine

# Tensors of these types llama.cpp copies into a layout that is faster on the processor; ggml-cpu/repack.cpp.
_AVX2 = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
_AVX512 = _AVX2 | {"Q2_K"}
_DOT_PRODUCT = frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"})

_UNITS = {
    "": 1,
    "b": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": GIB,
    "ti": 2**40,
}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A computer, as far as memory goes.

    Attributes:
        name: For people.
        ram: Bytes of memory; None if that is not known.
        usable: Bytes that a program may take without swapping; None if that is not known.
        repacked: Tensor types of which llama.cpp makes a second copy here.
        here: Whether it is the computer that we run on.
    """

    name: str
    ram: int | None
    usable: int | None
    repacked: frozenset[str] = frozenset()
    here: bool = False


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_spinning() -> None:
    """Let the threads of native libraries spin for some microseconds while they wait for each other, then sleep.

    OpenMP reads these variables when it is loaded. Without spinning each of the hundreds of barriers of a token costs
    a sleep and a wake-up; with the default, milliseconds of spinning, other processes that need the cores wait. On
    Linux, where it is libgomp, "active" keeps some spinning where calls come from more threads than there are CPUs.
    A policy that the user has set stays.
    """
    if "OMP_WAIT_POLICY" in os.environ:
        return
    if sys.platform == "linux":
        os.environ["OMP_WAIT_POLICY"] = "active"
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    else:
        os.environ["OMP_WAIT_POLICY"] = "passive"


def this_machine() -> Machine:
    """This computer, with the memory that is free now; limits of control groups count."""
    total, free = total_memory(), available_memory()
    return Machine(
        name="this machine", ram=total, usable=total if free is None else free, repacked=repacks(), here=True
    )


def of_size(ram: int) -> Machine:
    """A computer with this many bytes of memory and a processor like this one."""
    return Machine(name=f"{ram / 1e9:g} GB of memory", ram=ram, usable=left_by_system(ram), repacked=repacks())


def left_by_system(ram: int) -> int:
    """What a Linux without other large programs leaves of its memory: 15/16 of it, less half a GiB."""
    return max(0, ram * 15 // 16 - GIB // 2)


def machine(name: str) -> Machine:
    """A machine by its name: "this", "pi4-2gb", "pi5-8gb", ..., or an amount of memory like "8GB" or "7.5GiB".

    Raises:
        ValueError: It is neither.
    """
    key = name.strip().lower().replace("_", "-").replace(" ", "-")
    if key in ("", "this", "here"):
        return this_machine()
    if key in PIS:
        return PIS[key]
    if _AMOUNT.fullmatch(name.strip()):
        return of_size(amount(name))
    hint = nearest(key, PIS)
    advice = f"did you mean '{hint}'?" if hint else f"known: this, {', '.join(PIS)}, or an amount like 8GB"
    raise ValueError(f"no machine '{name}'; {advice}")


def amount(text: str) -> int:
    """Bytes from text: "8GB" is 8 times 10**9, "8GiB" 8 times 2**30.

    >>> amount("1.5 GB"), amount("512MiB")
    (1500000000, 536870912)

    Raises:
        ValueError: It is not an amount, or is zero.
    """
    match = _AMOUNT.fullmatch(text.strip())
    value = int(float(match[1]) * _UNITS[(match[2] or "").lower()]) if match else 0
    if value < 1:
        raise ValueError(f"{text!r} is not an amount of memory; write it as 8GB or 512MiB")
    return value


@cache
def repacks() -> frozenset[str]:
    """The types that the installed llama.cpp copies on this processor."""
    native = importlib.util.find_spec("llama_cpp") is not None  # compiled here, with all that the processor has
    flags = _processor_flags()
    if platform.machine().lower() in ("arm64", "aarch64"):
        # the prebuilt wheel for Linux is made for every 64-bit Arm, without the dot product
        return _DOT_PRODUCT if (native and "asimddp" in flags) or platform.system() == "Darwin" else frozenset()
    if flags and "avx2" not in flags:
        return frozenset()
    return _AVX512 if native and "avx512f" in flags else _AVX2


def _processor_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return frozenset()
    lines = (line.partition(":") for line in text.splitlines())
    return next(
        (frozenset(rest.split()) for key, _, rest in lines if key.strip() in ("flags", "Features")), frozenset()
    )


def _pi(generation: int, size: int, repacked: frozenset[str]) -> Machine:
    ram = size * GIB
    name = f"Raspberry Pi {generation}, {size} GB"
    return Machine(name=name, ram=ram, usable=left_by_system(ram), repacked=repacked)


PIS: dict[str, Machine] = {
    "pi4-2gb": _pi(4, 2, frozenset()),
    "pi4-4gb": _pi(4, 4, frozenset()),
    "pi4-8gb": _pi(4, 8, frozenset()),
    "pi5-4gb": _pi(5, 4, _DOT_PRODUCT),
    "pi5-8gb": _pi(5, 8, _DOT_PRODUCT),
    "pi5-16gb": _pi(5, 16, _DOT_PRODUCT),
}
"""Raspberry Pis by name, with 64-bit Linux; the copies are those of a llama.cpp that was compiled on a Pi 5."""
