"""Typed decisions about a text: yes or no, one of several, a score, each with its probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainkit.base.shelf import lazily

if TYPE_CHECKING:
    from chainkit.decisions.calibration import Calibration as Calibration
    from chainkit.decisions.calibration import Reliability as Reliability
    from chainkit.decisions.calibration import reliability as reliability
    from chainkit.decisions.model import DecisionModel as DecisionModel
    from chainkit.decisions.model import decision_model as decision_model
    from chainkit.decisions.questions import choice as choice
    from chainkit.decisions.questions import score as score
    from chainkit.decisions.questions import yes_no as yes_no

_HOMES = {
    "Calibration": "chainkit.decisions.calibration",
    "DecisionModel": "chainkit.decisions.model",
    "Reliability": "chainkit.decisions.calibration",
    "choice": "chainkit.decisions.questions",
    "decision_model": "chainkit.decisions.model",
    "reliability": "chainkit.decisions.calibration",
    "score": "chainkit.decisions.questions",
    "yes_no": "chainkit.decisions.questions",
}

__all__ = ["Calibration", "DecisionModel", "Reliability", "choice", "decision_model", "reliability", "score", "yes_no"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, _HOMES)
