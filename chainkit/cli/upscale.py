"""`chainkit upscale`: a deeper model from a model's own layers."""

from __future__ import annotations

import click

from chainkit.cli.options import debug_option, json_option
from chainkit.cli.screen import note, say, say_json, waiting


@click.command()
@click.argument("model")
@click.argument("out", required=False)
@click.option("--drop", type=click.IntRange(min=0), metavar="N", help="Layers to leave out where two copies meet.")
@click.option("--slices", metavar="FIRST:END,...", help="Instead of --drop: layers in their order, as 0:24,8:32.")
@click.option("--dry-run", is_flag=True, help="Show the plan and write nothing; OUT is not needed.")
@click.option("--prefix", metavar="NAME", help="Where the layers are, if the names of the tensors leave it open.")
@json_option
@debug_option
def upscale(
    model: str,
    out: str | None,
    drop: int | None,
    slices: str | None,
    dry_run: bool,
    prefix: str | None,
    as_json: bool,
) -> None:
    """Write a deeper model OUT made of layers of MODEL: a folder with safetensors files, or a .gguf file.

    With --drop 8 a model of 32 layers becomes one of 48: layers 0 to 23, then 8 to 31, as SOLAR 10.7B was made.
    Nothing of the weights is changed, and nothing is written before all of it is known to work and to fit.
    """
    from chainkit.upscaling.make import upscale as make

    if out is None and not dry_run:
        raise click.UsageError("name the folder or file to make, or ask for --dry-run")
    if (drop is None) == (slices is None):
        raise click.UsageError("give --drop or --slices, one of the two")
    plan = make(model, out, drop=drop, slices=slices, prefix=prefix, dry_run=True)
    if as_json:
        say_json(plan.as_dict())
    else:
        say(str(plan))
    if dry_run:
        return
    with waiting("copying", plan.new_bytes) as bar:
        make(model, out, drop=drop, slices=slices, prefix=prefix, progress=bar.to)
    note(f"wrote {out}")
