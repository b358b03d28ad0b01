"""`chainkit serve`: models, documents, chains and programs for every client that speaks OpenAI's API."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from chainkit.base.errors import ChainkitError, MissingLibrary, NoModel
from chainkit.cli.answering import usual_spec
from chainkit.cli.faults import without_keys
from chainkit.cli.options import debug_option
from chainkit.cli.screen import note, waiting

if TYPE_CHECKING:
    from chainkit.server import Catalogue, ServedModel, ServerSettings

_SECRET = "CHAINKIT_SERVE_KEY"  # noqa: S105 - the name of a variable


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--embeddings", multiple=True, metavar="SPEC", help="Model that turns texts into vectors.")
@click.option("--rerank", multiple=True, metavar="SPEC", help="Model that puts documents in an order.")
@click.option("--docs", multiple=True, metavar="PATH", help="Folder, file or index that answers with citations.")
@click.option("--chain", multiple=True, metavar="MODULE:NAME", help="A Runnable, in a module of this folder.")
@click.option("--program", multiple=True, metavar="FILE", help="A program; it runs on the first MODEL.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--key", multiple=True, envvar=_SECRET, show_envvar=True, metavar="KEY", help="API key to ask for.")
@click.option("--key-file", metavar="FILE", help="API keys, one a line.")
@click.option("--insecure", is_flag=True, help="Listen on other addresses without a key.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Host name that requests may be sent to.")
@click.option("--allow-origin", multiple=True, metavar="URL", help="Web site whose pages may ask; '*' for all.")
@click.option("--running", type=click.IntRange(min=1), default=32, show_default=True, help="Requests at once.")
@click.option("--waiting", "queued", type=click.IntRange(min=0), default=128, show_default=True, help="... that wait.")
@click.option(
    "--prompt-tokens", type=click.IntRange(min=1), metavar="N", help="Longest prompt; by default the context."
)
@click.option("--new-tokens", type=click.IntRange(min=1), metavar="N", help="Longest answer; by default the context.")
@click.option("--body-bytes", type=click.IntRange(min=1), metavar="N", help="Longest request; by default 4 MiB.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=600, show_default=True, metavar="S", help="Seconds per answer."
)
@click.option("--unload-after", type=click.FloatRange(min=1), metavar="S", help="Unload a model unused for so long.")
@debug_option
def serve(
    models: tuple[str, ...],
    embeddings: tuple[str, ...],
    rerank: tuple[str, ...],
    docs: tuple[str, ...],
    chain: tuple[str, ...],
    program: tuple[str, ...],
    unload_after: float | None,
    **options: Any,
) -> None:
    """Serve MODELs, documents, chains and programs over OpenAI's API, until Ctrl-C.

    Each is opened at its first use. NAME=SPEC and NAME=PATH give it a name of your own. Without a MODEL the usual one
    is served, as 'chainkit models' shows it, else smollm2 where its package is installed.
    """
    try:
        from chainkit.server import Catalogue, create_app, run
    except ModuleNotFoundError as error:
        raise MissingLibrary(error.name or "starlette", "serve") from error
    logging.basicConfig(format="chainkit: %(message)s", level=logging.WARNING)
    settings = _settings(options)
    catalogue = Catalogue(unload_seconds=unload_after)
    with waiting("looking at the models"):
        for served in _served(models, embeddings, rerank, docs, chain, program):
            _add(catalogue, served)
    app = create_app(catalogue, settings, page=True)
    run(app, settings, on_ready=lambda address: _tell(address, catalogue, settings))


def _settings(options: dict[str, Any]) -> ServerSettings:
    from chainkit.server.settings import ServerLimits, ServerSettings, read_keys

    keys = tuple(options["key"])
    if options["key_file"]:
        keys += read_keys(options["key_file"])
    limits = {"running": options["running"], "waiting": options["queued"], "seconds": options["timeout"]}
    limits |= {name: options[name] for name in ("prompt_tokens", "new_tokens", "body_bytes") if options[name]}
    return ServerSettings(
        host=options["host"],
        port=options["port"],
        keys=keys,
        insecure=options["insecure"],
        allowed_hosts=options["allow_host"],
        allowed_origins=options["allow_origin"],
        limits=ServerLimits(**limits),
    )


def _served(
    models: tuple[str, ...],
    embeddings: tuple[str, ...],
    rerank: tuple[str, ...],
    docs: tuple[str, ...],
    chains: tuple[str, ...],
    programs: tuple[str, ...],
) -> Iterator[ServedModel]:
    from chainkit import server

    others = bool(embeddings or rerank or docs or chains or programs)
    named = [_named(model) for model in models] or [(None, spec) for spec in _usual(others)]
    first = named[0][1] if named else None
    vectors = _named(embeddings[0])[1] if embeddings else "minilm"
    for name, spec in named:
        yield server.served_model(spec, name)
    yield from _each(embeddings, server.served_embeddings)
    yield from _each(rerank, server.served_reranker)
    yield from _each(docs, lambda place, name: server.served_documents(place, name, model=first, embeddings=vectors))
    yield from _each(chains, server.served_chain)
    yield from _each(programs, lambda file, name: server.served_program(file, name, model=first))


def _each(given: tuple[str, ...], make: Callable[[str, str | None], ServedModel]) -> Iterator[ServedModel]:
    for one in given:
        name, what = _named(one)
        yield make(what, name)


def _usual(others: bool) -> list[str]:
    from chainkit.registry import default_spec

    if not others:
        return [usual_spec()]
    try:
        return [default_spec()]
    except NoModel:
        return []


def _named(text: str) -> tuple[str | None, str]:
    """The name and the rest of NAME=SPEC.

    >>> _named("small=gguf:./a.gguf?n_threads=2"), _named("gguf:./a.gguf?n_threads=2")
    (('small', 'gguf:./a.gguf?n_threads=2'), (None, 'gguf:./a.gguf?n_threads=2'))
    """
    name, sign, rest = text.partition("=")
    if sign and name and not set(name) & set(":?/\\"):
        return name, rest
    return None, text


def _add(catalogue: Catalogue, served: ServedModel) -> None:
    try:
        catalogue.add(served)
    except ValueError as error:
        raise ChainkitError(str(error)) from error


def _tell(address: str, catalogue: Catalogue, settings: ServerSettings) -> None:
    for model in catalogue:
        note(f"{model.kind}: {without_keys(model.name)}")
    keyed = "" if settings.keys else ", without a key"
    note(f"listening on {address}/v1{keyed}, with a page at {address}; Ctrl-C ends")
    sys.stderr.flush()
