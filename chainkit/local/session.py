"""A text that a local model reads and continues, token by token."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from chainkit.base.errors import ContextOverflow, Unsupported
from chainkit.base.generation import GenerationRequest
from chainkit.base.session import Counters, Piece, TokenScore
from chainkit.decoding import loop
from chainkit.decoding.sampler import Logits
from chainkit.local.branches import Branches
from chainkit.local.lookup import PromptLookup
from chainkit.local.runtime import ForwardRequest, ForwardResult, KVSequence, LocalRuntime, common
from chainkit.local.soft_prompt import SoftPrompt, holder, virtual_count
from chainkit.local.speculative import DraftLength, sure


@dataclass(frozen=True)
class _Ahead:
    """Logits after proposed tokens: row n holds if the first n + 1 of them are chosen."""

    start: int
    tokens: list[int]
    rows: Sequence[Logits]


class LocalSession:
    """Tokens on a runtime. The tokens are here; the runtime's KV cache only saves reading them again.

    Attributes:
        runtime: What computes.
        tokens: All tokens so far.
        counters: What they have cost.
        lookup: Finds tokens that may come next in the text itself; they are then computed with it. Without one a
            generation makes its own where the cost of passes was measured.
        question: What the text asks, in plain words; lists in a structured answer may repeat what stands there.
        alone: Whether no other text is computed in the same passes; where others are, proposals do not pay.
    """

    def __init__(
        self, runtime: LocalRuntime, tokens: Sequence[int] = (), *, cancelled: threading.Event | None = None
    ) -> None:
        self.runtime, self.vocabulary, self.context_length = runtime, runtime.vocabulary, runtime.context_length
        self.tokens = list(tokens)
        self.counters = Counters()
        self.lookup: PromptLookup | None = None
        self.question = ""
        self.alone = True
        self._held = holder(self.tokens)
        self._sequence: KVSequence | None = None  # where the runtime has our tokens
        self._known = 0  # number of our tokens that have been read and counted
        self._logits: tuple[int, Logits] | None = None
        self._cancelled = cancelled or threading.Event()
        self._asked: Sequence[int] = ()  # tokens that were proposed for the pass that is going on
        self._ahead: _Ahead | None = None
        self._counted = 0  # proposals before this place are in the counters already
        self._draft: LocalSession | None = None
        self._at_once = DraftLength(0)

    @property
    def sequence(self) -> KVSequence | None:
        """Where the tokens are in the KV cache, once they were read."""
        return self._sequence

    def fork(self) -> Self:
        """A second session with the same tokens; what was read is shared and not read again."""
        twin = type(self)(self.runtime, self.tokens)
        twin._logits = self._logits  # the same text has the same next token
        return twin if self._draft is None else twin.drafted_by(self._draft.fork(), self._at_once.most)

    def drafted_by(self, draft: LocalSession, at_once: int) -> Self:
        """Use a session on a smaller model as the draft, with up to `at_once` proposed tokens per pass."""
        self._draft, self._at_once = draft, DraftLength(at_once)
        return self

    def close(self) -> None:
        """Release the place in the KV cache; its content stays reusable until another session needs the room."""
        self.runtime.drop(self._sequence, self)
        self._sequence = None
        if self._draft is not None:
            self._draft.close()

    def begin_with(self, prompt: SoftPrompt | None) -> Self:
        """Put a soft prompt before the text, which must still be empty; None removes the current one.

        Raises:
            SoftPromptMismatch: It was trained on another model.
            Unsupported: This kind of model reads tokens only.
            ValueError: There is text already.
        """
        if len(self.tokens) > self.virtual:
            raise ValueError("a soft prompt must come before the text, and this session has text already")
        if prompt is not None:
            if not self.runtime.takes_soft_prompts or self._draft is not None:  # a draft has vectors of another width
                raise Unsupported("soft prompts run on hf: and gguf: models, without a draft model")
            self.runtime.require_fit(prompt)
        self.tokens = [] if prompt is None else list(prompt.tokens)
        self._held, self._known, self._logits = holder(self.tokens), 0, None
        return self

    @property
    def virtual(self) -> int:
        """Number of tokens of a soft prompt before the text."""
        return virtual_count(self.tokens)

    def append(self, text: str | Sequence[int], *, special: bool = False) -> Self:
        """Put text or tokens at the end; nothing is computed before it is needed.

        The first text gets the model's own first token (BOS) if the model expects one.

        Args:
            text: Text, or tokens of this model.
            special: Read the names of special tokens in the text as those tokens; never for text of a user.

        Raises:
            ContextOverflow: There is no room.
        """
        if isinstance(text, str):
            text = self.vocabulary.tokenize(text, special=special, whole=len(self.tokens) == self.virtual)
        if len(self.tokens) + len(text) > self.context_length:
            raise ContextOverflow(len(self.tokens) + len(text), self.context_length)
        self.tokens.extend(text)
        return self

    def generate(self, request: GenerationRequest | None = None) -> Iterator[Piece]:
        """Continue the text, piece by piece; the last piece has `finish`. The tokens become part of the session.

        So do those of a stop text, which no piece shows: to continue after the visible text, call `rewind()` first.
        """
        return (step for step in self.steps(request or GenerationRequest()) if step is not None)

    def steps(
        self, request: GenerationRequest, matcher: loop.Matcher | None = None, *, known: bytes = b""
    ) -> Iterator[Piece | None]:
        """`generate` with a None before each step that needs logits; see `chainkit.local.scheduler`.

        Args:
            request: What decides the generation.
            matcher: Instead of one made from the request's constraint.
            known: The first bytes of the tokens repeat the end of the text before.
        """
        self.begun()
        own = self._own_lookup(request)
        try:
            if matcher is None and request.constraint is not None:
                matcher = self._guide(request)
            yield from loop.steps(self, request, matcher, known=known)
        finally:
            if own:
                self.lookup = None
            self.runtime.pause(self._sequence)

    def _own_lookup(self, request: GenerationRequest) -> bool:
        """Look up in the text, if nobody else has seen to that, and it is known whether it pays."""
        if self.lookup is not None or self._draft is not None or not self.runtime.pace.measured:
            return False
        self.lookup = PromptLookup(len(self.tokens) + (request.max_tokens or self.context_length))
        return True

    def begun(self) -> Self:
        """This session, with the model's first token if it was empty.

        Raises:
            ValueError: It was empty, and the model has no token that begins a text.
        """
        if len(self.tokens) == self.virtual:
            if self.vocabulary.bos is None:
                raise ValueError("there is no text to continue, and this model has no token that begins one")
            self.tokens.append(self.vocabulary.bos)
        return self

    def cancel(self) -> None:
        """Stop a generation that another thread runs; it raises `Cancelled` before its next computation."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether it was stopped."""
        return self._cancelled.is_set()

    def push(self, tokens: Sequence[int], *, forced: bool) -> None:
        """Tokens that the loop has chosen; they are read when the next logits are asked for."""
        self.tokens.extend(tokens)
        if forced:
            self.counters.forced += len(tokens)
        else:
            self.counters.sampled += len(tokens)

    def logits(self) -> Logits:
        """The logits of the next token, [V]."""
        if not self.ready:
            (result,) = self.runtime.forward([self.request()])
            self.receive(result)
        assert self._logits is not None
        return self._logits[1]

    @property
    def ready(self) -> bool:
        """Whether the logits of the next token are known, perhaps from a pass that looked ahead."""
        if self._logits is not None and self._logits[0] == len(self.tokens):
            return True
        ahead = self._ahead
        done = len(self.tokens) - ahead.start if ahead else 0
        if ahead is None or not 0 < done <= len(ahead.tokens) or self.tokens[ahead.start :] != ahead.tokens[:done]:
            return False
        self._logits = len(self.tokens), ahead.rows[done - 1]
        if len(self.tokens) > self._counted:
            self.counters.accepted += len(self.tokens) - max(self._counted, ahead.start)
            self._counted = len(self.tokens)
        return True

    def request(self, branches: Branches | None = None) -> ForwardRequest:
        """The computation needed before the next step; proposed tokens are computed with the text."""
        if self._ahead is not None and self._draft is not None:
            self._at_once.took(common(self._ahead.tokens, self.tokens[self._ahead.start :]), len(self._ahead.tokens))
        self._ahead, self._asked = None, ()
        if branches is None and (self.lookup is not None or self._draft is not None):
            self._asked = self._proposed()
            if self._asked:
                branches = Branches([[*self._asked, self._asked[-1]]])  # logits are computed after inner nodes only
        return ForwardRequest(self, self._sequence, self.tokens, self._known, self._cancelled.is_set, branches)

    def receive(self, result: ForwardResult) -> None:
        """Take up what the runtime has done."""
        self._sequence = result.sequence
        counters = self.counters
        counters.passes += result.passes
        counters.read += result.computed
        counters.cached += max(0, len(self.tokens) - self._known - result.computed)
        self._known = len(self.tokens)
        self._logits = len(self.tokens), result.logits[0]
        self._ahead = None
        if self._asked:
            counters.drafted += len(self._asked)
            self._ahead = _Ahead(len(self.tokens), list(self._asked), list(result.logits[1:]))
            self._asked = ()

    def _proposed(self) -> list[int]:
        """Tokens that may come next."""
        room = self.context_length - len(self.tokens) - 1
        if self._draft is not None:
            return self._drafted(
                self._draft, min(self._at_once.value(self.runtime.pace, self._draft.runtime.pace), room)
            )
        if self.lookup is None or not self.alone or not self.runtime.looks_ahead:
            return []
        return self.lookup.proposed(self.tokens, self.runtime.pace.cost)[: max(0, room)]

    def _drafted(self, draft: LocalSession, room: int) -> list[int]:
        """Tokens that the draft model is confident about."""
        found: list[int] = []
        room = min(room, draft.context_length - len(self.tokens))
        if room <= 0:
            return found
        draft.rewind(common(draft.tokens, self.tokens)).append(self.tokens[len(draft.tokens) :])
        while len(found) < room:
            token = sure(draft.logits())
            if token is None or token >= self.vocabulary.size or self.vocabulary.is_end(token):
                break
            found.append(token)
            draft.append([token])
        draft.runtime.pause(draft.sequence)
        return found

    def score(self, options: Sequence[str]) -> list[float]:
        """The joint log-probability of each text as the continuation of this one; the session is unchanged.

        All are computed together, and what they begin with in common once; an empty text has the log-probability 0.
        """
        return self.score_tokens([self.vocabulary.tokenize(option) for option in options])

    def score_tokens(self, options: Sequence[Sequence[int]]) -> list[float]:
        """As `score`, for tokens.

        Raises:
            ContextOverflow: There is no room for the longest.
        """
        tree = self.begun().branches(options)
        if not tree.inner:  # single tokens: what may be known already is all that is needed
            scores = tree.joint(self.logits(), [])
        else:
            (result,) = self.runtime.forward([self.request(tree)])
            self.receive(result)
            scores = tree.joint(result.logits[0], result.logits[1:])
        self.runtime.pause(self._sequence)
        return scores

    def branches(self, options: Sequence[Sequence[int]]) -> Branches:
        """Continuations as a tree.

        Raises:
            ContextOverflow: There is no room for the longest.
        """
        longest = len(self.tokens) + max((len(option) for option in options), default=0)
        if longest > self.context_length:
            raise ContextOverflow(longest, self.context_length)
        return Branches(options)

    def next_tokens(self, count: int) -> list[TokenScore]:
        """The likeliest next tokens with their log-probabilities, the likeliest first."""
        logits = self.begun().logits()
        best = (-logits).argsort(kind="stable")[:count]
        self.runtime.pause(self._sequence)
        return [loop.token_score(logits, int(token), self.vocabulary, 0) for token in best]

    def rewind(self, length: int) -> Self:
        """Forget all but the first `length` tokens.

        Raises:
            ValueError: The session has fewer tokens.
        """
        if not 0 <= length <= len(self.tokens):
            raise ValueError(f"cannot rewind to {length} tokens: the session has {len(self.tokens)}")
        if length < len(self.tokens):
            del self.tokens[length:]
            self._known, self._logits = min(self._known, length), None
            self._counted = min(self._counted, length)
            if self._ahead is not None and length < self._ahead.start:
                self._ahead = None
        return self

    @property
    def text(self) -> str:
        """The text of all tokens; control tokens are left out."""
        return self.vocabulary.detokenize(self.tokens[self.virtual :])

    def _guide(self, request: GenerationRequest) -> loop.Matcher:
        from chainkit.decoding.guide import Guide  # llguidance is only needed for constraints

        constraint: Any = request.constraint
        behind = (*request.stop, request.following)
        tokens = self.vocabulary.guide_tokens()
        return Guide(tokens, constraint, behind=behind, vocabulary=self.vocabulary, question=self.question)
