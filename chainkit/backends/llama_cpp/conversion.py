"""Old `.bin` files laid out as GGUF: a new header, and the blocks of the weights copied as they are.

Nothing is quantised again, so the logits stay the same bit for bit. Tensors are copied in pieces of a few megabytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from chainkit.backends.llama_cpp import ggjt, gguf_writer
from chainkit.backends.llama_cpp.header import TENSOR_TYPES
from chainkit.base.errors import NO_SUCH_FILE, ModelFileError
from chainkit.base.paths import cache_dir

log = logging.getLogger("chainkit.llama_cpp")

Progress = Callable[[int, int], object]
"""Called with the bytes written so far and the bytes there will be."""

_PIECE_BYTES = 4 << 20
_HEAD_BYTES = 1 << 16
_RECIPE = 1  # raise it when the same file would be laid out differently
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_NAMED = {0: (b"<unk>", _UNKNOWN), 1: (b"<s>", _CONTROL), 2: (b"</s>", _CONTROL)}
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Unstored:
    """What GGUF wants to know and the old files do not say.

    Attributes:
        trained_context: Tokens of the longest text in training; None: 4096 if the file is a Llama 2 by its name or by
            its shared key heads, 16384 if it is a Code Llama by its name, else Llama 1's 2048.
        rms_eps: Added to the variance in each norm. 5e-6 is what programs of that time took for Llama 1 (1e-6) and
            Llama 2 (1e-5) alike.
        rope_base: Of the rotary positions; None: 1e6 if the file is a Code Llama by its name, else 1e4.
    """

    trained_context: int | None = None
    rms_eps: float = 5e-6
    rope_base: float | None = None

    def __post_init__(self) -> None:
        if self.trained_context is not None and not 1 <= self.trained_context <= 1 << 28:
            raise ValueError(f"trained_context must be between 1 and 2**28, got {self.trained_context}")
        if not 0 < self.rms_eps < 1:
            raise ValueError(f"rms_eps must be between 0 and 1, got {self.rms_eps}")
        if self.rope_base is not None and not 1 < self.rope_base < 1e12:
            raise ValueError(f"rope_base must be above 1, got {self.rope_base}")


@dataclass(frozen=True)
class ConversionPlan:
    """What a conversion will write.

    Attributes:
        source: The old file.
        target_bytes: Length of the GGUF file.
        types: How many tensors there are of each type.
        values: The metadata of the GGUF file.
        header: Its bytes up to the first tensor.
        tensors: Tensors to copy after the header, in order.
    """

    source: Path
    target_bytes: int
    types: Mapping[str, int]
    values: Mapping[str, gguf_writer.Value] = field(compare=False, repr=False)
    header: bytes = field(repr=False)
    tensors: tuple[ggjt.GGJTTensor, ...] = field(repr=False)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {name}" for name, count in self.types.items())
        return (
            f"{self.source.name}: Llama of {self.values['llama.block_count']} layers, tensors: {kinds}; "
            f"{self.target_bytes / 1e9:.2f} GB as GGUF"
        )


def plan(source: Path | str, unstored: Unstored | None = None) -> ConversionPlan:
    """What `convert` would write; only the header of the file is read.

    Raises:
        ModelFileError: The file is not a sound GGML file of the Llama family.
    """
    model = ggjt.read(Path(source))
    values = _values(model, unstored or Unstored())
    header = gguf_writer.header(values, [(t.name, t.shape, t.type, t.nbytes) for t in model.tensors])
    total = len(header) + sum(gguf_writer.padded(tensor.nbytes) for tensor in model.tensors)
    types = Counter(TENSOR_TYPES[tensor.type][0] for tensor in model.tensors)
    return ConversionPlan(model.path, total, dict(types.most_common()), values, header, model.tensors)


def convert(
    source: Path | str,
    target: Path | str,
    unstored: Unstored | None = None,
    *,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> ConversionPlan:
    """Convert an old `.bin` file to GGUF; returns the plan that was written.

    The file is written beside the target as `.part` and renamed when it is whole.

    Raises:
        ModelFileError: The source is not a sound GGML file of the Llama family, the target exists, or the disk
            has no room for it.
    """
    written, target = plan(source, unstored), Path(target)
    if target.exists() and not overwrite:
        raise ModelFileError(target, "is there already; choose another name or overwrite it")
    _require_room(target, written.target_bytes)
    part = target.with_name(f"{target.name}.{os.getpid()}-{threading.get_ident():x}.part")
    try:
        with written.source.open("rb") as file, part.open("wb") as out:
            _write(written, file, out, progress or _silent)
            out.flush()
            os.fsync(out.fileno())
        part.replace(target)
    except OSError as error:
        raise ModelFileError(target, f"cannot be written ({error})") from error
    finally:
        part.unlink(missing_ok=True)
    return written


def converted(source: Path | str, unstored: Unstored | None = None, *, progress: Progress | None = None) -> Path:
    """The GGUF of an old file in the user's cache; made at the first call and again when the file has changed.

    Raises:
        ModelFileError: As for `convert`.
    """
    source, unstored = Path(source), unstored or Unstored()
    folder = cache_dir() / "ggml"
    place, state = _fingerprints(source, unstored)
    target = folder / f"{source.stem[:80]}-{place}-{state}.gguf"
    with _lock:  # two threads would do the same work twice; two processes may, and the last one's file stays
        if not target.exists():
            planned = plan(source, unstored)
            folder.mkdir(parents=True, exist_ok=True)
            log.info("laying out %s in %s, once", planned, target)
            convert(source, target, unstored, progress=progress, overwrite=True)
            _remove_outdated(folder, place, target)
    return target


def _values(model: ggjt.OldModel, unstored: Unstored) -> dict[str, gguf_writer.Value]:
    context, base = _guesses(model)
    pieces, kinds = _vocabulary(model.tokens)
    return {
        "general.architecture": "llama",
        "general.name": model.path.stem,
        "general.file_type": model.file_type,
        "general.quantization_version": 2,
        "llama.context_length": unstored.trained_context or context,
        "llama.embedding_length": model.width,
        "llama.block_count": model.layers,
        "llama.feed_forward_length": model.inner,
        "llama.attention.head_count": model.heads,
        "llama.attention.head_count_kv": model.shared_heads,
        "llama.rope.dimension_count": model.width // model.heads,
        "llama.attention.layer_norm_rms_epsilon": unstored.rms_eps,
        "llama.rope.freq_base": unstored.rope_base or base,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": model.scores,
        "tokenizer.ggml.token_type": np.asarray(kinds, np.int32),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
    }


def _guesses(model: ggjt.OldModel) -> tuple[int, float]:
    """Trained context and base of the rotary positions, from what the file is called."""
    name = model.path.name.lower().replace("_", "-")
    if "codellama" in name or "code-llama" in name:
        return 16_384, 1e6
    second = "llama-2" in name or "llama2" in name or model.shared_heads < model.heads
    return (4096 if second else 2048), 1e4


def _vocabulary(tokens: tuple[bytes, ...]) -> tuple[list[bytes], list[int]]:
    """The tokens in GGUF's spelling, and what kind each is."""
    pieces: list[bytes] = []
    kinds: list[int] = []
    seen: set[bytes] = set()
    for number, token in enumerate(tokens):
        piece, kind = _NAMED.get(number) or _spelled(number, token)
        if piece in seen or not piece:  # llama.cpp refuses duplicate texts, which padding of the vocabulary has
            piece, kind = b"[TOKEN_%d]" % number, _CONTROL
        seen.add(piece)
        pieces.append(piece)
        kinds.append(kind)
    return pieces, kinds


def _spelled(number: int, token: bytes) -> tuple[bytes, int]:
    if 3 <= number <= 258:
        return b"<0x%02X>" % token[0], _BYTE
    return token.replace(b" ", "\u2581".encode()), _NORMAL


def _write(written: ConversionPlan, file: BinaryIO, out: BinaryIO, progress: Progress) -> None:
    out.write(written.header)
    done = len(written.header)
    for tensor in written.tensors:
        file.seek(tensor.offset)
        left = tensor.nbytes
        while left:
            piece = file.read(min(left, _PIECE_BYTES))
            if not piece:
                raise ModelFileError(written.source, f"ended within {tensor.name} while it was read")
            out.write(piece)
            left, done = left - len(piece), done + len(piece)
            progress(done, written.target_bytes)
        padding = gguf_writer.padded(tensor.nbytes) - tensor.nbytes
        out.write(b"\0" * padding)
        done += padding
    progress(done, written.target_bytes)


def _silent(_done: int, _total: int) -> None:
    pass


def _require_room(target: Path, needed: int) -> None:
    try:
        free = shutil.disk_usage(target.parent).free
    except OSError as error:
        raise ModelFileError(target, f"cannot be written ({error})") from error
    if free < needed:
        raise ModelFileError(
            target,
            f"needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; make room, or choose another place "
            "(CHAINKIT_HOME moves the cache)",
        )


def _fingerprints(source: Path, unstored: Unstored) -> tuple[str, str]:
    """Which file with which settings, and in which state it is."""
    try:
        status, path = source.stat(), str(source.resolve())
        with source.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise ModelFileError(source, NO_SUCH_FILE) from error
    except IsADirectoryError as error:
        raise ModelFileError(source, "is a folder; name the .bin file in it") from error
    except OSError as error:
        raise ModelFileError(source, f"cannot be read ({error})") from error
    place = json.dumps([path, astuple(unstored)]).encode()
    state = json.dumps([_RECIPE, status.st_size, status.st_mtime_ns]).encode() + head
    return hashlib.sha256(place).hexdigest()[:12], hashlib.sha256(state).hexdigest()[:12]


def _remove_outdated(folder: Path, place: str, current: Path) -> None:
    """Remove what the same file was laid out as before it changed."""
    for old in folder.glob(f"*-{place}-*.gguf"):
        if old != current:
            try:
                old.unlink(missing_ok=True)
            except OSError as error:  # Windows, while another process has it open
                log.warning("%s is outdated and could not be removed: %s", old, error)
