"""A constraint on the way through one generation: which tokens may come next, by llguidance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chainkit.base.errors import ChainkitError, ConstraintError, MissingLibrary
from chainkit.decoding.closing import Closing
from chainkit.decoding.constraints import Constraint
from chainkit.decoding.healing import spellings
from chainkit.decoding.lists import Lists
from chainkit.decoding.loop import Vocabulary
from chainkit.decoding.sampler import Logits
from chainkit.decoding.trail import Trail

try:
    import llguidance.numpy as bitmasks
    from llguidance import LLMatcher, LLTokenizer
except ImportError as error:
    raise MissingLibrary("llguidance", extra="gguf") from error


class Guide:
    """Walks through a grammar, token by token; see `chainkit.decoding.loop.Matcher`.

    Args:
        tokenizer: The tokens of the model; making one takes seconds for a large vocabulary, so keep it.
        constraint: The constraint to follow.
        behind: Texts that may follow: once the constraint is fulfilled, a token of one of them ends the text.
        vocabulary: The same tokens; needed with `behind`.
        question: What is answered; lists may repeat what stands there.

    Raises:
        ConstraintError: The grammar does not work with these tokens.
    """

    def __init__(
        self,
        tokenizer: LLTokenizer,
        constraint: Constraint,
        *,
        behind: Sequence[str] = (),
        vocabulary: Vocabulary | None = None,
        question: str = "",
    ) -> None:
        self._constraint = constraint
        self._behind, self._vocabulary = [text.encode() for text in behind if text], vocabulary
        self._closing: NDArray[np.int64] | None = None
        self._matcher = LLMatcher(tokenizer, constraint.grammar, log_level=0)
        self._ends = frozenset(tokenizer.eos_tokens)
        self._mask = bitmasks.allocate_token_bitmask(1, tokenizer.vocab_size)
        self._tokenizer = tokenizer
        self._trail = Trail(constraint.check, constraint.name) if constraint.check is not None else None
        self._lists: Lists | None = None
        if constraint.hint and vocabulary:
            rewinds = self._trail is None and not constraint.repeats
            self._lists = Lists(self._matcher, tokenizer, vocabulary, question=question, rewinds=rewinds)
        self._closing_end = Closing(self._matcher, tokenizer) if constraint.closes else None
        self._check()

    @property
    def held(self) -> bool:
        """Whether the end of the text may be taken back."""
        return self._trail is not None or (self._lists is not None and self._lists.rewinds)

    @property
    def pending(self) -> float:
        """How many tokens at the end may be taken back; no limit where the whole text is checked."""
        if self._trail is not None:
            return math.inf
        return self._lists.pending if self._lists is not None else 0

    @property
    def complete(self) -> bool:
        """Whether nothing can follow."""
        return self._matcher.is_stopped() and self._whole

    @property
    def fulfilled(self) -> bool:
        """Whether the text so far is one that the constraint allows."""
        return self._matcher.is_accepting() and self._whole

    @property
    def _whole(self) -> bool:
        if self._lists is not None and self._lists.stuck:
            return False
        return self._trail is None or self._trail.whole()

    @property
    def stuck(self) -> bool:
        """Whether nothing may follow, though the text is not one that the constraint allows."""
        if self._trail is None:
            return self._lists is not None and self._lists.stuck
        return self._trail.stuck or (self._matcher.is_stopped() and not self._trail.whole())

    def retreat(self) -> int:
        """Go back to where another way can be tried, after `stuck`; how many tokens are taken back.

        Raises:
            ConstraintNotMet: There is none, or too many have been tried.
        """
        if self._trail is None:
            assert self._lists is not None
            count = self._lists.retreat()
            self._matcher.rollback(count)
            return count
        gone = self._trail.retreat(ended=self._matcher.is_accepting())
        self._matcher.rollback(len(gone))
        if self._lists is not None:
            self._lists.restart(self._trail.data)
        return len(gone)

    def forced(self) -> list[int]:
        """Tokens that are the only way on."""
        tokens: list[int] = []
        for token in self._matcher.compute_ff_tokens():
            if token in self._ends:
                break
            tokens.append(token)
        if tokens and self._trail is not None:
            self._trail.stuck = self._trail.stuck or not self._trail.permits(self._bytes(tokens))
        return tokens

    def ending(self, room: int) -> list[int]:
        """The tokens that make the text whole, once there is room for hardly more than these."""
        return self._closing_end.tokens(room) if self._closing_end is not None else []

    def allowed(self, logits: Logits) -> Logits:
        """A copy of the scores, [V], with -inf for every token that may not come; none may if it is then `stuck`."""
        bitmasks.fill_next_token_bitmask(self._matcher, self._mask)
        bits = np.unpackbits(self._mask.view(np.uint8).ravel(), count=len(logits), bitorder="little")
        if self._behind and self.fulfilled:
            bits[self._closing_tokens()] = 1
        if self._trail is not None:
            bits[list(self._trail.refused)] = 0
            self._trail.stuck = self._trail.stuck or not bits.any()
        if self._lists is not None:
            self._lists.narrow(bits)
        masked = np.where(bits, logits, np.float32(-np.inf))
        self._check()
        if self._trail is not None:
            return masked
        if not bits.any():
            raise ConstraintError(f"no token of this model can go on with {self._constraint.name}")
        return masked

    def permits(self, token: int) -> bool:
        """Whether this token may come, an end too where the text may end."""
        if self._lists is not None and self._lists.refuses(token):
            return False
        if self._trail is None:
            return self._follows(token)
        if token in self._trail.refused:
            return False
        good = self._follows(token)
        if good and token not in self._ends and not self.closes(token):
            good = self._trail.permits(self._bytes([token]))
        if not good:
            self._trail.refuse(token)
        return good

    def _follows(self, token: int) -> bool:
        if token in self._ends:
            return self.fulfilled
        return self._matcher.validate_tokens([token]) == 1 or self.closes(token)

    def _bytes(self, tokens: Sequence[int]) -> bytes:
        return self._tokenizer.decode_bytes(list(tokens))

    def closes(self, token: int) -> bool:
        """Whether this token ends the text because it begins the text that follows."""
        return (
            bool(self._behind)
            and self.fulfilled
            and token in self._closing_tokens()
            and self._matcher.validate_tokens([token]) != 1
        )

    def _closing_tokens(self) -> NDArray[np.int64]:
        if self._closing is None:
            assert self._vocabulary is not None
            table = spellings(self._vocabulary)
            found = {int(token) for text in self._behind for token in table.beginning_with(text)}
            found.update(token for text in self._behind for token in table.leading_to(text))
            self._closing = np.array(sorted(found), dtype=np.int64)
        return self._closing

    def openings(self, token: int) -> list[list[int]]:
        """Where a token opens a list of texts: it with the end of the list, and the tokens that begin a text too."""
        return self._lists.openings(token) if self._lists is not None else []

    def fits(self, text: str) -> bool:
        """Whether the constraint allows this text as a whole."""
        probe = self._matcher.deep_copy()
        probe.reset()
        tokens = self._tokenizer.tokenize_bytes(text.encode())
        return probe.try_consume_tokens(tokens) == len(tokens) and probe.is_accepting()

    def accept(self, tokens: Sequence[int]) -> None:
        """Go on after these tokens."""
        if not self._matcher.consume_tokens(list(tokens)):
            self._check()
            raise ChainkitError(f"the tokens {list(tokens)} do not follow {self._constraint.name}")
        if self._trail is not None:
            self._trail.add(tokens, self._bytes(tokens))
        if self._lists is not None:
            self._lists.watch(tokens)
        if self._closing_end is not None:
            self._closing_end.watch(self._bytes(tokens))

    def _check(self) -> None:
        # LLMatcher reports and does not raise
        if self._matcher.is_error():
            fault = self._matcher.get_error().strip()
            raise ConstraintError(f"{self._constraint.name} cannot be followed: {fault[:500]}")
