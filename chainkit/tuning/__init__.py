"""A model made yours: soft prompts trained on a frozen model, and training that goes on for all of it.

After B. Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning", 2021.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainkit.tuning.baking import bake as bake
    from chainkit.tuning.continued import train_on as train_on
    from chainkit.tuning.examples import Example as Example
    from chainkit.tuning.settings import SOURCE_SETTINGS as SOURCE_SETTINGS
    from chainkit.tuning.settings import Settings as Settings
    from chainkit.tuning.work import Tuned as Tuned
    from chainkit.tuning.work import tune as tune

_HOMES = {
    "SOURCE_SETTINGS": "chainkit.tuning.settings",
    "Example": "chainkit.tuning.examples",
    "Settings": "chainkit.tuning.settings",
    "Tuned": "chainkit.tuning.work",
    "bake": "chainkit.tuning.baking",
    "train_on": "chainkit.tuning.continued",
    "tune": "chainkit.tuning.work",
}

__all__ = ["SOURCE_SETTINGS", "Example", "Settings", "Tuned", "bake", "train_on", "tune"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'chainkit.tuning' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
