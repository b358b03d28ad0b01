"""Test which features an OpenAI-compatible server supports."""

from chainkit.doctor.advice import Advice, advice
from chainkit.doctor.examination import Examination, open_examination
from chainkit.doctor.finding import Finding, State
from chainkit.doctor.probes import PROBES, examine

__all__ = ["PROBES", "Advice", "Examination", "Finding", "State", "advice", "examine", "open_examination"]


def __dir__() -> list[str]:
    return sorted(__all__)
