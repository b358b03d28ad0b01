"""From what a user names to the model that a plan is made for: a file, a folder, a spec, an address, a hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from chainkit.base.errors import ChainkitError, ModelFileError, SpecError
from chainkit.hub.choice import SAFETENSORS, chosen
from chainkit.hub.names import HubName, is_hub_name
from chainkit.registry import ALIASES, default_spec, providers
from chainkit.sizing import ModelShape, Use, folder_model, gguf_model, remote_gguf

_LOCAL = ("gguf", "ggml", "huggingface", "smollm2")
_TRUE = {"true", "yes", "on", "1"}


def sized_model(text: str) -> tuple[ModelShape, Use]:
    """The shape of the model named by a spec, path or address, and the use that the options of the spec describe.

    Only headers are read, from the hub if the model is not local.

    Raises:
        SpecError: It is a hosted model, or nothing that can be understood.
        ModelFileError: It is damaged, or not there.
        ProviderError: The hub cannot be asked.
    """
    model, use = _sized(text.strip() or default_spec())
    return model, use if use.engine else replace(use, engine=_engine(model))


def _sized(text: str) -> tuple[ModelShape, Use]:
    if text.startswith(("http://", "https://")):
        return remote_gguf([text]), Use()
    if Path(text).expanduser().exists():
        return _at(Path(text).expanduser()), Use()
    provider, name, options = _taken_apart(text)
    if provider == "smollm2":
        from chainkit.backends.llama_cpp.smollm2 import packaged

        return gguf_model(packaged()), _use(options)
    if provider == "ggml":
        return _old(Path(name).expanduser()), _use(options)
    path = Path(name).expanduser()
    if not path.exists() and is_hub_name(name):
        return hub_model(HubName.parse(name), options.get("dtype", "auto")), _use(options)
    if provider == "huggingface" and path.is_dir():
        return folder_model(path, options.get("dtype", "auto")), _use(options)
    return _at(path), _use(options)


def _engine(model: ModelShape) -> str:
    """The library that was found to run a file best; empty if it was not tried here."""
    if model.format != "gguf":
        return ""
    from chainkit.backends.llama_cpp.engines import decided

    return (decided(model.name) or {"library": ""})["library"]


def hub_model(name: HubName, dtype: str = "auto") -> ModelShape:
    """The shape of a hub repository's model: from pulled files, otherwise from the headers on the hub."""
    from chainkit.hub.local import pulled_folder, pulled_gguf

    folder = pulled_folder(name.repo)
    if folder and name.pick in ("", SAFETENSORS):
        return folder_model(folder, dtype)
    try:
        return gguf_model(pulled_gguf(str(name)))
    except ModelFileError:
        pass  # it is not here
    from chainkit.hub.remote import remote_model
    from chainkit.hub.repository import look_up

    repository = look_up(name)
    return remote_model(repository, chosen(repository.files, name), dtype)


def _taken_apart(text: str) -> tuple[str, str, Mapping[str, str]]:
    from chainkit.registry import read_spec

    if is_hub_name(text) and text.partition(":")[0] not in providers():
        return "", text, {}
    spec = read_spec(text)
    provider = ALIASES.get(spec.provider, spec.provider)
    if provider not in _LOCAL:
        raise SpecError(f"{provider} runs elsewhere or has no weights; sizes are those of {', '.join(_LOCAL)}")
    return provider, spec.name, spec.options


def _at(path: Path) -> ModelShape:
    if path.is_dir():
        return folder_model(path)
    if path.name == "config.json":
        return _config(path)
    if path.suffix.lower() == ".bin":
        return _old(path)
    return gguf_model(path)


def _config(path: Path) -> ModelShape:
    from chainkit.sizing.shapes import config_model

    try:
        value: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(path, f"cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise ModelFileError(path, "holds no settings")
    return config_model(str(path), value)


def _old(path: Path) -> ModelShape:
    """A GGML file as the GGUF that it is laid out as."""
    from chainkit.backends.llama_cpp.conversion import plan as conversion
    from chainkit.sizing.gguf import model_from
    from chainkit.sizing.header import TENSOR_TYPES
    from chainkit.sizing.model import WeightShape

    planned = conversion(path)
    weights = tuple(WeightShape(t.name, TENSOR_TYPES[t.type][0], t.shape, t.nbytes) for t in planned.tensors)
    return model_from(path.name, planned.values, weights, source=path)


def _use(options: Mapping[str, str]) -> Use:
    """What the options of a spec mean for memory; the others are left to the model."""
    numbers = {"context_length": "context", "n_batch": "batch", "n_sequences": "sequences"}
    flags = {"use_mmap": "mmap", "repack": "repack", "flash_attention": "flash"}
    values: dict[str, Any] = {}
    try:
        values |= {own: int(options[name]) for name, own in numbers.items() if options.get(name, "none") != "none"}
        if "kv_type" in options:
            values["kv_type"] = options["kv_type"]
        if (engine := options.get("engine", "auto").replace("-", "_")) != "auto":
            values["engine"] = engine
        values |= {own: options[name].strip().lower() in _TRUE for name, own in flags.items() if name in options}
        return Use(**values)
    except ValueError as error:
        raise ChainkitError(f"an option of the spec is wrong: {error}") from None
