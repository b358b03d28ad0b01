"""Plans and verdicts as a user sees them; shared by the commands that ask whether a model fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from chainkit.base.errors import ChainkitError
from chainkit.cli.screen import amount, say, table
from chainkit.sizing import PIS, Machine, MemoryPlan, ModelShape, machine, quantized, this_machine
from chainkit.sizing.quantization import MIXTURES
from chainkit.sizing.speed import Speed
from chainkit.sizing.speed import expected as expected_speed
from chainkit.sizing.verdict import Verdict


def places(devices: Sequence[str], ram: str | None) -> list[Machine]:
    """The machines that were named; without any, this one and all Raspberry Pis."""
    try:
        found = [machine(name) for name in (*devices, *([ram] if ram else []))]
    except ValueError as error:
        raise ChainkitError(str(error)) from None
    return found or [this_machine(), *PIS.values()]


def described(model: ModelShape) -> dict[str, Any]:
    """What a model is, for a program to read."""
    return {
        "name": model.name,
        "format": model.format,
        "architecture": model.architecture,
        "parameters": model.parameters,
        "layers": len(model.layers),
        "trained_context": model.trained_context,
        "weights": dict(model.by_type),
    }


def show_plan(plan: MemoryPlan) -> None:
    """Print the parts of a plan, each with its inputs."""
    model = plan.model
    trained = f", trained on texts of {model.trained_context} tokens" if model.trained_context else ""
    kind = model.architecture or "model"
    say(f"{model.name}: {kind}, {_count(model.parameters)} parameters, {len(model.layers)} layers{trained}")
    say("")
    types = ", ".join(f"{kind} {amount(nbytes)}" for kind, nbytes in model.by_type.items())
    stored = plan.use.kv_type if model.format == "gguf" else "the weights' type"
    rows = [
        ["weights", amount(plan.weights), types],
        ["cache", amount(plan.cache), f"{plan.context} tokens in {stored}"],
        ["compute", amount(plan.compute), f"{plan.use.batch} tokens at once"],
        ["tokenizer", amount(plan.tokenizer), f"{model.vocabulary} tokens"],
        ["program", amount(plan.program), "Python and its libraries"],
        ["needed", amount(plan.needed), "all the time" if plan.copies else "resident, with mmap and without"],
    ]
    if plan.copies:
        rows.append(["without mmap", amount(plan.without_mmap), "resident: each weight once"])
        copied = f"resident: {amount(plan.copies)} of weights twice, mapped and repacked"
        rows.append(["with mmap", amount(plan.with_mmap), copied])
    table(["memory", "size", "of it"], rows)


def show_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Where the model fits, and how fast it will be there; a column that would be empty is left out."""
    say("")
    speeds = [speed(verdict) for verdict in verdicts]
    rows = [
        [
            verdict.machine.name,
            "?" if verdict.machine.usable is None else amount(verdict.machine.usable),
            str(verdict),
            f"{expected.prompt:.0f} / {expected.decode:.1f}" if expected else "",
            verdict.advice,
        ]
        for verdict, expected in zip(verdicts, speeds, strict=True)
    ]
    columns = ["machine", "usable", "answer", "tokens/s: read / write", "better with"]
    kept = [place for place in range(len(columns)) if place < 3 or any(row[place] for row in rows)]
    table([columns[place] for place in kept], [[row[place] for place in kept] for row in rows])
    sources = {
        f"{verdict.machine.name}: {expected.source}"
        for verdict, expected in zip(verdicts, speeds, strict=True)
        if expected and verdict.machine.here
    }
    if any(speeds):
        say("")
        say(f"Speeds are rough. {'; '.join(sources) or 'For this machine, run chainkit bench with the model'}.")


def speed(verdict: Verdict) -> Speed | None:
    """How fast the model, changed if it must be, will be on a machine that it fits; None where nothing tells."""
    if verdict.answer == "does not fit":
        return None
    return expected_speed((verdict.changed or verdict.plan).model, verdict.machine, engine=verdict.plan.use.engine)


def as_quantized(model: ModelShape, name: str) -> ModelShape:
    """The model as if it were quantized like that.

    Raises:
        ChainkitError: There is no such quantization.
    """
    if name.upper() not in MIXTURES:
        raise ChainkitError(f"no quantization '{name}'; known: {', '.join(MIXTURES)}")
    return quantized(model, name)


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.2f} B" if parameters >= 1e9 else f"{parameters / 1e6:.1f} M"


def speed_numbers(verdict: Verdict) -> dict[str, Any] | None:
    """The expected speed for a program to read: tokens per second, and where the figures come from."""
    found = speed(verdict)
    return asdict(found) if found else None
