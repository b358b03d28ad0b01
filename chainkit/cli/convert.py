"""`chainkit convert`: an old GGML file laid out as GGUF."""

from __future__ import annotations

from pathlib import Path

import click

from chainkit.base.errors import ChainkitError
from chainkit.cli.options import debug_option, json_option
from chainkit.cli.screen import note, say, say_json, waiting


@click.command()
@click.argument("source", metavar="OLD.bin")
@click.argument("target", metavar="NEW.gguf")
@click.option("--context", type=click.IntRange(1, 1 << 28), metavar="N", help="Tokens of the longest text in training.")
@click.option("--rms-eps", type=float, metavar="X", help="What the norms add; 5e-6 by default.")
@click.option("--rope-base", type=float, metavar="X", help="Base of the rotary positions; 1e4, for Code Llama 1e6.")
@click.option("--overwrite", is_flag=True, help="Replace NEW.gguf if it is there.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@json_option
@debug_option
def convert(
    source: str,
    target: str,
    context: int | None,
    rms_eps: float | None,
    rope_base: float | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Lay a GGML file of 2023 (ggjt, Llama and its relatives) out as GGUF.

    The blocks of the weights are copied as they are, so the model computes the same bit for bit. What the old files do
    not say is guessed from their name; the options say it.
    """
    path = Path(target).expanduser()
    _require_target(path, overwrite)
    from chainkit.backends.llama_cpp.conversion import Unstored, plan
    from chainkit.backends.llama_cpp.conversion import convert as lay_out

    try:
        unstored = Unstored(trained_context=context, rms_eps=5e-6 if rms_eps is None else rms_eps, rope_base=rope_base)
    except ValueError as error:
        raise ChainkitError(str(error)) from None
    old = Path(source).expanduser()
    planned = plan(old, unstored)
    if not as_json:
        note(str(planned))
    if not dry_run:
        with waiting(f"writing {path.name}", planned.target_bytes) as bar:
            lay_out(old, path, unstored, progress=lambda done, total: bar.to(done, total), overwrite=overwrite)
    if as_json:
        written = {"source": str(old), "target": str(path), "bytes": planned.target_bytes, "tensors": planned.types}
        say_json({**written, "written": not dry_run})
    elif not dry_run:
        say(str(path))


def _require_target(path: Path, overwrite: bool) -> None:
    if path.suffix.lower() != ".gguf":
        raise ChainkitError(f"{path}: the new file must end in .gguf")
    if path.is_dir():
        raise ChainkitError(f"{path}: is a folder; name a file in it")
    if path.exists() and not overwrite:
        raise ChainkitError(f"{path}: is there already; choose another name, or allow it with --overwrite")
    if not path.parent.is_dir():
        raise ChainkitError(f"{path}: there is no folder {path.parent}; make it first")
