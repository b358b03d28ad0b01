"""How to use a sentence embedding model, from its files: pooling, prompts, length."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainkit.base.errors import ModelFileError, Unsupported

POOLINGS = ("mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens")
_KNOWN_MODULES = {"Transformer", "Pooling", "Normalize", "Dense", "Dropout"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """From the states of tokens to the vector of a text.

    Attributes:
        folder: Where the model's files are.
        config: The transformer's config.json.
        pooling: How the token states become one vector: one of `POOLINGS`, or several whose vectors are joined.
        dense: Folders of layers that follow the pooling, in order.
        normalized: The model itself ends with vectors of length 1.
        max_tokens: Longer texts are cut, the special tokens counted.
        prompts: Texts that the model wants before a text, by the kind of text.
    """

    folder: Path
    config: Mapping[str, Any]
    pooling: tuple[str, ...] = ("mean",)
    dense: tuple[Path, ...] = ()
    normalized: bool = False
    max_tokens: int = 512
    prompts: Mapping[str, str]


def read_recipe(folder: Path) -> Recipe:
    """Read a model's settings; a plain transformer without any of sentence-transformers' files means mean pooling.

    Raises:
        ModelFileError: A file is absent or cannot be read.
        Unsupported: The model has a step that chainkit does not know.
    """
    config = _read(folder / "config.json")
    modules = [(_kind(module), folder / module.get("path", "")) for module in _read_list(folder / "modules.json")]
    unknown = sorted({kind for kind, _ in modules} - _KNOWN_MODULES)
    if unknown:
        raise Unsupported(f"{folder}: the model has a step that is not known: {', '.join(unknown)}")
    poolings = [path for kind, path in modules if kind == "Pooling"]
    return Recipe(
        folder=folder,
        config=config,
        pooling=_pooling(_read(poolings[0] / "config.json")) if poolings else ("mean",),
        dense=tuple(path for kind, path in modules if kind == "Dense"),
        normalized=any(kind == "Normalize" for kind, _ in modules),
        max_tokens=_max_tokens(folder, config),
        prompts=_optional(folder / "config_sentence_transformers.json").get("prompts") or {},
    )


def _kind(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def _pooling(settings: Mapping[str, Any]) -> tuple[str, ...]:
    named = settings.get("pooling_mode")
    if named:
        chosen = tuple(named) if isinstance(named, list) else (str(named),)
    else:
        # older files have one switch per way: pooling_mode_cls_token, pooling_mode_mean_tokens, ...
        switches = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
        chosen = tuple(_old_name(switch) for switch in switches) or ("mean",)
    strange = sorted(set(chosen) - set(POOLINGS))
    if strange:
        raise Unsupported(f"pooling '{strange[0]}' is not known; known: {', '.join(POOLINGS)}")
    return chosen


def _old_name(switch: str) -> str:
    name = switch.removeprefix("pooling_mode_")
    return {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}.get(name, name)


def _max_tokens(folder: Path, config: Mapping[str, Any]) -> int:
    own = _optional(folder / "sentence_bert_config.json").get("max_seq_length")
    positions = int(config.get("max_position_embeddings", 512))
    if config.get("model_type") in {"roberta", "xlm-roberta"}:
        positions -= int(config.get("pad_token_id", 1)) + 1  # the first positions belong to padding
    tokenizer = _optional(folder / "tokenizer_config.json").get("model_max_length", positions)
    # a tokenizer without a limit says 1e30
    return min(int(own), positions) if own else int(min(tokenizer, positions))


def _optional(path: Path) -> dict[str, Any]:
    return _read(path) if path.is_file() else {}


def _read_list(path: Path) -> Sequence[Mapping[str, Any]]:
    found = _load(path) if path.is_file() else []
    if not isinstance(found, list):
        raise ModelFileError(path, "is not a list of modules")
    return found


def _read(path: Path) -> dict[str, Any]:
    found = _load(path)
    if not isinstance(found, dict):
        raise ModelFileError(path, "is not a JSON object")
    return found


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ModelFileError(path, "is missing from the model's folder") from error
    except (OSError, ValueError) as error:
        raise ModelFileError(path, f"cannot be read as JSON: {error}") from error
