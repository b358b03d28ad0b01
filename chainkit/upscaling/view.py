"""A deeper model in memory that shares its weights with the model that it is made of."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chainkit.base.errors import BadLayers
from chainkit.upscaling.config import config_changes, depth_of
from chainkit.upscaling.slices import Slices, chosen_slices, layer_sources
from chainkit.upscaling.stack import Stack, find_stack

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def upscale_view(
    model: PreTrainedModel,
    *,
    drop: int | None = None,
    slices: Slices | None = None,
    prefix: str | None = None,
) -> PreTrainedModel:
    """The up-scaled model without copying a weight: layers that copy the same layer are the same parameters.

    To look at what a plan does before a file is written. Training it trains both copies of a layer as one, and the
    model that it is made of along with it; to train, write the new model with `upscale` and load that.

    Args:
        model: A transformers model with a stack of decoder layers; it is not changed.
        drop: As for `upscale`.
        slices: As for `upscale`.
        prefix: As for `upscale`.

    Raises:
        BadLayers: The model has no such layers, they are not found, or cannot be put together like this.
    """
    config = model.config.to_dict()
    depth = depth_of(config)
    sources = layer_sources(chosen_slices(depth, drop, slices))
    changes = config_changes(config, sources)
    stack = find_stack([name for name, _ in model.named_parameters()], depth, prefix)
    twin = _twin(model, {id(model.config): _with(model.config, changes)})
    parent, _, name = stack.prefix.rpartition(".")
    holder = twin.get_submodule(parent)
    layers = getattr(holder, name)
    setattr(holder, name, type(layers)(_renumbered(layers[source], new) for new, source in enumerate(sources)))
    _require_counted(twin, stack, sources)
    return twin


def _with(config: Any, changes: dict[str, Any]) -> Any:
    """A copy of the library's config with changes made, those of its parts too."""
    result = copy.deepcopy(config)
    for key, value in changes.items():
        setattr(result, key, _with(getattr(config, key), value) if isinstance(value, dict) else value)
    return result


def _twin(module: Any, configs: dict[int, Any]) -> Any:
    """A module of the same parameters; modules and what they know about the config are copies."""
    twin = copy.copy(module)
    for name in ("_parameters", "_buffers"):
        twin.__dict__[name] = dict(module.__dict__[name])
    twin.__dict__["_modules"] = {
        name: None if child is None else _twin(child, configs) for name, child in module.__dict__["_modules"].items()
    }
    for name, value in module.__dict__.items():
        if id(value) in configs:
            twin.__dict__[name] = configs[id(value)]
    return twin


def _renumbered(layer: Any, number: int) -> Any:
    """A copy of a layer at another place: its memory of keys and values is found by its number."""
    twin = _twin(layer, {})
    for module in twin.modules():
        if isinstance(getattr(module, "layer_idx", None), int):
            module.layer_idx = number
    return twin


def _require_counted(twin: Any, stack: Stack, sources: Sequence[int]) -> None:
    count = len(twin.get_submodule(stack.prefix))
    if count != len(sources):
        raise BadLayers(f"{stack.prefix} has {count} layers and not {len(sources)}")
