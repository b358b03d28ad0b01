"""Which of ctransformers' models a file is: the files do not say, but the names of their tensors do, nearly."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from chainkit.backends.ctransformers.layout import check_layout
from chainkit.base.errors import NO_SUCH_FILE, ModelFileError

# as ctransformers spells them, with what they are called elsewhere
KINDS: Mapping[str, tuple[str, ...]] = {
    "gpt2": ("gpt-2", "cerebras"),
    "gptj": ("gpt-j", "pygmalion"),
    "gpt_neox": ("gpt-neox", "gptneox", "neox", "pythia", "redpajama", "stablelm", "oasst"),
    "dolly-v2": ("dolly_v2", "dolly"),
    "mpt": (),
    "falcon": (),
    "replit": (),
    "starcoder": ("gpt_bigcode", "starchat", "starcoderplus", "santacoder", "wizardcoder"),
    "llama": (),
    "gguf": (),
}

# the name of a tensor -> the kinds that have it; the first one that is found counts
_TENSORS: tuple[tuple[bytes, tuple[str, ...]], ...] = (
    (b"gpt_neox.", ("gpt_neox", "dolly-v2")),
    (b"transformer.blocks.", ("mpt", "replit")),
    (b"transformer.word_embeddings", ("falcon",)),
    (b"transformer.h.", ("gptj",)),
    (b"model/h0/", ("gpt2", "starcoder")),
    (b"model/wte", ("gpt2", "starcoder")),
    (b"layers.0.attention.wq", ("llama",)),
)
_MAGICS = (b"lmgg", b"fmgg", b"tjgg", b"ccgg")
_MOST_WORDS = 1 << 20
_ROOM, _SCRATCH = 16 << 30, 3 << 30  # bytes beyond the file, for kinds whose settings are not read here, and others
_SEARCHED = 16 << 20  # the names follow the vocabulary


def named_kind(name: str) -> str:
    """The kind that a user means.

    Raises:
        ValueError: There is none of this name.
    """
    plain = name.strip().lower()
    for kind, others in KINDS.items():
        if plain.replace("_", "-") in (kind.replace("_", "-"), *(other.replace("_", "-") for other in others)):
            return kind
    raise ValueError(f"no kind of model is called {name!r}; kinds: {', '.join(KINDS)}")


def kind_of(path: Path) -> str:
    """The kind of a file: by its tensors, and where two kinds have the same, by the name of the file.

    Raises:
        ModelFileError: It is not a file that ctransformers reads, or it could be of two kinds.
    """
    start = _start(path)
    if start[:4] == b"GGUF":
        return "gguf"
    if start[:4] not in _MAGICS:
        raise ModelFileError(path, f"is not a GGML file: it begins with {start[:4]!r}; ctransformers cannot read it")
    found = next((kinds for name, kinds in _TENSORS if name in start), ())
    if not found:
        raise ModelFileError(path, f"does not show of which kind it is; say model_type=... ({', '.join(KINDS)})")
    if len(found) == 1:
        return found[0]
    called = path.name.lower()
    fitting = [kind for kind in found if any(name in called for name in (kind, *KINDS[kind]))]
    if len(fitting) == 1:
        return fitting[0]
    raise ModelFileError(path, f"may be {' or '.join(found)}, which look alike; say which with model_type=...")


def memory_needed(path: Path, kind: str, context_length: int | None) -> int:
    """Bytes that a sound file of this kind may ask for: more than it takes, so that only damaged ones are stopped.

    Raises:
        ModelFileError: The file is absent or cut short, or its settings do not fit its size.
    """
    start, size = _start(path, 64), path.stat().st_size
    if len(start) < 64:
        raise ModelFileError(path, f"is cut short: it has {len(start)} bytes; download it again")
    if kind in ("llama", "gguf", "falcon") or start[:4] != b"lmgg":
        return 3 * size + _ROOM
    settings = struct.unpack_from("<5i", start, 4)
    if kind in ("mpt", "replit"):
        width, context, heads, layers, words = settings
    else:
        words, context, width, heads, layers = settings
    sound = 0 < words <= _MOST_WORDS and 0 < context <= 1 << 20 and 0 < layers <= 1024 and 0 < heads <= width <= 1 << 18
    if not sound or width % heads:
        shown = f"{words} tokens, {layers} layers of width {width} with {heads} heads, {context} positions"
        raise ModelFileError(path, f"is damaged, or no {kind}: it claims {shown}")
    least = words * 5 + words * width // 2 + 5 * layers * width * width  # weights of 4 bits, one head of keys
    if least > size:
        raise ModelFileError(path, f"is cut short: {layers} layers of width {width} do not fit {size} bytes")
    check_layout(path, kind, words)
    return 3 * size + 8 * max(context, context_length or 0) * layers * width + _SCRATCH


def _start(path: Path, length: int = _SEARCHED) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(length)
    except FileNotFoundError as error:
        raise ModelFileError(path, NO_SUCH_FILE) from error
    except IsADirectoryError as error:
        raise ModelFileError(path, "is a folder; name the .bin file in it") from error
    except OSError as error:
        raise ModelFileError(path, f"cannot be read ({error})") from error
