"""`chainkit size`: how much memory a model needs, and where it fits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.options import chosen, debug_option, json_option
from chainkit.cli.screen import say, say_json, waiting

if TYPE_CHECKING:
    from chainkit.sizing import Use

DEVICES = ("this", "pi4-2gb", "pi4-4gb", "pi4-8gb", "pi5-4gb", "pi5-8gb", "pi5-16gb")
KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0")

_DTYPES = {
    "float32": 32.0, "float16": 16.0, "bfloat16": 16.0, "int8": 8.0, "int4": 4.0, "nf4": 4.127,
    "fp32": 32.0, "fp16": 16.0, "bf16": 16.0,
}  # fmt: skip


@click.command()
@click.argument("spec", required=False, default="")
@click.option("--context", type=click.IntRange(1, 1 << 24), metavar="N", help="Tokens of the longest text.")
@click.option("--kv-type", type=click.Choice(KV_TYPES), help="Type of the KV cache; f16 by default.")
@click.option("--batch", type=click.IntRange(1, 1 << 16), metavar="N", help="Tokens of a prompt computed at once.")
@click.option("--quant", metavar="NAME", help="As if it were quantized like this: Q4_K_M, Q8_0, ...")
@click.option("--device", "devices", multiple=True, metavar="NAME", help=f"Where: {', '.join(DEVICES)}.")
@click.option("--ram", metavar="AMOUNT", help="A machine with this much memory, like 8GB.")
@click.option("--params", type=float, metavar="N", help="Instead of SPEC: number of parameters, like 176e9.")
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
        raise ChainkitError("--dtype goes with --params; for a model, put ?dtype=... after its spec, or use --quant")
    if not spec:
        raise click.UsageError("name a model, as in 'chainkit size ./model.gguf', or give --params 7e9")
    from chainkit.cli import plans
    from chainkit.cli.sized import sized_model
    from chainkit.sizing.verdict import judge

    machines = plans.places(devices, ram)
    with waiting("reading headers"):
        model, use = sized_model(spec)
    use = _changed(use, context=context, kv_type=kv_type, batch=batch)
    if quant:
        model = plans.as_quantized(model, quant)
    verdicts = [judge(model, place, use) for place in machines]
    if as_json:
        rows = [{**verdict.numbers(), "speed": plans.speed_numbers(verdict)} for verdict in verdicts]
        say_json({"model": plans.described(model), "verdicts": rows})
    else:
        plans.show_plan(verdicts[0].plan)
        plans.show_verdicts(verdicts)


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
    from chainkit.sizing.quantization import BLOCKS

    block = BLOCKS.get(dtype.upper())
    if block is None:
        raise ChainkitError(f"no dtype '{dtype}'; known: {', '.join(_DTYPES)}, or a type of GGUF like Q8_0 or Q4_K")
    return block[1] * 8 / block[0]


def _changed(use: Use, **values: Any) -> Use:
    return replace(use, **chosen(**values))
