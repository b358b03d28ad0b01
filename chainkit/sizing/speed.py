"""How many tokens per second a model will read and write on a machine, from what other models did there.

Writing is bound by memory: each token reads all weights once. Reading a prompt is bound by arithmetic: two operations
for each weight and token. So the speed of one model on a machine gives that of another: by bytes, and by weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from chainkit.base.copying import put
from chainkit.base.paths import cache_dir
from chainkit.sizing.machines import Machine
from chainkit.sizing.model import ModelShape
from chainkit.sizing.quantization import is_token_table

_KEPT = 200  # measurements; the oldest go first
_NEARLY = 0.97  # of the best speed: more threads must gain more than that to be worth their cores


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Speed of a model, expected or measured.

    Attributes:
        prompt: Tokens of a prompt that are read per second.
        decode: Tokens that are written per second.
        source: Where the figures come from, in words.
    """

    prompt: float
    decode: float
    source: str


@dataclass(frozen=True, kw_only=True)
class SpeedRecord:
    """One measurement, as far as the speed of other models follows from it.

    Attributes:
        model: Name of the model.
        quantization: The type that most of its bytes have.
        engine: The library that ran it.
        threads: Of the processor.
        prompt: Tokens read per second.
        decode: Tokens written per second.
        token_bytes: Bytes of weights that are read for each token.
        token_weights: Number of weights that each token is multiplied with.
    """

    model: str
    quantization: str
    engine: str
    threads: int
    prompt: float
    decode: float
    token_bytes: int
    token_weights: int


# llamafile's table of single boards: TinyLlama 1.1B in Q8_0, 45 tokens read and 9 written per second on a Raspberry
# Pi 5, 10 and 3 on a Pi 4. Qwen3.5-2B in Q8_0 on a Pi 5 (38.5 and 4.95) is within 6 % of what follows for writing.
_TINY_LLAMA = 1_034_000_000
_PUBLISHED = {
    board: SpeedRecord(
        model="TinyLlama 1.1B",
        quantization="Q8_0",
        engine="llamafile",
        threads=4,
        prompt=prompt,
        decode=decode,
        token_bytes=_TINY_LLAMA * 34 // 32,
        token_weights=_TINY_LLAMA,
    )
    for board, prompt, decode in (("Raspberry Pi 4", 10.0, 3.0), ("Raspberry Pi 5", 45.0, 9.0))
}


def token_bytes(model: ModelShape) -> int:
    """Bytes of the weights that are read for each token: all but the table of tokens, unless it is the output too."""
    return sum(weight.nbytes for weight in _multiplied(model))


def token_weights(model: ModelShape) -> int:
    """Number of the weights that a token is multiplied with."""
    return sum(weight.values for weight in _multiplied(model))


def _multiplied(model: ModelShape) -> list[Any]:
    tied = not any(weight.name in ("output.weight", "lm_head.weight") for weight in model.weights)
    return [weight for weight in model.weights if tied or not is_token_table(weight.name)]


def expected(
    model: ModelShape, machine: Machine, records: Sequence[SpeedRecord] | None = None, *, engine: str = ""
) -> Speed | None:
    """The speed of a model on a machine; None where nothing was measured.

    On this machine it follows from what `chainkit bench` has measured: from this model if it was among them, else from
    the model of the same quantization that is nearest in size. On a Raspberry Pi it follows from published figures.

    Args:
        model: Only its shape counts.
        machine: Where.
        records: Measurements of this machine; None reads the stored ones.
        engine: The library that will run it, if that is known: its measurements come first.
    """
    if not machine.here:
        record = next((one for name, one in _PUBLISHED.items() if machine.name.startswith(name)), None)
        return _scaled(record, model) if record and model.format == "gguf" else None
    same = [one for one in (kept() if records is None else records) if one.quantization == model.quantization]
    size = token_bytes(model)
    same = [one for one in same if one.engine == engine] or same
    # the model itself if it was measured; of equals the fastest engine
    nearest = min(same, key=lambda one: (abs(one.token_bytes - size), -one.decode), default=None)
    if nearest is None:
        return None
    alike = [one for one in same if (one.model, one.engine) == (nearest.model, nearest.engine)]
    return _scaled(replace(nearest, prompt=max(one.prompt for one in alike)), model)


def fastest_threads(
    engine: str, size: int, cpus: int, records: Sequence[SpeedRecord] | None = None
) -> tuple[int, int] | None:
    """Threads that wrote single tokens fastest on this machine, and threads that read prompts fastest.

    Args:
        engine: The library that will run the model.
        size: Bytes of its weights; the measured model that is nearest to it counts.
        cpus: Threads at most.
        records: Measurements of this machine; None reads those that are kept.

    Returns:
        None where no model was measured with several numbers of threads.
    """
    counts: dict[tuple[str, int], dict[int, SpeedRecord]] = {}
    for one in kept() if records is None else records:
        if one.engine == engine and one.threads <= cpus:
            counts.setdefault((one.model, one.token_bytes), {})[one.threads] = one
    several = [of for of in counts if len(counts[of]) > 1]
    if not several:
        return None
    rows = sorted(counts[min(several, key=lambda of: abs(of[1] - size))].values(), key=lambda one: one.threads)
    return _fewest(rows, [one.decode for one in rows]), _fewest(rows, [one.prompt for one in rows])


def _fewest(rows: Sequence[SpeedRecord], speeds: Sequence[float]) -> int:
    """The smallest number of threads that is nearly as fast as the fastest one."""
    return next(row.threads for row, speed in zip(rows, speeds, strict=True) if speed >= _NEARLY * max(speeds))


def _scaled(record: SpeedRecord, model: ModelShape) -> Speed:
    size, weights = max(1, token_bytes(model)), max(1, token_weights(model))
    measured = (size, weights) == (record.token_bytes, record.token_weights)
    source = f"{record.engine}, {record.threads} thread{'s' if record.threads > 1 else ''}"
    return Speed(
        prompt=record.prompt * record.token_weights / weights,
        decode=record.decode * record.token_bytes / size,
        source=f"measured with {source}" if measured else f"from {record.model} with {source}",
    )


def records_file() -> Path:
    """Where the measurements of this machine are kept."""
    return cache_dir() / "speeds.json"


def kept() -> list[SpeedRecord]:
    """The measurements of this machine; none if the file is missing or not ours."""
    try:
        rows = json.loads(records_file().read_text("utf-8"))
        return [SpeedRecord(**row) for row in rows]
    except (OSError, ValueError, TypeError):
        return []


def keep(records: Sequence[SpeedRecord]) -> None:
    """Add measurements; they replace earlier ones of the same model, engine and threads."""
    new = {(one.model, one.token_bytes, one.engine, one.threads): one for one in records}
    others = [one for one in kept() if (one.model, one.token_bytes, one.engine, one.threads) not in new]
    path = records_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps([asdict(one) for one in [*others, *records][-_KEPT:]], indent=1), "utf-8")
    put(part, path)
