"""The protocol of local runtimes: what computes, and what a session asks of it, so that one pass can answer several."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from chainkit.decoding.loop import Vocabulary
from chainkit.decoding.sampler import Logits
from chainkit.local.branches import Branches
from chainkit.local.lookup import Pace
from chainkit.local.soft_prompt import SoftPrompt

END = -1  # the place after the text, where branches begin


@dataclass(eq=False)
class KVSequence:
    """A text in the KV cache of a runtime.

    Attributes:
        tokens: Its tokens.
        owner: The session that it is kept for, while that lives.
        used: When it was used last, by `time.monotonic`.
    """

    tokens: list[int] = field(default_factory=list[int])
    owner: weakref.ref[object] | None = None
    used: float = 0.0

    def belongs_to(self, owner: object) -> bool:
        """Whether it is kept for `owner`."""
        return self.owner is not None and self.owner() is owner

    @property
    def in_use(self) -> bool:
        """Whether its owner is still there."""
        return self.owner is not None and self.owner() is not None


@dataclass(frozen=True, slots=True)
class ForwardRequest:
    """The logits after a text.

    Attributes:
        owner: The session that the sequence is kept for; it is given up when the owner is gone.
        sequence: Where the owner's tokens were last time.
        tokens: The whole text; at least one token.
        known: Number of its tokens that are known to be in `sequence`.
        cancelled: Asked before each pass.
        branches: Continuations of the text; the logits after their inner nodes are wanted too.
    """

    owner: object
    sequence: KVSequence | None
    tokens: Sequence[int]
    known: int
    cancelled: Callable[[], bool]
    branches: Branches | None = None


@dataclass(frozen=True, slots=True)
class ForwardResult:
    """The result of a forward request.

    Attributes:
        sequence: Where the owner's tokens are now.
        computed: Number of tokens that had to be read.
        passes: Number of forward passes that had a part in it.
        logits: After the text, and after each inner node of the branches, [1 + nodes, V].
    """

    sequence: KVSequence | None
    computed: int
    passes: int
    logits: NDArray[np.float32]


class LocalRuntime(Protocol):
    """A loaded model with a KV cache. Its methods may be called from any thread; one computes at a time.

    An exception at any place, an interrupt too, leaves it as if `forward` had not been called.
    """

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""
        ...

    @property
    def context_length(self) -> int:
        """Number of tokens that a text may have."""
        ...

    @property
    def parallel(self) -> int:
        """Number of texts that are best computed in one pass."""
        ...

    @property
    def room(self) -> int | None:
        """Number of tokens that all texts together can have in the KV cache; None: no bound."""
        ...

    @property
    def crowded(self) -> bool:
        """Whether there was no room for all texts at once in the last `forward`."""
        ...

    @property
    def looks_ahead(self) -> bool:
        """Whether proposed tokens are computed in the same pass as the text."""
        ...

    @property
    def takes_soft_prompts(self) -> bool:
        """Whether virtual tokens can stand before a text."""
        ...

    @property
    def pace(self) -> Pace:
        """How long passes take."""
        ...

    def fingerprint(self) -> str | None:
        """Key of everything that its results depend on; None: results are not cached."""
        ...

    def forward(self, requests: Sequence[ForwardRequest]) -> list[ForwardResult]:
        """Compute the missing tokens of all texts in as few passes as possible; an owner may appear only once.

        Raises:
            Cancelled: One of them was cancelled.
        """
        ...

    def pause(self, sequence: KVSequence | None) -> None:
        """Nothing is computed for its owner for a while: others may take its place."""
        ...

    def drop(self, sequence: KVSequence | None, owner: object) -> None:
        """The owner needs its sequence no more; the tokens stay for reuse until the place is needed."""
        ...

    def require_fit(self, prompt: SoftPrompt) -> None:
        """Refuse a soft prompt of another model.

        Raises:
            SoftPromptMismatch: It is one.
        """
        ...


@dataclass(eq=False)
class PendingRead:
    """A forward request while it is computed.

    Attributes:
        request: The forward request.
        start: Number of its tokens that were in the KV cache before.
        passes: Passes that had a part in it.
        logits: After the text (`END`) and after nodes of its branches, as far as they are known.
    """

    request: ForwardRequest
    start: int = 0
    passes: int = 0
    logits: dict[int, Logits] = field(default_factory=dict[int, Logits])

    @property
    def wanted(self) -> list[int]:
        """The inner nodes of its branches."""
        return self.request.branches.inner if self.request.branches else []

    def result(self, sequence: KVSequence) -> ForwardResult:
        """The result of the read."""
        logits = [self.logits[node] for node in (END, *self.wanted)]
        stacked = logits[0][None] if len(logits) == 1 else np.stack(logits)
        return ForwardResult(sequence, len(self.request.tokens) - self.start, self.passes, stacked)


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """Number of tokens that two texts begin with in common."""
    length = min(len(left), len(right))
    if not length or left[0] != right[0]:
        return 0
    differing = np.flatnonzero(np.asarray(left[:length]) != np.asarray(right[:length]))
    return int(differing[0]) if len(differing) else length


def still_known(held: Sequence[int], request: ForwardRequest) -> int:
    """Number of tokens of a request that are in its sequence: perhaps more than it knows, if some were proposed.

    Args:
        held: Tokens of that sequence in the KV cache.
        request: The forward request.
    """
    known = min(request.known, len(held))
    return known + common(held[known:], request.tokens[known:]) if len(held) > known else known
