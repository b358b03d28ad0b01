"""Write `locks/`: exact versions of everything that a make target installs.

    make lock                      keep the versions that are there, add what is new
    make lock UPGRADE=--upgrade    take the newest versions that pyproject.toml admits

`all.txt` holds every environment at once, so that a package has one version in all of them; the other files are parts
of it. Each is valid for CPython 3.11 and later on every system, by markers.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCKS = ROOT / "locks"
ENVIRONMENTS = {
    "demo": ("gguf", "embed", "cluster", "plot", "knowledge"),
    "dev": ("dev",),
    "bench": ("bench",),
    "native": ("gguf-native", "test"),
    "dist": ("dist",),
}
BUILD = "hatchling>=1.27\neditables>=0.5\n"
"""What installs chainkit itself; with it in the environment, nothing is fetched for the build."""

PIN = re.compile(r"^\S+==", re.MULTILINE)
# torch names the exact versions of these itself; its CPU build needs none of them
OF_TORCH = re.compile(r"^(nvidia|cuda|triton)\b.*\n", re.MULTILINE)


def main(options: list[str]) -> None:
    """Resolve all environments together, then each of them from that."""
    LOCKS.mkdir(exist_ok=True)
    extras = {extra for names in ENVIRONMENTS.values() for extra in names}
    resolve("all", sorted(extras), ["--constraints", str(ROOT / "constraints.txt"), *options])
    for name, names in ENVIRONMENTS.items():
        resolve(name, names, ["--constraints", str(LOCKS / "all.txt")])
    for path in sorted(LOCKS.glob("*.txt")):
        pins = OF_TORCH.sub("", path.read_text("utf-8"))
        path.write_text(pins, "utf-8")
        print(f"{path.relative_to(ROOT)}: {len(PIN.findall(pins))} versions")


def resolve(name: str, extras: tuple[str, ...] | list[str], options: list[str]) -> None:
    """Write one file with uv.

    Raises:
        SystemExit: There are no versions that go together; uv says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        build = Path(folder, "build.in")
        build.write_text(BUILD, "utf-8")
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", str(build), "--quiet", "--universal"),
            *("--python-version", "3.11", "--no-annotate", "--no-config", "--no-emit-index-url"),
            *("--custom-compile-command", "make lock", "--output-file", f"locks/{name}.txt"),
            *(f"--extra={extra}" for extra in extras),
            *options,
        ]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"locks/{name}.txt was not written: exit status {done.returncode} of uv")


if __name__ == "__main__":
    main(sys.argv[1:])
