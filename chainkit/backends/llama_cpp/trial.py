"""Tries a model file: loads it, cuts texts into tokens, computes a few. `probe` runs this in a child process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from chainkit.backends.llama_cpp.contexts import EncoderOnly, LlamaSettings
from chainkit.backends.llama_cpp.embedder import Embedder, EmbedderSettings
from chainkit.backends.llama_cpp.probe import REFUSED, no_core_file
from chainkit.backends.llama_cpp.runtime import LlamaRuntime
from chainkit.backends.llama_cpp.weights import LlamaLoading, Weights, load_weights
from chainkit.base.errors import ChainkitError, ModelFileError

_SAMPLES = (
    "Hello, world! 123\n",
    "".join(map(chr, range(1, 0x250))),
    "漢字 🙂 \u200d é",
    " " * 33,
    "<s></s><|im_end|>",
)


def main(path: str) -> int:
    """Status 0 if the file works, 3 and the reason on stdout if it is refused."""
    no_core_file()
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
        return REFUSED
    except ChainkitError as error:
        sys.stdout.write(json.dumps(str(error)))
        return REFUSED
    return 0


def _compute(weights: Weights) -> None:
    try:
        LlamaRuntime(weights, LlamaSettings(context_length=64, n_batch=32)).try_out()
    except EncoderOnly:
        Embedder(weights, EmbedderSettings(context_length=64)).embed(["Hello, world!"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
