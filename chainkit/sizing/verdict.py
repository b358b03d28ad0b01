"""Whether a model fits a machine, and what to change if it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from chainkit.sizing.machines import Machine
from chainkit.sizing.model import ModelShape
from chainkit.sizing.plan import MemoryPlan, Use, plan
from chainkit.sizing.quantization import LADDER, quantized

Answer = Literal["fits", "fits with changes", "does not fit", "unknown"]

_SHORTEST, _USEFUL = 512, 1024  # tokens of a context
_TIGHT = 0.95  # of the usable memory


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on a model and a machine.

    Attributes:
        plan: The model as it was asked for, on this machine.
        machine: Where.
        answer: "unknown" where the memory of the machine is not known.
        changed: A plan that fits, if `answer` is "fits with changes".
        changes: The changes, in words.
        advice: Further advice; empty if there is none.
    """

    plan: MemoryPlan
    machine: Machine
    answer: Answer
    changed: MemoryPlan | None = None
    changes: tuple[str, ...] = ()
    advice: str = ""

    @property
    def fits(self) -> bool:
        """Whether it fits as it was asked for."""
        return self.answer == "fits"

    def __str__(self) -> str:
        """The answer in a line.

        Example: "fits with Q4_K_M and a context of 2048".
        """
        if self.answer == "fits with changes":
            return f"fits with {' and '.join(self.changes)}"
        if self.answer == "unknown":
            return "unknown: this system does not say how much memory is free"
        return self.answer

    def numbers(self) -> dict[str, Any]:
        """The verdict for a program to read."""
        machine = {"name": self.machine.name, "ram": self.machine.ram, "usable": self.machine.usable}
        changed = self.changed.numbers() if self.changed else None
        quantization = self.changed.model.quantization if self.changed else None
        return {
            "machine": machine,
            "answer": self.answer,
            "changes": list(self.changes),
            "advice": self.advice,
            "plan": self.plan.numbers(),
            "changed": changed and {"quantization": quantization, **changed},
        }


def judge(model: ModelShape, machine: Machine, use: Use | None = None) -> Verdict:
    """Whether a model fits a machine; if not, the least change with which it does.

    First the KV cache is made smaller, by 8-bit values and then by a shorter context, then the
    weights are quantized further, then both.
    """
    asked = plan(model, use, repacked=machine.repacked)
    if machine.usable is None:
        return Verdict(plan=asked, machine=machine, answer="unknown")
    if asked.needed <= machine.usable:
        return Verdict(plan=asked, machine=machine, answer="fits", advice=_advice(asked, machine.usable))
    for name, changed in _candidates(asked, machine):
        if changed.needed <= machine.usable:
            changes = _differences(asked, changed, name)
            return Verdict(
                plan=asked, machine=machine, answer="fits with changes", changed=changed, changes=changes,
                advice=_advice(changed, machine.usable),
            )  # fmt: skip
    return Verdict(plan=asked, machine=machine, answer="does not fit")


def _advice(plan: MemoryPlan, usable: int) -> str:
    found: list[str] = []
    if plan.resident > usable:
        found.append("use_mmap=false: mapped and repacked weights together are larger than the memory")
    if plan.needed > usable * _TIGHT:
        found.append("nothing else of size running: it is tight")
    return "; ".join(found)


def _candidates(asked: MemoryPlan, machine: Machine) -> Iterator[tuple[str, MemoryPlan]]:
    """Plans that need less, the least change first; with the name of another quantization."""
    for shortest in (_USEFUL, _SHORTEST):
        for name, model in _smaller(asked.model):
            for use in _uses(asked, model, shortest):
                yield name, plan(model, use, repacked=machine.repacked)


def _smaller(model: ModelShape) -> Iterator[tuple[str, ModelShape]]:
    yield "", model
    for name in LADDER:
        other = quantized(model, name)
        if other.weight_bytes < model.weight_bytes:
            yield name, other


def _uses(asked: MemoryPlan, model: ModelShape, shortest: int) -> Iterator[Use]:
    eight_bits = model.format == "gguf" and asked.use.kv_type in ("f16", "f32")
    yield asked.use
    if eight_bits:
        yield replace(asked.use, kv_type="q8_0")
    context = asked.context // 2
    while context >= shortest:
        yield replace(asked.use, context=context)
        if eight_bits:
            yield replace(asked.use, context=context, kv_type="q8_0")
        context //= 2


def _differences(asked: MemoryPlan, changed: MemoryPlan, name: str) -> tuple[str, ...]:
    found: list[str] = []
    if name:
        found.append(f"{name} as GGUF" if asked.model.format != "gguf" else name)
    if changed.context != asked.context:
        found.append(f"a context of {changed.context}")
    if changed.use.kv_type != asked.use.kv_type:
        found.append(f"kv_type={changed.use.kv_type}")
    return tuple(found)
