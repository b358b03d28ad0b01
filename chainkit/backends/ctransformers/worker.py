"""The child in which ctransformers runs: `python -m chainkit.backends.ctransformers.worker`.

The library reads files without checking them, shares one scratch buffer between all models of a process, and was not
made for several threads. So each model runs in a child process, whose crash is only an error.

A message is its kind, its length and its bytes. The first one says what to load; the answer holds the vocabulary.
"""

from __future__ import annotations

import array
import json
import os
import struct
import sys
from typing import Any, BinaryIO

HEAD = struct.Struct("<II")
LOAD, TOKENIZE, COMPUTE = 1, 2, 3
DONE, FAILED = 0, 1


def send(stream: BinaryIO, kind: int, payload: bytes) -> None:
    """Write one message."""
    stream.write(HEAD.pack(kind, len(payload)))
    stream.write(payload)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[int, bytes] | None:
    """Read one message; None at the end of the stream."""
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    kind, length = HEAD.unpack(head)
    payload = stream.read(length)
    return (kind, payload) if len(payload) == length else None


class LoadedFile:
    """A file in the library's memory."""

    def __init__(self, path: str, kind: str, context_length: int, threads: int, batch: int, room: int) -> None:
        from ctransformers.llm import LLM, Config  # pyright: ignore[reportMissingImports]

        _limit_memory(room)
        self._llm: Any = LLM(path, kind, config=Config(context_length=context_length), lib=_build())
        self._threads, self._batch = threads, batch
        self._size = self._llm.vocab_size

    def description(self) -> bytes:
        """The settings as JSON, then the bytes of each token, each preceded by its length."""
        llm = self._llm
        settings = {
            "limit": llm.context_length,
            "size": self._size,
            "eos": llm.eos_token_id,
            "bos": llm.bos_token_id,
            "kind": llm.model_type,
        }
        head = json.dumps(settings).encode()
        pieces = [llm.ctransformers_llm_detokenize(token) for token in range(self._size)]
        lengths = array.array("I", map(len, pieces)).tobytes()
        return struct.pack("<I", len(head)) + head + lengths + b"".join(pieces)

    def tokenize(self, request: bytes) -> bytes:
        """The tokens of a text; the first byte says whether the model's first token is wanted."""
        import ctypes

        # the library's own method makes room for one token a character, and a character may take four
        tokens = (ctypes.c_int * (len(request) + 16))()
        count = self._llm.ctransformers_llm_tokenize(request[1:], bool(request[0]), tokens)
        return array.array("i", tokens[:count]).tobytes()

    def compute(self, request: bytes) -> bytes:
        """The logits after tokens; the first number is the count of tokens before them."""
        import ctypes

        before, *tokens = array.array("i", request)
        values = (ctypes.c_int * len(tokens))(*tokens)
        llm = self._llm
        if not llm.ctransformers_llm_batch_eval(values, len(tokens), before, self._batch, self._threads):
            raise RuntimeError("it could not compute")
        count = llm.ctransformers_llm_logits_size()
        if count < self._size:
            raise RuntimeError(f"it gave {count} scores for {self._size} tokens")
        address = ctypes.addressof(llm.ctransformers_llm_logits_data().contents)
        return ctypes.string_at(address + 4 * (count - self._size), 4 * self._size)


def main() -> int:
    """Answer messages until there are no more."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the library prints
    model: LoadedFile | None = None
    while (message := receive(requests)) is not None:
        kind, payload = message
        try:
            if model is None:
                model = LoadedFile(**json.loads(payload))
                answer = model.description()
            else:
                answer = model.tokenize(payload) if kind == TOKENIZE else model.compute(payload)
        except (RuntimeError, ValueError, OSError, ImportError) as error:
            send(answers, FAILED, str(error).encode())
            continue
        send(answers, DONE, answer)
    return 0


def _build() -> str | None:
    """Which of the package's builds fits this machine; None lets it find out, which takes a second."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return None
    return "avx2" if " avx2" in flags else None


def _limit_memory(room: int) -> None:
    """A damaged file may ask for any amount of memory."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (room if hard < 0 else min(room, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
