"""Whether there is room for a model now; asked before its weights are read."""

from __future__ import annotations

from chainkit.base.errors import NotEnoughMemory
from chainkit.sizing.machines import Machine
from chainkit.sizing.memory import available_memory
from chainkit.sizing.plan import MemoryPlan
from chainkit.sizing.verdict import Verdict, judge


def require_room(needed: MemoryPlan, *, loaded: bool = False) -> None:
    """Refuse what would make the machine swap. Where the free memory is not known, everything is let through.

    Args:
        needed: The plan of the model to load. This process itself is in memory already and is not counted.
        loaded: The weights are in memory too; only a context is added.

    Raises:
        NotEnoughMemory: It does not fit in the free memory; the error holds the plan and what would fit.
    """
    free = available_memory()
    more = needed.cache + needed.compute + (0 if loaded else needed.weights + needed.tokenizer)
    if free is None or more <= free:
        return
    room = Machine(name="this machine", ram=None, usable=free + needed.program, repacked=frozenset(), here=True)
    verdict = judge(needed.model, room, needed.use)
    raise NotEnoughMemory(needed.model.name, more, free, _parts(needed, loaded), _advice(verdict))


def _parts(needed: MemoryPlan, loaded: bool) -> str:
    weights = "" if loaded else f"weights {needed.weights / 1e9:.2f}, "
    cache = f"{needed.cache / 1e9:.2f} to remember {needed.context} tokens"
    return f"{weights}{cache}, {needed.compute / 1e9:.2f} to compute"


def _advice(verdict: Verdict) -> str:
    if verdict.answer != "fits with changes" or verdict.changed is None:
        return "nothing smaller of it fits either"
    return f"it {verdict}"
