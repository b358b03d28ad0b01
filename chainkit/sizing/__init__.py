"""Memory planned from headers alone, before any weight is read."""

from chainkit.sizing.gguf import gguf_model
from chainkit.sizing.machines import PIS, Machine, machine, this_machine
from chainkit.sizing.model import ModelShape
from chainkit.sizing.plan import MemoryPlan, Use, plan
from chainkit.sizing.quantization import quantized
from chainkit.sizing.remote import remote_gguf, remote_transformers
from chainkit.sizing.transformers import folder_model
from chainkit.sizing.verdict import Verdict, judge

__all__ = [
    "PIS",
    "Machine",
    "MemoryPlan",
    "ModelShape",
    "Use",
    "Verdict",
    "folder_model",
    "gguf_model",
    "judge",
    "machine",
    "plan",
    "quantized",
    "remote_gguf",
    "remote_transformers",
    "this_machine",
]


def __dir__() -> list[str]:
    return sorted(__all__)
