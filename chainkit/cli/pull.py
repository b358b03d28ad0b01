"""`chainkit pull`: a model from a Hugging Face hub, with its size and whether it fits said before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from chainkit.base.errors import ChainkitError, ModelFileError
from chainkit.cli.faults import keeps
from chainkit.cli.options import debug_option, json_option
from chainkit.cli.screen import amount, note, say, say_json, waiting
from chainkit.hub.local import folder_of, pulled_folder, pulled_gguf, spec_of
from chainkit.hub.names import HubName

if TYPE_CHECKING:
    from chainkit.sizing import Machine, Use
    from chainkit.sizing.verdict import Verdict


@click.command()
@click.argument("name", metavar="ORG/REPO[:QUANT]")
@click.option("--context", type=click.IntRange(1, 1 << 24), metavar="N", help="Tokens it must fit with.")
@click.option("--device", metavar="NAME", help="Where it must fit, like pi5-8gb; this machine by default.")
@click.option("--ram", metavar="AMOUNT", help="Where it must fit: a machine with so much memory, like 8GB.")
@click.option("--force", is_flag=True, help="Fetch it even if it does not fit.")
@click.option("--dry-run", is_flag=True, help="Only say what would be fetched.")
@click.option("--offline", is_flag=True, help="Never touch the network, as with HF_HUB_OFFLINE=1.")
@json_option
@debug_option
def pull(
    name: str,
    context: int | None,
    device: str | None,
    ram: str | None,
    force: bool,
    dry_run: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Fetch a model from a hub into the models folder.

    ORG/REPO:Q4_K_M names a quantization, ORG/REPO:FILE a file, ORG/REPO alone a repository with one model or with
    safetensors. An interrupted download resumes where it stopped; files are checked against their hash. HF_ENDPOINT
    names another hub, HF_TOKEN is sent to it.
    """
    wanted = HubName.parse(name)
    from chainkit.cli.plans import places
    from chainkit.sizing import Use

    where = places([device] if device else [], ram)[0]
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from chainkit.hub.repository import offline as is_offline

    if is_offline():
        _show_local(wanted, as_json)
        return
    _fetch(wanted, where, Use(context=context), force=force, dry_run=dry_run, as_json=as_json)


def _fetch(name: HubName, where: Machine, use: Use, *, force: bool, dry_run: bool, as_json: bool) -> None:
    from chainkit.hub.choice import chosen
    from chainkit.hub.download import download
    from chainkit.hub.remote import remote_model
    from chainkit.hub.repository import look_up
    from chainkit.sizing.verdict import judge

    with waiting(f"asking for {name.repo}") as bar:
        repository = look_up(name)
        choice = chosen(repository.files, name)
        bar.to(0, doing="reading its header")
        verdict, outlook = None, ""
        try:
            verdict = judge(remote_model(repository, choice), where, use)
            outlook = _outlook(verdict)
        except ModelFileError as error:  # of a kind that is not known; it may run all the same
            outlook = f"whether it fits cannot be said ({error})"
    if not as_json:
        files = choice.files[0].name if len(choice.files) == 1 else f"{len(choice.files)} files"
        note(f"{name.repo}: {files}, {amount(choice.size)}; {outlook}")
    if verdict and verdict.answer == "does not fit" and not (force or dry_run):
        raise ChainkitError(f"{name} does not fit {where.name}; --force fetches it all the same")
    paths = []
    if not dry_run:
        keeps(lambda: "the download so far is kept; run the same command again to resume")
        with waiting(f"fetching {name}", choice.size) as bar:
            paths = download(repository, choice.files, lambda done, total, doing: bar.to(done, total, doing))
    path = folder_of(name.repo) if choice.format == "transformers" or not paths else paths[0]
    if as_json:
        files = [{"name": file.name, "bytes": file.size, "sha256": file.sha256} for file in choice.files]
        about = {"repository": name.repo, "commit": repository.commit, "files": files, "bytes": choice.size}
        judged = verdict.numbers() if verdict else {"answer": "unknown"}
        say_json({**about, **judged, "path": str(path) if paths else None, "spec": spec_of(path, name)})
    elif paths:
        say(spec_of(path, name))


def _outlook(verdict: Verdict) -> str:
    plan = verdict.plan
    usable = verdict.machine.usable
    free = "" if usable is None else f" of {amount(usable)}"
    need = f"needs {amount(plan.needed)}{free} on {verdict.machine.name} with a context of {plan.context}"
    return f"{need}: {verdict}"


def _show_local(name: HubName, as_json: bool) -> None:
    """Show the files pulled before; needs no network."""
    path = pulled_folder(name.repo)
    if path is None or (name.pick and name.pick != "safetensors"):
        try:
            path = pulled_gguf(str(name))
        except ModelFileError as error:
            raise ChainkitError(f"{name} is not here, and offline mode is on") from error
    if as_json:
        say_json({"repository": name.repo, "path": str(path), "spec": spec_of(path, name)})
    else:
        note(f"{name} is here already")
        say(spec_of(path, name))
