"""Who has which sequence of llama.cpp's memory, and what stays in it."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from chainkit.backends.llama_cpp.capi import Handle, Library
from chainkit.local.requests import common

_GRACE_SECONDS = 1.0  # a generation that has gone on within this time keeps its place in memory


@dataclass(eq=False)
class Slot:
    """A sequence in llama.cpp's memory and the tokens it holds."""

    number: int
    tokens: list[int] = field(default_factory=list)
    owner: weakref.ref[object] | None = None
    busy: bool = False
    used: float = 0.0

    def belongs_to(self, owner: object) -> bool:
        """Whether this slot is kept for `owner`."""
        return self.owner is not None and self.owner() is owner

    @property
    def in_use(self) -> bool:
        """Whether its owner is still there."""
        return self.owner is not None and self.owner() is not None


class Slots:
    """All sequences. The engine's lock is held by whoever calls.

    Attributes:
        all: The slots.
        partial: Whether the first tokens of a sequence can be kept without the others; a recurrent model cannot.
    """

    def __init__(
        self, library: Library, memory: Handle, count: int, lock: threading.Condition, *, partial: bool
    ) -> None:
        self.all = [Slot(number) for number in range(count)]
        self.partial = partial
        self._library, self._memory, self._lock = library, memory, lock

    def claim(self, owner: object, tokens: Sequence[int], keep: Collection[Slot]) -> Slot:
        """A slot for the owner, with as much of the text in it as can be found in memory; may wait for one.

        Args:
            owner: Who it is kept for.
            tokens: The text.
            keep: Slots that must not be taken.
        """
        self._await_one(keep)
        donor = max(self.all, key=lambda slot: (common(slot.tokens, tokens), not slot.in_use))
        shared = common(donor.tokens, tokens)
        whole = shared == len(donor.tokens)
        if shared and whole and not donor.in_use and donor not in keep:
            slot = donor
        else:
            slot = self._free(donor, keep)
            self.empty(slot)
            if shared and (whole or self.partial) and donor.tokens:
                self.copy(donor, slot, shared)
        slot.owner, slot.used = weakref.ref(owner), time.monotonic()
        return slot

    def copy(self, donor: Slot, slot: Slot, length: int) -> None:
        """Let a slot have the first tokens of another instead of its own; they take no place of their own."""
        if donor is not slot:
            self._library.llama_memory_seq_rm(self._memory, slot.number, -1, -1)
            self._library.llama_memory_seq_cp(self._memory, donor.number, slot.number, 0, length)
            slot.tokens = donor.tokens[:length]

    def extend(self, slot: Slot, tokens: Sequence[int]) -> int:
        """Let a slot have what another knows of the tokens that follow its own; how many are there then."""
        held = len(slot.tokens)
        donor = max(self.all, key=lambda other: common(other.tokens, tokens))
        shared = common(donor.tokens, tokens)
        if self.partial and donor is not slot and shared > held:
            self._library.llama_memory_seq_cp(self._memory, donor.number, slot.number, held, shared)
            slot.tokens.extend(tokens[held:shared])
        return len(slot.tokens)

    def trim(self, slot: Slot, length: int) -> int:
        """Forget all but the first tokens of a slot; some models can only forget everything."""
        if length < len(slot.tokens):
            if not self._library.llama_memory_seq_rm(self._memory, slot.number, length, -1):
                owner, busy = slot.owner, slot.busy
                self.empty(slot)
                slot.owner, slot.busy = owner, busy
                return 0
            del slot.tokens[length:]
        return length

    def empty(self, slot: Slot) -> None:
        """Forget all, and whose it was."""
        self._library.llama_memory_seq_rm(self._memory, slot.number, -1, -1)
        slot.tokens, slot.owner, slot.busy = [], None, False

    def make_room(self, keep: Collection[Slot]) -> bool:
        """Empty the slot that was used longest ago, or wait for other threads; False if there is none."""
        others = [slot for slot in self.all if slot not in keep and slot.tokens]
        if not others:
            return False
        victim = min(others, key=lambda slot: (slot.busy, slot.in_use, slot.used))
        remaining = victim.used + _GRACE_SECONDS - time.monotonic()
        if victim.busy and remaining > 0:
            self._lock.wait(remaining)
        else:
            self.empty(victim)
        return True

    def _await_one(self, keep: Collection[Slot]) -> None:
        """Wait while every slot belongs to a generation that is going on."""
        while all(slot.busy for slot in self.all):
            others = [slot.used for slot in self.all if slot not in keep]
            remaining = min(others) + _GRACE_SECONDS - time.monotonic() if others else 0
            if remaining <= 0:
                return
            self._lock.wait(remaining)

    def _free(self, donor: Slot, keep: Collection[Slot]) -> Slot:
        slots = [slot for slot in self.all if slot is not donor and slot not in keep] or [donor]
        return min(slots, key=lambda slot: (slot.busy, slot.in_use, bool(slot.tokens), slot.used))
