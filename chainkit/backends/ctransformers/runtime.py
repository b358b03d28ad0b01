"""One file in one child process, shared by all sessions on it."""

from __future__ import annotations

import array
import importlib.util
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np

from chainkit.backends.ctransformers import worker
from chainkit.backends.ctransformers.kinds import memory_needed
from chainkit.backends.ctransformers.vocabulary import CTransformersVocabulary
from chainkit.base.errors import ChainkitError, MissingLibrary, ModelFileError, Unsupported
from chainkit.decoding.sampler import Logits
from chainkit.local.lookup import Pace
from chainkit.local.runtime import ForwardRequest, ForwardResult, KVSequence, common
from chainkit.local.soft_prompt import SoftPrompt
from chainkit.local.threads import Cancelled

_DEFAULT_CONTEXT = 2048  # of the kinds whose files do not say; the library's own is 512
_AT_ONCE = 64  # tokens between two looks at whether the generation was cancelled
_SECONDS, _BYTES_PER_SECOND = 30, 20_000_000  # to load; a slow SD card


@dataclass(frozen=True, kw_only=True)
class CTransformersSettings:
    """What makes one runtime different from another on the same file.

    Attributes:
        kind: One of `kinds.KINDS`.
        context_length: Tokens that the model can read; None: what the file says, or 2048.
        n_threads: None: half of the cores, at most 4: they wait for each other by spinning.
        n_batch: Tokens that the library computes at once while it reads.
    """

    kind: str
    context_length: int | None = None
    n_threads: int | None = None
    n_batch: int = 8


class CTransformersRuntime:
    """A model in its child. Its methods may be called from any thread; one computes at a time.

    Attributes:
        path: The file.
        context_length: Number of tokens that the context holds.
        vocabulary: The model's tokens.
    """

    def __init__(self, path: Path, settings: CTransformersSettings) -> None:
        self._room = memory_needed(path, settings.kind, settings.context_length)
        if importlib.util.find_spec("ctransformers") is None:
            raise MissingLibrary("ctransformers", extra="ctransformers")
        self.path, self.settings = path, settings
        self.pace = Pace()
        self.lock = threading.RLock()
        self._begin()
        self._understand(self._loaded())

    def _begin(self) -> None:
        """Start the child, which knows nothing yet."""
        self._read: list[int] = []
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the child lives
        self._child = _start(self._errors)
        self._answered = True  # whether the child has answered the last message
        self._stop = weakref.finalize(self, _end, self._child, self._errors)

    parallel = 1  # the library knows no others
    room: int | None = None
    crowded = looks_ahead = takes_soft_prompts = False

    def fingerprint(self) -> None:
        """None: results are not kept."""
        return

    def forward(self, requests: Sequence[ForwardRequest]) -> list[ForwardResult]:
        """Compute the missing tokens of all texts, one text after the other.

        Raises:
            Cancelled: One of them was cancelled.
            ModelFileError: The child has died.
        """
        with self.lock:
            self._mend()
            return [self._answer(request) for request in requests]

    def _mend(self) -> None:
        """After a call that was cut short, begin anew: what the child still says belongs to that call."""
        if not self._answered and self.alive:
            self._stop()
            self._begin()
            self._loaded()

    def pause(self, sequence: KVSequence | None) -> None:
        """No text waits for a place here."""

    def drop(self, sequence: KVSequence | None, owner: object) -> None:
        """Does nothing: the text stays cached until another replaces it."""

    def require_fit(self, prompt: SoftPrompt) -> None:
        """Refuse soft prompts: see `takes_soft_prompts`."""
        raise Unsupported("ctransformers reads tokens only, no soft prompts")

    def forget(self) -> None:
        """Read everything again from here on."""
        with self.lock:
            self._read.clear()

    def _answer(self, request: ForwardRequest) -> ForwardResult:
        tokens, branches = list(request.tokens), request.branches
        computed, passes, logits = self._advance(tokens, request.cancelled)
        rows = [logits]
        for node in branches.inner if branches else ():
            assert branches is not None
            path = [branches.tokens[step] for step in branches.before(node)]
            _, more, logits = self._advance(tokens + path, request.cancelled)
            passes += more
            rows.append(logits)
        return ForwardResult(None, computed, passes, np.stack(rows))

    def _advance(self, tokens: list[int], cancelled: Callable[[], bool]) -> tuple[int, int, Logits]:
        """How many tokens had to be computed, in how many passes, and the logits of the next one, [V]."""
        same = min(common(self._read, tokens), len(tokens) - 1)
        if same < len(self._read) and self.settings.kind == "falcon":
            same = 0  # its values are laid out anew for each length of the text, so that it cannot go back
        del self._read[same:]
        answer, passes = b"", 0
        while len(self._read) < len(tokens):
            if cancelled():
                raise Cancelled("the generation was cancelled")
            start = len(self._read)
            piece = tokens[start : start + _AT_ONCE]
            answer, passes = self._ask(worker.COMPUTE, array.array("i", [start, *piece]).tobytes()), passes + 1
            self._read.extend(piece)
        return len(tokens) - same, passes, np.frombuffer(answer, np.float32)

    def _loaded(self) -> bytes:
        """What the child says of the model once it has loaded it."""
        settings, threads = self.settings, os.cpu_count() or 1
        size = self.path.stat().st_size
        unset = _DEFAULT_CONTEXT if settings.kind in ("llama", "gguf", "falcon") else -1
        request: dict[str, Any] = {
            "path": str(self.path),
            "kind": settings.kind,
            "context_length": settings.context_length or unset,
            "threads": settings.n_threads or max(1, min(4, threads // 2)),
            "batch": settings.n_batch,
            "room": self._room,
        }
        seconds = _SECONDS + size / _BYTES_PER_SECOND
        timer = threading.Timer(seconds, self._child.kill)
        timer.daemon = True
        timer.start()
        try:
            return self._ask(worker.LOAD, json.dumps(request).encode())
        finally:
            timer.cancel()

    def _understand(self, answer: bytes) -> None:
        (length,) = struct.unpack_from("<I", answer)
        header = json.loads(answer[4 : 4 + length])
        lengths = array.array("I", answer[4 + length : 4 + length + 4 * header["size"]])
        ends = np.cumsum([4 + length + 4 * header["size"], *lengths]).tolist()
        pieces = [answer[start:end] for start, end in pairwise(ends)]
        self.context_length = _context_length(self.settings, header["limit"])
        self.vocabulary = CTransformersVocabulary(
            pieces, self.settings.kind, bos=header["bos"], eos=header["eos"], tokenize=_tokenizer(weakref.ref(self))
        )

    @property
    def alive(self) -> bool:
        """Whether the child still answers."""
        return self._child.poll() is None

    def tokens_by_library(self, text: bytes, first: bool) -> list[int]:
        """The tokens of a text as the library cuts it."""
        with self.lock:
            self._mend()
            return array.array("i", self._ask(worker.TOKENIZE, bytes([first]) + text)).tolist()

    def _ask(self, kind: int, payload: bytes) -> bytes:
        with self.lock:
            assert self._child.stdin is not None  # both are pipes
            assert self._child.stdout is not None
            self._answered = False
            try:
                worker.send(self._child.stdin, kind, payload)  # type: ignore[arg-type]
                answer = worker.receive(self._child.stdout)  # type: ignore[arg-type]
            except OSError:
                answer = None
            self._answered = True
            if answer is None:
                raise ModelFileError(self.path, self._last_words())
            status, content = answer
            if status == worker.FAILED:
                raise ModelFileError(self.path, f"ctransformers refuses it: {content.decode('utf-8', 'replace')[:300]}")
            return content

    def _last_words(self) -> str:
        status = self._child.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 4096))
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1].strip()[:200] if lines else "no reason given"
        return f"ended ctransformers with status {status} ({reason}); the file is damaged or of another kind"


def _tokenizer(runtime: weakref.ref[CTransformersRuntime]) -> Callable[[bytes, bool], list[int]]:
    def tokenize(text: bytes, first: bool) -> list[int]:
        there = runtime()
        if there is None:
            raise ChainkitError("the model was unloaded")
        return there.tokens_by_library(text, first)

    return tokenize


def _context_length(settings: CTransformersSettings, longest: int) -> int:
    if settings.context_length and longest < settings.context_length:
        raise Unsupported(
            f"the model can read {longest} tokens, and context_length={settings.context_length} was asked for"
        )
    return min(longest, settings.context_length or longest)


def _start(errors: IO[bytes]) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", "chainkit.backends.ctransformers.worker"],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
    )


def _end(child: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stdout, errors):
        if stream is not None:
            try:
                stream.close()
            except OSError:  # unsent data
                continue


_runtimes: weakref.WeakValueDictionary[tuple[object, ...], CTransformersRuntime] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def open_runtime(path: Path, settings: CTransformersSettings) -> CTransformersRuntime:
    """The runtime of a file and settings; one is made if there is none. Its process ends when nothing refers to it.

    Raises:
        ModelFileError: The file is not a model, or a damaged one.
        MissingLibrary: ctransformers is not installed.
    """
    with _lock:
        try:
            status = path.stat()
        except OSError as error:
            raise ModelFileError(path, f"cannot be read ({error})") from error
        key = (path.resolve(), status.st_size, status.st_mtime_ns, settings)
        runtime = _runtimes.get(key)
        if runtime is None or not runtime.alive:
            runtime = _runtimes[key] = CTransformersRuntime(path, settings)
        return runtime
