"""Up-scaling of a Hugging Face folder: config and headers are written anew, bytes of tensors are copied."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path

from chainkit.base.copying import copy_range, whole
from chainkit.base.errors import BadLayers, ModelFileError
from chainkit.upscaling.config import Config, changed, config_changes, depth_of, layer_kinds, parameters
from chainkit.upscaling.plan import UpscalePlan
from chainkit.upscaling.safetensors import (
    INDEX,
    SINGLE,
    StoredTensor,
    aligned_order,
    folder_tensors,
    header_bytes,
    read_json,
)
from chainkit.upscaling.slices import Slice, layer_sources
from chainkit.upscaling.stack import find_stack, require_alike

Progress = Callable[[int, int], None]
"""Called with the bytes written and the bytes in all."""

SHARD_BYTES = 5_000_000_000
_CONFIG = "config.json"
_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf", ".onnx"}


@dataclass(frozen=True)
class FolderWork:
    """All that is known before the first byte is written.

    Attributes:
        plan: The same in numbers.
        config: What the new config.json will say.
        tensors: Those of the new model, each with the place that it is copied from.
    """

    plan: UpscalePlan
    config: Config
    tensors: Sequence[StoredTensor]


def model_config(folder: Path) -> Config:
    """What config.json says.

    Raises:
        ModelFileError: There is none, or it is not JSON.
    """
    if not (folder / _CONFIG).is_file():
        raise ModelFileError(folder, f"has no {_CONFIG}, so it is not a folder of a transformers model")
    return read_json(folder / _CONFIG)


def prepare(folder: Path, slices: tuple[Slice, ...], prefix: str | None) -> FolderWork:
    """Read the headers and decide everything.

    Raises:
        ModelFileError: A file is absent, cut short or of another kind.
        BadLayers: The layers are not found, or cannot be put together like this.
    """
    config, tensors = model_config(folder), folder_tensors(folder)
    sources = layer_sources(slices)
    stack = find_stack(list(tensors), depth_of(config), prefix)
    require_alike(stack, tensors, layer_kinds(config))
    _require_unnamed(config, stack.prefix)
    outside, layers = stack.by_layer(tensors)
    new = [tensors[name] for name in outside]
    for number, source in enumerate(sources):
        new += [replace(tensors[name], name=stack.renamed(name, number)) for name in layers[source]]
    changes = config_changes(config, sources)
    plan = _plan(folder, config, slices, changes)
    plan = replace(
        plan,
        parameters=sum(tensor.parameters for tensor in tensors.values()),
        new_parameters=sum(tensor.parameters for tensor in new),
        nbytes=sum(tensor.nbytes for tensor in tensors.values()),
        new_bytes=sum(tensor.nbytes for tensor in new),
    )
    return FolderWork(plan, changed(config, changes), new)


def outline(path: Path, slices: tuple[Slice, ...]) -> UpscalePlan:
    """The plan for a model of which only config.json is there.

    Raises:
        ModelFileError: It is not.
        BadLayers: The layers cannot be put together like this.
    """
    folder = path.parent if path.is_file() else path
    config = read_json(path) if path.is_file() else model_config(folder)
    changes = config_changes(config, layer_sources(slices))
    plan = _plan(path, config, slices, changes)
    return replace(plan, parameters=parameters(config), new_parameters=parameters(changed(config, changes)))


def write(work: FolderWork, out: Path, shard_bytes: int, progress: Progress) -> None:
    """Make the new folder.

    Raises:
        ChainkitError: There is something at `out` already.
        DiskFull: It would not fit.
        ModelFileError: A file of the model ended while it was read.
    """
    folder = work.plan.source
    others = _other_files(folder)
    total = sum(tensor.nbytes for tensor in work.tensors)
    with whole(out, total + sum(file.stat().st_size for file in others)) as part:
        part.mkdir()
        for file in others:
            shutil.copyfile(file, part / file.relative_to(folder))
        _write_shards(_shards(work.tensors, shard_bytes), part, total, progress)
        # last, so that the remains of a crash cannot be loaded
        (part / _CONFIG).write_text(json.dumps(work.config, indent=2) + "\n", "utf-8")


def _plan(source: Path, config: Config, slices: tuple[Slice, ...], changes: Config) -> UpscalePlan:
    return UpscalePlan(
        source=source,
        architecture=str(config.get("model_type", "unknown")),
        depth=depth_of(config),
        slices=slices,
        parameters=None,
        new_parameters=None,
        nbytes=None,
        new_bytes=None,
        changes=changes,
    )


def _require_unnamed(config: Config, prefix: str) -> None:
    """Refuse settings for single layers by their names, as some quantised models have."""
    named = re.search(rf'{re.escape(prefix)}\.\d+[^"]*', json.dumps(config))
    if named:
        raise BadLayers(f"config.json has settings for single layers ({named[0]}), which would be those of others")


def _other_files(folder: Path) -> list[Path]:
    """Tokenizer, templates, code, licence: all but the weights and the files written anew."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    return [file for file in files if not (file.suffix in _WEIGHTS or file.name == _CONFIG or _is_index(file))]


def _is_index(file: Path) -> bool:
    return file.name.endswith(".index.json")


def _shards(tensors: Iterable[StoredTensor], limit: int) -> list[list[StoredTensor]]:
    """Tensors in files of at most `limit` bytes, if no single one is larger."""
    shards: list[list[StoredTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.nbytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.nbytes
    return [aligned_order(shard) for shard in shards]


def _write_shards(shards: Sequence[Sequence[StoredTensor]], folder: Path, total: int, progress: Progress) -> None:
    single = len(shards) == 1
    names = [SINGLE if single else f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n in range(1, len(shards) + 1)]
    done = 0
    with ExitStack() as stack:
        opened: dict[Path, FileIO] = {}
        for name, shard in zip(names, shards, strict=True):
            with FileIO(folder / name, "w") as target:
                target.write(header_bytes(shard, {"format": "pt"}))
                for tensor in shard:
                    if tensor.path not in opened:
                        opened[tensor.path] = stack.enter_context(FileIO(tensor.path))
                    copy_range(opened[tensor.path], tensor.start, tensor.nbytes, target)
                    done += tensor.nbytes
                    progress(done, total)
    if not single:
        places = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", "utf-8")
