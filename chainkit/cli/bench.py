"""`chainkit bench`: how fast a local model reads and writes here, with each engine that is installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError, MissingLibrary
from chainkit.cli.options import debug_option, json_option
from chainkit.cli.screen import amount, note, say, say_json, table, waiting

if TYPE_CHECKING:
    from chainkit.sizing import ModelShape, Use
    from chainkit.sizing.speed import SpeedRecord

_MOST_THREADS = 1024
_PROBE_BYTES = 1 << 28  # of the array that tells the memory's speed: more than any cache holds


@click.command()
@click.argument("spec", required=False, default="")
@click.option("--tokens", type=click.IntRange(1, 1 << 16), default=512, show_default=True, help="Of the prompt.")
@click.option("--decode", type=click.IntRange(1, 4096), default=32, show_default=True, help="Tokens to write after it.")
@click.option(
    "--threads",
    "threads",
    multiple=True,
    metavar="N|all",
    callback=lambda _context, _option, values: _counts(values),
    help="Threads to compute with; may be given several times, or 'all' for 1, 2, 4 and so on. As the model does by "
    "default if not given. Models that are loaded later take the numbers that were the fastest.",
)
@click.option("--here", is_flag=True, hidden=True, help="Measure in this process, with the engine that is set.")
@json_option
@debug_option
def bench(spec: str, tokens: int, decode: int, threads: tuple[int, ...], here: bool, as_json: bool) -> None:
    """Measure how fast a local model reads prompts and writes on this machine.

    SPEC is a local model, as in gguf:./model.gguf, hf:./folder or smollm2. Each engine that can run it is measured in
    a separate process. 'chainkit size' uses the figures afterwards for models of the same quantization.
    """
    from chainkit.cli.sized import sized_model
    from chainkit.registry import default_spec

    spec = spec or default_spec()
    if here:
        say_json(_measured(spec, tokens, decode, threads[0] if threads else None))
        return
    model, use = sized_model(spec)
    rows: list[dict[str, Any]] = []
    for engine in _engines(model):
        for count in threads or _usual(model):
            with waiting(f"measuring with {engine}"):
                row = _in_a_process(spec, engine, tokens, decode, count)
            if row is not None:
                rows.append(row | {"promised": _promised(model, use, engine)})
    if not rows:
        raise ChainkitError("no engine could run it; what each said is above")
    _keep(model, rows)
    bandwidth = memory_bandwidth()
    if as_json:
        found = {"model": model.name, "bandwidth": bandwidth, "promised": _promised(model, use), "engines": rows}
        say_json({**found, "chosen": _chosen(model)}, indent=1)
    else:
        _show(model, rows, bandwidth)
        if chosen := _chosen(model):
            say("")
            say(f"without engine= it runs on {chosen['library']}: {chosen['reason']}")


def _counts(values: Sequence[str]) -> tuple[int, ...]:
    """Numbers of threads; "all" is every power of two that this machine has CPUs for, and all of them."""
    found: list[int] = []
    for value in values:
        if value == "all":
            from chainkit.sizing.machines import usable_cpus

            cpus = usable_cpus()
            found += [*(1 << power for power in range(cpus.bit_length())), cpus]
        elif value.isdecimal() and 1 <= int(value[:5]) <= _MOST_THREADS:
            found.append(int(value))
        else:
            raise click.BadParameter(f"{value!r} is neither 'all' nor a number from 1 to {_MOST_THREADS}")
    return tuple(dict.fromkeys(found))


def _usual(model: ModelShape) -> tuple[int | None, ...]:
    """As many threads as a model takes on a machine where nothing was measured; None leaves it to the engine."""
    from chainkit.backends.llama_cpp.processor import default_threads

    return (default_threads(),) if model.format == "gguf" else (None,)


def _engines(model: ModelShape) -> list[str]:
    """The packages that can run it here: llama.cpp's for GGUF, transformers for its folders."""
    if model.format != "gguf":
        return ["transformers"]
    from chainkit.backends.llama_cpp.libraries import HOMES, forced, opened

    if choice := forced():
        return [choice]
    found: list[str] = []
    for package in HOMES:
        try:
            opened(package)
        except MissingLibrary:
            continue
        found.append(package)
    if not found:
        raise MissingLibrary("xllamacpp", "gguf")
    return found


def _in_a_process(spec: str, engine: str, tokens: int, decode: int, threads: int | None) -> dict[str, Any] | None:
    """What a child measured with one engine; None if it failed, and its words are shown."""
    command = [sys.executable, "-m", "chainkit", "bench", spec, "--here", "--tokens", str(tokens)]
    command += ["--decode", str(decode), *(["--threads", str(threads)] if threads else [])]
    own = {"CHAINKIT_PREFIX_CACHE": "off"}  # else a second measurement would read nothing
    own |= {} if engine == "transformers" else {"CHAINKIT_LLAMA_LIBRARY": engine}
    done = subprocess.run(  # noqa: S603 - this program itself
        command, env=os.environ | own, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        note(f"{engine} failed: {said[-1] if said else f'ended with status {done.returncode}'}")
        return None
    return {"engine": engine, **json.loads(done.stdout)}


def _measured(spec: str, tokens: int, decode: int, threads: int | None) -> dict[str, Any]:
    """The speed of the model in this process, and the most memory that the process had."""
    from chainkit.backends.llama_cpp.processor import default_threads
    from chainkit.local.speed import measure
    from chainkit.registry import llm

    model: Any = llm(spec, **({"n_threads": threads} if threads else {}))
    if not hasattr(model, "session"):
        raise ChainkitError("speed is measured of local models: gguf, ggml, hf and smollm2")
    speed = measure(model.session, prompt_tokens=tokens, decode_tokens=decode)
    used = threads or getattr(model, "n_threads", None) or default_threads()
    return {"threads": used, **asdict(speed), "peak_bytes": _peak()}


def _peak() -> int | None:
    """The most resident memory of this process so far, in bytes; None where the system does not say."""
    if sys.platform == "win32":
        return None
    if (status := Path("/proc/self/status")).exists():  # getrusage counts the parent's memory before exec, too
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text("ascii", "replace"), re.MULTILINE)
        return int(found[1]) * 1024 if found else None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory_bandwidth() -> float:
    """Bytes that this machine reads per second, from an array that no cache holds; best of five."""
    import numpy as np

    values = np.ones(_PROBE_BYTES // 4, np.float32)
    spans: list[float] = []
    for _ in range(5):
        begun = time.perf_counter()
        np.dot(values, values)
        spans.append(time.perf_counter() - begun)
    return _PROBE_BYTES / min(spans)


def _promised(model: ModelShape, use: Use, engine: str = "") -> int:
    """Resident bytes that `chainkit size` expects, with an engine or the one that runs it without a word."""
    from chainkit.sizing import plan, this_machine

    use = replace(use, engine=engine) if engine else use
    return plan(model, use, repacked=this_machine().repacked).resident


def _chosen(model: ModelShape) -> dict[str, str] | None:
    """Which library runs the file if none is named, and why; None if that was not tried yet."""
    from chainkit.backends.llama_cpp.engines import decided

    found = decided(model.name)
    return {name: found[name] for name in ("library", "reason")} if found else None


def _keep(model: ModelShape, rows: list[dict[str, Any]]) -> None:
    from chainkit.sizing.speed import SpeedRecord, keep, token_bytes, token_weights

    def record(row: dict[str, Any]) -> SpeedRecord:
        return SpeedRecord(
            model=model.name,
            quantization=model.quantization,
            engine=row["engine"],
            threads=row["threads"],
            prompt=row["prompt"],
            decode=row["decode"],
            token_bytes=token_bytes(model),
            token_weights=token_weights(model),
        )

    keep([record(row) for row in rows])


def _show(model: ModelShape, rows: list[dict[str, Any]], bandwidth: float) -> None:
    from chainkit.sizing.speed import token_bytes

    first = rows[0]
    say(f"{model.name}: {model.quantization}, {amount(model.weight_bytes)} of weights")
    say(f"a prompt of {first['prompt_tokens']} tokens, {first['decode_tokens']} written after it, best of three")
    say(f"memory: {bandwidth / 1e9:.1f} GB/s")
    say("")
    table(
        [
            "engine",
            "threads",
            "read tok/s",
            "write tok/s",
            "CPU ms/tok read",
            "written",
            "of bandwidth",
            "peak memory",
            "by size",
        ],
        [
            [
                row["engine"],
                str(row["threads"]),
                f"{row['prompt']:.0f}",
                f"{row['decode']:.1f}",
                f"{row['cpu_prompt'] * 1e3:.2f}",
                f"{row['cpu_decode'] * 1e3:.2f}",
                f"{row['decode'] * token_bytes(model) / bandwidth:.0%}",
                amount(row["peak_bytes"]) if row["peak_bytes"] else "?",
                amount(row["promised"]),
            ]
            for row in rows
        ],
    )
    say("")
    widths = list(first["passes"])
    columns = ["ms for a pass over", "threads", *(f"{width}" for width in widths)]
    table(columns, [[row["engine"], str(row["threads"]), *_passes(row, widths)] for row in rows])


def _passes(row: dict[str, Any], widths: list[str]) -> list[str]:
    return [f"{row['passes'][width] * 1e3:.1f}" for width in widths]
