"""A model file is tried in a child process first: what still breaks native code breaks only the child.

The child is `chainkit.backends.llama_cpp.trial`. A file that passed is remembered in the cache folder until it changes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from chainkit.base.errors import ModelFileError
from chainkit.base.paths import cache_dir

log = logging.getLogger("chainkit.llama_cpp")

REFUSED = 3
"""The status of a child that refuses a file."""

_HEAD_BYTES = 1 << 16
_SECONDS, _BYTES_PER_SECOND = 60, 20_000_000  # a slow SD card
_passed: set[str] = set()


def probe(path: Path, library: Path) -> None:
    """Try a file that has not been tried before; about half a second for a small one.

    Raises:
        ModelFileError: The child refused the file, died of it, or did not finish.
    """
    fingerprint = _fingerprint(path, library)
    marker = cache_dir() / "probed" / fingerprint
    if fingerprint in _passed or marker.exists() or getattr(sys, "frozen", False):
        return
    _run(path, library)
    _passed.add(fingerprint)
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError as error:
        log.info("cannot remember that %s is sound: %s", path, error)


def no_core_file() -> None:
    """Leave no core file if native code ends this process."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def child(module: str, argument: str, *, seconds: float, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a module of chainkit in a child process.

    Raises:
        TimeoutExpired: Of `subprocess`; it took longer.
    """
    root = str(Path(__file__).parents[3])
    variables = os.environ | {
        "GGML_NO_BACKTRACE": "1",  # else a dying child starts a debugger on itself
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")])),
    }
    return subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", module, argument],
        env=variables | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
        check=False,
    )


def _run(path: Path, library: Path) -> None:
    seconds = _SECONDS + path.stat().st_size / _BYTES_PER_SECOND
    try:
        done = child(
            "chainkit.backends.llama_cpp.trial", str(path), seconds=seconds, CHAINKIT_LLAMA_LIBRARY=str(library)
        )
    except subprocess.TimeoutExpired as error:
        raise ModelFileError(path, f"could not be tried within {seconds:.0f} seconds") from error
    if done.returncode == REFUSED:
        raise ModelFileError(path, json.loads(done.stdout))
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no reason given"]
        raise ModelFileError(path, f"is damaged: llama.cpp ended with status {done.returncode} on it ({last[0][:200]})")


def _fingerprint(path: Path, library: Path) -> str:
    status = path.stat()
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    parts = (str(path.resolve()), status.st_size, status.st_mtime_ns, str(library))
    return hashlib.sha256(json.dumps(parts).encode() + head).hexdigest()
