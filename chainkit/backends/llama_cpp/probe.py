"""A model file is tried in a child process first: what still breaks native code breaks only the child.

`python -m chainkit.backends.llama_cpp.probe FILE` is the child; it loads the file, cuts texts into tokens and computes
a few tokens. A file that passed is remembered in the cache folder until it changes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from chainkit.base.errors import ChainkitError, ModelFileError
from chainkit.base.paths import cache_dir

if TYPE_CHECKING:
    from chainkit.backends.llama_cpp.weights import Weights

log = logging.getLogger("chainkit.llama_cpp")

_REFUSED = 3
_HEAD_BYTES = 1 << 16
_SECONDS, _BYTES_PER_SECOND = 60, 20_000_000  # a slow SD card
_SAMPLES = (
    "Hello, world! 123\n",
    "".join(map(chr, range(1, 0x250))),
    "漢字 🙂 \u200d é",
    " " * 33,
    "<s></s><|im_end|>",
)
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


def _run(path: Path, library: Path) -> None:
    root = str(Path(__file__).parents[3])
    environment = os.environ | {
        "CHAINKIT_LLAMA_LIBRARY": str(library),
        "GGML_NO_BACKTRACE": "1",  # else a dying child starts a debugger on itself
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")])),
    }
    seconds = _SECONDS + path.stat().st_size / _BYTES_PER_SECOND
    try:
        child = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", __name__, str(path)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelFileError(path, f"could not be tried within {seconds:.0f} seconds") from error
    if child.returncode == _REFUSED:
        raise ModelFileError(path, json.loads(child.stdout))
    if child.returncode:
        last = child.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no reason given"]
        raise ModelFileError(
            path, f"is damaged: llama.cpp ended with status {child.returncode} on it ({last[0][:200]})"
        )


def _fingerprint(path: Path, library: Path) -> str:
    status = path.stat()
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    parts = (str(path.resolve()), status.st_size, status.st_mtime_ns, str(library))
    return hashlib.sha256(json.dumps(parts).encode() + head).hexdigest()


def main(path: str) -> int:
    """The child: status 0 if the file works, 3 and the reason on stdout if it is refused."""
    from chainkit.backends.llama_cpp.weights import LlamaLoading, load_weights

    _no_core_file()
    try:
        weights = load_weights(Path(path), LlamaLoading(probe=False, repack=False))
        for sample in _SAMPLES:
            for special in (False, True):
                weights.vocabulary.tokenize(sample, special=special, whole=True)
        for token in range(weights.vocabulary.size):
            weights.vocabulary.piece(token)
        _compute(weights)
    except ModelFileError as error:
        sys.stdout.write(json.dumps(str(error).removeprefix(f"{error.path}: ")))
        return _REFUSED
    except ChainkitError as error:
        sys.stdout.write(json.dumps(str(error)))
        return _REFUSED
    return 0


def _compute(weights: Weights) -> None:
    from chainkit.backends.llama_cpp.embedder import Embedder, EmbedderSettings
    from chainkit.backends.llama_cpp.runtime import EncoderOnly, LlamaRuntime, LlamaSettings

    try:
        LlamaRuntime(weights, LlamaSettings(context_length=64, n_batch=32)).try_out()
    except EncoderOnly:
        Embedder(weights, EmbedderSettings(context_length=64)).embed(["Hello, world!"])


def _no_core_file() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
