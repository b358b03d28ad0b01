"""`chainkit size`: how much memory a model needs, and where it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.options import chosen, debug_option, json_option
from chainkit.cli.screen import amount, say, say_json, table, waiting
from chainkit.sizing import PIS, Machine, Model, Plan, Use, machine, quantized, this_machine
from chainkit.sizing.plan import KV_BYTES
from chainkit.sizing.quantization import BLOCKS, MIXTURES
from chainkit.sizing.verdict import Verdict, judge

_DTYPES = {
    "float32": 32.0, "float16": 16.0, "bfloat16": 16.0, "int8": 8.0, "int4": 4.0, "nf4": 4.127,
    "fp32": 32.0, "fp16": 16.0, "bf16": 16.0,
}  # fmt: skip


@click.command()
@click.argument("spec", required=False, default="")
@click.option("--context", type=click.IntRange(1, 1 << 24), metavar="N", help="Tokens of the longest text.")
@click.option("--kv-type", type=click.Choice(list(KV_BYTES)), help="How what was read is stored; f16 by default.")
@click.option("--batch", type=click.IntRange(1, 1 << 16), metavar="N", help="Tokens of a prompt computed at once.")
@click.option("--quant", metavar="NAME", help="As if it were quantized like this: Q4_K_M, Q8_0, ...")
@click.option("--device", "devices", multiple=True, metavar="NAME", help=f"Where: this, {', '.join(PIS)}.")
@click.option("--ram", metavar="AMOUNT", help="Where: a machine with so much memory, like 8GB.")
@click.option("--params", type=float, metavar="N", help="Instead of SPEC: weights of so many parameters, like 176e9.")
@click.option("--dtype", metavar="NAME", help="With --params: float32, bfloat16, int8, nf4, Q8_0, ...")
@json_option
@debug_option
def size(
    spec: str,
    context: int | None,
    kv_type: str | None,
    batch: int | None,
    quant: str | None,
    devices: tuple[str, ...],
    ram: str | None,
    params: float | None,
    dtype: str | None,
    as_json: bool,
) -> None:
    """Show how much memory a model needs and where it fits.

    SPEC is a file, a folder, a spec like gguf:./model.gguf, or a model on a hub like ORG/REPO:Q4_K_M. Only headers
    are read, and no weight: of a model on a hub about a megabyte.
    """
    if params is not None:
        _of_parameters(spec, params, dtype or "float16", as_json)
        return
    if dtype is not None:
        raise ChainkitError("--dtype goes with --params; for a model, put ?dtype=... behind its spec, or use --quant")
    if not spec:
        raise ChainkitError("name a model, as in 'chainkit size ./model.gguf', or give --params 7e9")
    machines = places(devices, ram)
    from chainkit.cli.sized import sized_model

    with waiting("reading headers"):
        model, use = sized_model(spec)
    use = _changed(use, context=context, kv_type=kv_type, batch=batch)
    if quant:
        model = _quantized(model, quant)
    verdicts = [judge(model, place, use) for place in machines]
    if as_json:
        say_json({"model": described(model), "verdicts": [verdict.numbers() for verdict in verdicts]})
    else:
        show_plan(verdicts[0].plan)
        show_verdicts(verdicts)


def places(devices: Sequence[str], ram: str | None) -> list[Machine]:
    """The machines that were named; without any, this one and all Raspberry Pis."""
    try:
        found = [machine(name) for name in (*devices, *([ram] if ram else []))]
    except ValueError as error:
        raise ChainkitError(str(error)) from None
    return found or [this_machine(), *PIS.values()]


def described(model: Model) -> dict[str, Any]:
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


def show_plan(plan: Plan) -> None:
    """The parts of a plan, each with what it depends on."""
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
    """Where the model fits."""
    say("")
    rows = [
        [
            verdict.machine.name,
            "?" if verdict.machine.usable is None else amount(verdict.machine.usable),
            str(verdict),
            verdict.advice,
        ]
        for verdict in verdicts
    ]
    advised = any(row[3] for row in rows)
    columns = ["machine", "usable", "answer", "better with"]
    table(columns if advised else columns[:3], rows if advised else [row[:3] for row in rows])


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.2f} B" if parameters >= 1e9 else f"{parameters / 1e6:.1f} M"


def _of_parameters(spec: str, params: float, dtype: str, as_json: bool) -> None:
    if spec:
        raise ChainkitError("give a model or --params, not both")
    if not 1 <= params <= 1e15:
        raise ChainkitError(f"--params must be between 1 and 1e15, got {params:g}")
    nbytes = round(params * _bits(dtype) / 8)
    if as_json:
        say_json({"parameters": params, "dtype": dtype, "bytes": nbytes})
    else:
        say(f"{params / 1e9:g} B parameters in {dtype}: {nbytes / 1e9:g} GB of weights")


def _bits(dtype: str) -> float:
    if dtype.lower() in _DTYPES:
        return _DTYPES[dtype.lower()]
    block = BLOCKS.get(dtype.upper())
    if block is None:
        raise ChainkitError(f"no dtype '{dtype}'; known: {', '.join(_DTYPES)}, or a type of GGUF like Q8_0 or Q4_K")
    return block[1] * 8 / block[0]


def _changed(use: Use, **values: Any) -> Use:
    return replace(use, **chosen(**values))


def _quantized(model: Model, name: str) -> Model:
    if name.upper() not in MIXTURES:
        raise ChainkitError(f"no quantization '{name}'; known: {', '.join(MIXTURES)}")
    return quantized(model, name)
