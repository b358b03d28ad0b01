"""Fine-tuning on a CPU: soft prompts (prompt tuning) on a frozen model, LoRA and full training.

After B. Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning", 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainkit.base.shelf import lazily

if TYPE_CHECKING:
    from chainkit.tuning.baking import bake as bake
    from chainkit.tuning.continued import train_on as train_on
    from chainkit.tuning.examples import Example as Example
    from chainkit.tuning.settings import SOURCE_SETTINGS as SOURCE_SETTINGS
    from chainkit.tuning.settings import TuningSettings as TuningSettings
    from chainkit.tuning.work import Tuned as Tuned
    from chainkit.tuning.work import tune as tune

_HOMES = {
    "Example": "chainkit.tuning.examples",
    "SOURCE_SETTINGS": "chainkit.tuning.settings",
    "TuningSettings": "chainkit.tuning.settings",
    "Tuned": "chainkit.tuning.work",
    "bake": "chainkit.tuning.baking",
    "train_on": "chainkit.tuning.continued",
    "tune": "chainkit.tuning.work",
}

__all__ = [
    "SOURCE_SETTINGS",
    "Example",
    "Tuned",
    "TuningSettings",
    "bake",
    "train_on",
    "tune",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _HOMES)
