"""Up-scaling of a GGUF file: blocks are renumbered, per-layer metadata is updated, tensors are copied unchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from chainkit.backends.llama_cpp.header import Array, Header, Tensor, read_header
from chainkit.backends.llama_cpp.rewrite import array, header_bytes, number, placed, raw_entries
from chainkit.base.copying import copy_range, whole
from chainkit.base.errors import BadLayers, Unsupported
from chainkit.upscaling.plan import UpscalePlan
from chainkit.upscaling.slices import Slice, layer_sources
from chainkit.upscaling.stack import find_stack, require_alike

_STACK = "blk"
_STRINGS = 8
# lists that may by chance be as long as the model is deep
_NOT_PER_LAYER = ("rope.", "classifier.", "vision.")
# llama.cpp counts these out by itself: architecture -> of this many layers one has global attention
_PERIODS = {"gemma2": 2, "gemma3": 6, "cohere2": 4, "gpt-oss": 2, "gemma3n": 5, "llama4": 4, "exaone4": 4, "olmo2": 4}
_PERIOD_KEYS = ("full_attention_interval", "interleave_moe_layer_step", "attention.sliding_window_pattern")
_AT_THE_START = "leading_dense_block_count"
_REFUSED = ("nextn_predict_layers", "attention.shared_kv_layers")


@dataclass(frozen=True)
class GGUFWork:
    """All that is known before the first byte is written.

    Attributes:
        plan: The same in numbers.
        header: Of the file.
        entries: Keys and raw values of the new header.
        tensors: Those of the new file with their places in it, beside the ones that they copy.
        alignment: Every tensor begins at a multiple of this.
    """

    plan: UpscalePlan
    header: Header
    entries: dict[str, bytes]
    tensors: Sequence[tuple[Tensor, Tensor]]
    alignment: int

    @property
    def start(self) -> bytes:
        """All that comes before the first tensor."""
        return header_bytes(self.entries, [new for new, _ in self.tensors], self.alignment)


def block_count(header: Header) -> int:
    """How many layers a file says it has.

    Raises:
        BadLayers: It does not say so.
        Unsupported: The model is spread over several files.
    """
    if (header.get("split.count") or 1) > 1:
        raise Unsupported(f"{header.path} is one of several files; join them with llama-gguf-split --merge first")
    count = header.get(f"{header.architecture}.block_count")
    if not isinstance(count, int) or count < 1:
        raise BadLayers(f"{header.path} does not say how many layers it has (block_count)")
    return count


def prepare(path: Path, slices: tuple[Slice, ...], prefix: str | None) -> GGUFWork:
    """Read the header and decide everything.

    Raises:
        ModelFileError: The file is absent, cut short or of another kind.
        BadLayers: The layers are not found, or cannot be put together like this.
        Unsupported: The model is spread over several files.
    """
    header = read_header(path)
    depth, sources = block_count(header), layer_sources(slices)
    stack = find_stack(list(header.tensors), depth, prefix or _STACK)
    changes = _changes(header, depth, sources)
    require_alike(stack, header.tensors, _kinds(header, depth))
    outside, layers = stack.by_layer(header.tensors)
    copied = [header.tensors[name] for name in outside]
    new = list(copied)
    for place, source in enumerate(sources):
        originals = [header.tensors[name] for name in layers[source]]
        copied += originals
        new += [replace(tensor, name=stack.renamed(tensor.name, place)) for tensor in originals]
    alignment = header.get("general.alignment", 32)
    plan = UpscalePlan(
        source=path,
        architecture=header.architecture,
        depth=depth,
        slices=slices,
        parameters=sum(_parameters(tensor) for tensor in header.tensors.values()),
        new_parameters=sum(map(_parameters, new)),
        nbytes=path.stat().st_size,
        new_bytes=None,
        changes={key: value for key, (value, _) in changes.items()},
    )
    entries = raw_entries(header) | {key: raw for key, (_, raw) in changes.items()}
    work = GGUFWork(plan, header, entries, list(zip(placed(new, alignment), copied, strict=True)), alignment)
    last = work.tensors[-1][0]
    return replace(work, plan=replace(plan, new_bytes=len(work.start) + last.offset + last.nbytes))


def write(work: GGUFWork, out: Path, progress: Callable[[int, int], None]) -> None:
    """Make the new file.

    Raises:
        ChainkitError: There is something at `out` already.
        DiskFull: It would not fit.
    """
    total = work.plan.new_bytes or 0
    start = work.start
    with whole(out, total) as part, FileIO(work.plan.source) as source, FileIO(part, "w") as target:
        target.write(start)
        for new, old in work.tensors:
            target.write(b"\0" * (len(start) + new.offset - target.tell()))
            copy_range(source, work.header.data_offset + old.offset, old.nbytes, target)
            progress(target.tell(), total)


def _changes(header: Header, depth: int, sources: Sequence[int]) -> dict[str, tuple[Any, bytes]]:
    """Keys with their new values, as values and as bytes."""
    arch = header.architecture
    for name in _REFUSED:
        if header.get(f"{arch}.{name}"):
            raise BadLayers(f"the last {header[f'{arch}.{name}']} layers are of another kind ({name})")
    _require_periods(header, sources)
    changes: dict[str, tuple[Any, bytes]] = {f"{arch}.block_count": (len(sources), number(len(sources)))}
    for key in _per_layer(header, depth):
        item, values = header.entries[key].item, header.array(key)
        if item == _STRINGS:
            chosen = [values[layer] for layer in sources]
            changes[key] = [text.decode("utf-8", "replace") for text in chosen], array(item, chosen)
        else:
            numbers = np.asarray(values)[list(sources)]
            changes[key] = numbers.tolist(), array(item, numbers)
    limit = header.get(f"{arch}.{_AT_THE_START}") or 0
    if limit:
        special = [source < limit for source in sources]
        if special != sorted(special, reverse=True):
            raise BadLayers(f"the first {limit} layers are of another kind ({_AT_THE_START}); copy each once, first")
        changes[f"{arch}.{_AT_THE_START}"] = sum(special), number(sum(special))
    return changes


def _per_layer(header: Header, depth: int) -> list[str]:
    prefix = f"{header.architecture}."
    return [
        key
        for key, value in header.entries.items()
        if isinstance(value, Array)
        and value.count == depth
        and key.startswith(prefix)
        and not key.removeprefix(prefix).startswith(_NOT_PER_LAYER)
    ]


def _kinds(header: Header, depth: int) -> list[object] | None:
    """What kind each layer is; None if all are alike."""
    lists = [list(header.array(key)) for key in _per_layer(header, depth)]
    limit = header.get(f"{header.architecture}.{_AT_THE_START}") or 0
    period = _period(header)
    if not lists and not limit and period == 1:
        return None
    return [repr(([values[layer] for values in lists], layer < limit, layer % period)) for layer in range(depth)]


def _period(header: Header) -> int:
    arch = header.architecture
    for name in _PERIOD_KEYS:
        value = header.entries.get(f"{arch}.{name}")
        if isinstance(value, Array):
            return 1  # said layer by layer
        if type(value) is int and value > 1:
            return value
    windowed = header.get(f"{arch}.attention.sliding_window") or arch == "llama4"
    return _PERIODS.get(arch, 1) if windowed else 1


def _require_periods(header: Header, sources: Sequence[int]) -> None:
    period = _period(header)
    moved = next((new for new, source in enumerate(sources) if (new - source) % period), None)
    if moved is not None:
        raise BadLayers(
            f"one layer in {period} of a {header.architecture} is of another kind, and new layer {moved} would copy "
            f"layer {sources[moved]}, which is at another place in that order; move layers by multiples of {period}"
        )


def _parameters(tensor: Tensor) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64))
