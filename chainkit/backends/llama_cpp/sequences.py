"""Assigns sequences of llama.cpp's KV cache to sessions and tracks their content."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from chainkit.backends.llama_cpp.capi import Handle, Library
from chainkit.local.runtime import KVSequence, common

_GRACE_SECONDS = 1.0  # a generation that was active within this time keeps its sequence


@dataclass(eq=False)
class LlamaSequence(KVSequence):
    """A sequence of llama.cpp.

    Attributes:
        number: Its id in llama.cpp.
        busy: Whether a generation computes on it.
        exact: Number of leading tokens whose keys and values are bit-identical to those of a text computed alone.
        steady: Number of leading tokens computed as in a fresh process; see `prefixes.py`.
    """

    number: int = 0
    busy: bool = False
    exact: int = 0
    steady: int = 0


class LlamaSequences:
    """All sequences. The caller holds the runtime's lock.

    Attributes:
        all: The sequences.
        partial: Whether a sequence can be cut back to a prefix; a recurrent model cannot.
        rows: A text computed alone continues at a multiple of this number of tokens; see `exact.py`.
        holes: Whether llama.cpp may place tokens in freed cells before those of the tokens they follow.
    """

    def __init__(
        self, library: Library, memory: Handle, count: int, lock: threading.Condition, *, partial: bool, rows: int = 1
    ) -> None:
        self.all = [LlamaSequence(number=number) for number in range(count)]
        self.partial, self.rows, self.holes = partial, rows, False
        self._library, self._memory, self._lock = library, memory, lock
        self._last: LlamaSequence | None = None  # the one whose tokens from `_from` on are in the last cells
        self._from = 0

    def claim(self, owner: object, tokens: Sequence[int], keep: Collection[LlamaSequence]) -> LlamaSequence:
        """A sequence for the owner, with the longest cached prefix of the text; may wait for a free one.

        Args:
            owner: Who it is kept for.
            tokens: The text.
            keep: Sequences that must not be taken.
        """
        self._await_one(keep)
        donor = max(self.all, key=lambda sequence: (common(sequence.tokens, tokens), not sequence.in_use))
        shared = common(donor.tokens, tokens)
        whole = shared == len(donor.tokens)
        if shared and whole and not donor.in_use and donor not in keep:
            sequence = donor
        else:
            sequence = self._free(donor, keep)
            if sequence is donor and self.partial:  # there is no other
                self.trim(sequence, shared)
            else:
                self.empty(sequence)
            if shared and (whole or self.partial) and donor.tokens:
                self.copy(donor, sequence, shared)
        sequence.owner, sequence.used = weakref.ref(owner), time.monotonic()
        return sequence

    def claim_alone(self, owner: object, tokens: Sequence[int]) -> LlamaSequence:
        """A sequence for a text computed alone, with its longest bit-exact cached prefix."""
        donor = max(self.all, key=lambda sequence: (self.reusable(sequence, tokens), not sequence.in_use))
        length = self.reusable(donor, tokens)
        if not length:
            sequence = self._free(donor, ()) if donor.tokens else donor
            self.empty(sequence)
        elif length == len(donor.tokens) and not donor.in_use:
            sequence = donor
        else:
            sequence = self._free(donor, ())
            self.empty(sequence)
            self.copy(donor, sequence, length)
        sequence.owner, sequence.used = weakref.ref(owner), time.monotonic()
        return sequence

    def reusable(self, sequence: LlamaSequence, tokens: Sequence[int]) -> int:
        """How many tokens of a text that is read alone can be taken from a sequence; one at least is left to read."""
        length = min(common(sequence.tokens, tokens), sequence.exact, len(tokens) - 1)
        return max(0, length) // self.rows * self.rows

    def appended(self, sequence: LlamaSequence, start: int, exact: int) -> None:
        """Note that a pass has put tokens at the end of one sequence alone.

        Args:
            sequence: The sequence.
            start: How many it had before.
            exact: How many of the new ones are what a text that is read alone has.
        """
        if self._last is not sequence:
            self._last, self._from = sequence, start
        self.exact(sequence, start, exact)

    def exact(self, sequence: LlamaSequence, start: int, count: int) -> None:
        """Mark `count` tokens from `start` as bit-identical to those of a text computed alone."""
        if sequence.exact == start and not self.holes:
            sequence.exact = start + count

    def mixed(self, *, holes: bool) -> None:
        """Note that a pass had several texts, and whether it has left holes between them."""
        self._last, self.holes = None, self.holes or holes

    def copy(self, donor: LlamaSequence, sequence: LlamaSequence, length: int) -> None:
        """Replace a sequence's tokens by the first `length` of another; the cells are shared."""
        if donor is not sequence:
            self._leave(sequence, 0)
            sequence.tokens, sequence.exact, sequence.steady = [], 0, 0
            self._library.llama_memory_seq_rm(self._memory, sequence.number, -1, -1)
            self._library.llama_memory_seq_cp(self._memory, donor.number, sequence.number, 0, length)
            sequence.tokens, sequence.exact = donor.tokens[:length], min(donor.exact, length)

    def extend(self, sequence: LlamaSequence, tokens: Sequence[int]) -> int:
        """Let a sequence have what another knows of the tokens that follow its own; how many are there then."""
        held = len(sequence.tokens)
        donor = max(self.all, key=lambda other: common(other.tokens, tokens))
        shared = common(donor.tokens, tokens)
        if self.partial and donor is not sequence and shared > held:
            self._library.llama_memory_seq_cp(self._memory, donor.number, sequence.number, held, shared)
            sequence.tokens.extend(tokens[held:shared])
        return len(sequence.tokens)

    def trim(self, sequence: LlamaSequence, length: int) -> int:
        """Forget all but the first tokens of a sequence; some models can only forget everything."""
        if length < len(sequence.tokens):
            self._leave(sequence, length)
            sequence.exact, sequence.steady = min(sequence.exact, length), min(sequence.steady, length)
            del sequence.tokens[length:]
            self.mend(sequence)
        return len(sequence.tokens)

    def mend(self, sequence: LlamaSequence) -> None:
        """Forget what llama.cpp holds beyond a sequence's tokens, all of it where a model cannot forget a part.

        Tokens are forgotten here before they are there, and added here after they are there: so whatever interrupts a
        call, this makes both the same again.
        """
        if not self._library.llama_memory_seq_rm(self._memory, sequence.number, len(sequence.tokens), -1):
            sequence.tokens, sequence.exact, sequence.steady = [], 0, 0
            self._library.llama_memory_seq_rm(self._memory, sequence.number, -1, -1)

    def empty(self, sequence: LlamaSequence) -> None:
        """Forget all, and whose it was."""
        self._leave(sequence, 0)
        sequence.tokens, sequence.exact, sequence.steady = [], 0, 0
        sequence.owner, sequence.busy = None, False
        self._library.llama_memory_seq_rm(self._memory, sequence.number, -1, -1)

    def _leave(self, sequence: LlamaSequence, length: int) -> None:
        """Note that cells become free: holes, unless they are the last ones or nothing is left."""
        if not sequence.tokens:
            return
        if sequence is self._last:
            self.holes = self.holes or length < self._from
            self._from = min(self._from, length)
        else:
            self.holes = True
        if not length and all(other is sequence or not other.tokens for other in self.all):
            self.holes, self._last = False, None

    def make_room(self, keep: Collection[LlamaSequence]) -> bool:
        """Empty the sequence that was used longest ago, or wait for other threads; False if there is none."""
        others = [sequence for sequence in self.all if sequence not in keep and sequence.tokens]
        if not others:
            return False
        victim = min(others, key=lambda sequence: (sequence.busy, sequence.in_use, sequence.used))
        remaining = victim.used + _GRACE_SECONDS - time.monotonic()
        if victim.busy and remaining > 0:
            self._lock.wait(remaining)
        else:
            self.empty(victim)
        return True

    def _await_one(self, keep: Collection[LlamaSequence]) -> None:
        """Wait while every sequence belongs to a generation that is going on."""
        while all(sequence.busy for sequence in self.all):
            others = [sequence.used for sequence in self.all if sequence not in keep]
            remaining = min(others) + _GRACE_SECONDS - time.monotonic() if others else 0
            if remaining <= 0:
                return
            self._lock.wait(remaining)

    def _free(self, donor: LlamaSequence, keep: Collection[LlamaSequence]) -> LlamaSequence:
        sequences = [sequence for sequence in self.all if sequence is not donor and sequence not in keep] or [donor]
        return min(
            sequences, key=lambda sequence: (sequence.busy, sequence.in_use, bool(sequence.tokens), sequence.used)
        )
