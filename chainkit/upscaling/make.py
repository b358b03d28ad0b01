"""The up-scaling itself: from a model and a wish to a plan, and to the new model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from chainkit.base.copying import require_new, require_room
from chainkit.base.errors import NO_SUCH_PATH, ChainkitError, ModelFileError
from chainkit.upscaling import folder as folders
from chainkit.upscaling.config import depth_of
from chainkit.upscaling.plan import UpscalePlan
from chainkit.upscaling.safetensors import INDEX, SINGLE, read_json
from chainkit.upscaling.slices import Slices, chosen_slices

PathLike = str | os.PathLike[str]


def upscale(
    model: PathLike,
    out: PathLike | None = None,
    *,
    drop: int | None = None,
    slices: Slices | None = None,
    prefix: str | None = None,
    dry_run: bool = False,
    shard_bytes: int = folders.SHARD_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> UpscalePlan:
    """Write a deeper model made of the layers of another: `upscale("solar-base", "solar-48", drop=8)`.

    Tensors are copied by the system, file to file; no weight is read into memory, and torch is not needed.

    Args:
        model: A folder with config.json and safetensors files, or a .gguf file. For a plan alone (`dry_run`), a
            folder with config.json or that file is enough.
        out: The folder or file to make; nothing may be there. Not needed for a plan alone.
        drop: Two copies of the model, the first without its last `drop` layers, the second without its first `drop`.
        slices: Instead of `drop`: which layers follow each other, as "0:24,8:32" or as pairs.
        prefix: Where the layers are, if the names of the tensors leave it open: "model.language_model.layers".
        dry_run: Return the plan and write nothing.
        shard_bytes: Largest size of one file of weights, for a folder.
        progress: Called with the bytes that are written and those that will be.

    Returns:
        The report of what was done, or would be.

    Raises:
        ModelFileError: A file of the model is absent, cut short or of another kind.
        BadLayers: The model has no such layers, they are not found, or cannot be put together like this.
        DiskFull: The new model would not fit; nothing was written.
        ChainkitError: There is something at `out` already.
    """
    source = Path(model).expanduser()
    chosen = chosen_slices(_depth(source), drop, slices)
    if not dry_run and out is None:
        raise ChainkitError("say where the new model goes, or ask for dry_run=True")
    if shard_bytes < 1:
        raise ValueError(f"shard_bytes must be 1 or more, got {shard_bytes}")
    target = None if out is None else Path(out).expanduser()
    report = progress or _silent
    if _is_gguf(source):
        from chainkit.upscaling import gguf  # folders need no numpy

        work = gguf.prepare(source, chosen, prefix)
        if not dry_run and target is not None:
            gguf.write(work, target, report)
    elif dry_run and not _has_weights(source):
        return folders.outline(source, chosen)
    else:
        work = folders.prepare(source, chosen, prefix)
        if not dry_run and target is not None:
            folders.write(work, target, shard_bytes, report)
    if dry_run and target is not None:
        require_new(target)
        require_room(target, work.plan.new_bytes or 0)
    return work.plan


def _silent(_done: int, _total: int) -> None:
    """Nobody asked."""


def _depth(source: Path) -> int:
    if not source.exists():
        raise ModelFileError(source, NO_SUCH_PATH)
    if _is_gguf(source):
        from chainkit.backends.llama_cpp.header import read_header
        from chainkit.upscaling import gguf

        return gguf.block_count(read_header(source))
    return depth_of(read_json(source) if source.is_file() else folders.model_config(source))


def _is_gguf(source: Path) -> bool:
    return source.is_file() and source.suffix.lower() != ".json"


def _has_weights(source: Path) -> bool:
    return source.is_dir() and any((source / name).is_file() for name in (SINGLE, INDEX))
