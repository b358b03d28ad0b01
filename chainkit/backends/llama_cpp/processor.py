"""CPU features of this machine, by their Linux names."""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache
from pathlib import Path

from chainkit.sizing.machines import usable_cpus

_CPUINFO = Path("/proc/cpuinfo")
_MACHINES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}
_AT_HWCAP, _HWCAP = 16, {10: "asimdhp", 20: "asimddp"}  # the place in the auxiliary vector, and two of its bits
_AVX2_PRESENT = 40  # PF_AVX2_INSTRUCTIONS_AVAILABLE; all processors with AVX2 have BMI2, F16C and FMA
_DOT_PRESENT = 43  # PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE


def machine() -> str:
    """The kind of processor: "x86_64", "aarch64", or as the system calls it."""
    name = platform.machine().lower()
    return _MACHINES.get(name, name)


@cache
def features() -> frozenset[str] | None:
    """The features that the processor has, like "avx2" and "asimddp"; None where the system does not tell."""
    if sys.platform == "linux":
        if machine() == "aarch64":  # /proc/cpuinfo is the host's in an emulator
            return of_hwcap(ctypes.CDLL(None).getauxval(_AT_HWCAP))
        try:
            return listed(_CPUINFO.read_text("utf-8", "replace"))
        except OSError:
            return None
    if sys.platform == "darwin" and machine() == "aarch64":
        return frozenset({"asimddp", "asimdhp"})  # every Apple processor since the M1
    if sys.platform == "win32":
        present = ctypes.windll.kernel32.IsProcessorFeaturePresent
        avx2, dot = bool(present(_AVX2_PRESENT)), bool(present(_DOT_PRESENT))
        return frozenset((["avx2", "bmi2", "f16c", "fma"] if avx2 else []) + (["asimddp", "asimdhp"] if dot else []))
    return None


def of_hwcap(bits: int) -> frozenset[str]:
    """The features of an Arm processor from what Linux tells each process, and all bits as one word.

    >>> sorted(of_hwcap(0x00100402))
    ['asimddp', 'asimdhp', 'hwcap-100402']
    """
    return frozenset({name for bit, name in _HWCAP.items() if bits >> bit & 1} | {f"hwcap-{bits:x}"})


def listed(cpuinfo: str) -> frozenset[str] | None:
    """The features that every processor of a /proc/cpuinfo has; None if it lists none.

    >>> sorted(listed("Features : fp asimd asimddp\\n\\nFeatures : fp asimd\\n"))
    ['asimd', 'fp']
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    sets = [set(rest.split()) for name, _, rest in lines if name.strip() in ("flags", "Features")]
    return frozenset(set[str].intersection(*sets)) if sets else None


def missing(wanted: tuple[str, ...]) -> list[str]:
    """Those of the features that the processor lacks; none where the system does not tell."""
    there = features()
    return [] if there is None else sorted(set(wanted) - there)


def name() -> str:
    """The processor, as far as the system tells: another one may compute with other kernels."""
    return f"{machine()} {platform.processor()} {' '.join(sorted(features() or ()))}"


def default_threads() -> int:
    """All cores that this process may use but one, at most 4: more help little and make a busy machine slow."""
    return max(1, min(4, usable_cpus() - 1))
