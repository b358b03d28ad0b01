"""A text that a model has read, token by token: what the sessions of all backends have in common."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from chainkit.base.errors import ContextOverflow, Unsupported
from chainkit.base.sampling import Sampling
from chainkit.base.session import Counters, Piece, TokenScore
from chainkit.decoding import loop
from chainkit.decoding.sampler import Logits
from chainkit.local.branches import Branches
from chainkit.local.conversation import Vocabulary
from chainkit.local.lookup import WIDTH, Lookup
from chainkit.local.requests import Answer, Request, common
from chainkit.local.soft_prompt import SoftPrompt, holder, virtual_count

if TYPE_CHECKING:
    from chainkit.decoding.constraints import Constraint


class SessionVocabulary(Vocabulary, loop.Vocabulary, Protocol):
    """What a session must know about tokens."""

    def tokenize(self, text: str, *, special: bool = False, whole: bool = False) -> list[int]:
        """The tokens of a text; with `whole`, as of a text that stands alone and begins as the model expects."""
        ...

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        ...

    def guide_tokens(self) -> Any:
        """The tokens as llguidance wants them."""
        ...


@dataclass(frozen=True)
class _Ahead:
    """Scores behind proposed tokens: row n is what follows if the first n + 1 of them are chosen."""

    start: int
    tokens: list[int]
    rows: Sequence[Logits]


class LocalSession(ABC):
    """Tokens on an engine. The tokens are here; what the engine has computed of them is only a cache.

    A backend adds where its engine keeps them.

    Attributes:
        engine: What computes.
        tokens: All tokens so far.
        counters: What they have cost.
        lookup: Finds tokens that may come next in the text itself; they are then computed with it.
        alone: Whether no other text is computed in the same passes; where others are, proposals do not pay.
    """

    lookup: Lookup | None = None
    alone = True
    _asked: Sequence[int] = ()  # tokens that were proposed for the pass that is going on
    _ahead: _Ahead | None = None
    _counted = 0  # proposals before this place are in the counters already

    engine: Any  # an `Engine` of chainkit.local.requests; each backend names its own
    takes_vectors: ClassVar[bool] = False  # whether a soft prompt can stand before the text

    def __init__(self, tokens: Sequence[int] = (), *, cancelled: threading.Event | None = None) -> None:
        self._place: Any = None  # where the engine has our tokens
        self.tokens = list(tokens)
        self._held = holder(self.tokens)
        self.counters = Counters()
        self._known = 0  # so many of our tokens have been read and counted
        self._logits: tuple[int, Logits] | None = None
        self._cancelled = cancelled or threading.Event()

    @property
    @abstractmethod
    def vocabulary(self) -> SessionVocabulary:
        """The model's tokens."""

    @abstractmethod
    def fork(self) -> Self:
        """A second session with the same tokens; what was read is not read again."""

    @abstractmethod
    def close(self) -> None:
        """Give the memory to others; what was read stays there for reuse until they need the place."""

    @abstractmethod
    def _pause(self) -> None:
        """Nothing is computed for a while: others may take the place in memory."""

    @property
    def limit(self) -> int:
        """How many tokens the context holds."""
        return self.engine.limit

    def begin_with(self, prompt: SoftPrompt | None) -> Self:
        """Put a soft prompt before the text, which must not have begun; None takes the one there is away.

        Raises:
            SoftPromptMismatch: It was trained on another model.
            Unsupported: This kind of model reads tokens only.
            ValueError: There is text already.
        """
        if len(self.tokens) > self.virtual:
            raise ValueError("a soft prompt stands before the text, and this session has text already")
        if prompt is not None:
            if not self.takes_vectors:
                raise Unsupported("soft prompts run on hf: and gguf: models, without a draft model")
            self.engine.require_fit(prompt)
        self.tokens = [] if prompt is None else list(prompt.tokens)
        self._held, self._known, self._logits = holder(self.tokens), 0, None
        return self

    @property
    def virtual(self) -> int:
        """How many tokens of a soft prompt stand before the text."""
        return virtual_count(self.tokens)

    def append(self, text: str | Sequence[int], *, special: bool = False) -> Self:
        """Put text or tokens at the end; nothing is computed before it is needed.

        The first text gets the model's own first token (BOS) if the model expects one.

        Raises:
            ContextOverflow: There is no room.
        """
        if isinstance(text, str):
            text = self.vocabulary.tokenize(text, special=special, whole=len(self.tokens) == self.virtual)
        if len(self.tokens) + len(text) > self.limit:
            raise ContextOverflow(len(self.tokens) + len(text), self.limit)
        self.tokens.extend(text)
        return self

    def generate(
        self, sampling: Sampling, constraint: Constraint | None = None, *, logprobs: int | None = None
    ) -> Iterator[Piece]:
        """Continue the text, piece by piece; the last piece has `finish`.

        Args:
            sampling: How tokens are chosen, and when to stop.
            constraint: What may be generated.
            logprobs: Give each token's log-probability, with so many of its likeliest rivals.
        """
        return (step for step in self.steps(sampling, constraint, logprobs=logprobs) if step is not None)

    def steps(
        self,
        sampling: Sampling,
        constraint: Constraint | None = None,
        *,
        logprobs: int | None = None,
        matcher: loop.Matcher | None = None,
        known: bytes = b"",
    ) -> Iterator[Piece | None]:
        """`generate` with a None before each step that needs logits; see `chainkit.local.rows`.

        Args:
            sampling: How tokens are chosen, and when to stop.
            constraint: What may be generated.
            logprobs: Give each token's log-probability.
            matcher: Instead of a constraint.
            known: What the tokens begin with belongs to the text before.
        """
        self.begun()
        try:
            matcher = matcher or self._guide(constraint)
            yield from loop.steps(self, sampling, matcher, logprobs=logprobs, known=known)
        finally:
            self._pause()

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
        """Whether somebody has stopped it."""
        return self._cancelled.is_set()

    def push(self, tokens: Sequence[int], *, forced: bool) -> None:
        """Tokens that the loop has chosen; they are read when the next logits are asked for."""
        self.tokens.extend(tokens)
        if forced:
            self.counters.forced += len(tokens)
        else:
            self.counters.sampled += len(tokens)

    def logits(self) -> Logits:
        """The scores of the next token, [V]."""
        if not self.ready:
            (answer,) = self.engine.together([self.request()])
            self.receive(answer)
        assert self._logits is not None
        return self._logits[1]

    @property
    def ready(self) -> bool:
        """Whether the scores of the next token are known, perhaps from a pass that looked ahead."""
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

    def request(self, branches: Branches | None = None) -> Request[Any]:
        """What the engine must do for us before our next step; proposed tokens are computed with the text."""
        self._learn()
        self._asked = () if branches is not None else self._proposed()
        if self._asked:
            branches = Branches([[*self._asked, self._asked[-1]]])  # scores are computed behind inner nodes only
        return Request(self, self._place, self.tokens, self._known, self._cancelled.is_set, branches)

    def receive(self, answer: Answer[Any]) -> None:
        """Take up what the engine has done."""
        self._place = answer.place
        self.counters.passes += answer.passes
        self.counters.read += answer.computed
        self.counters.cached += max(0, len(self.tokens) - self._known - answer.computed)
        self._known = len(self.tokens)
        self._logits = len(self.tokens), answer.logits[0]
        self._ahead = None
        if self._asked:
            self.counters.drafted += len(self._asked)
            self._ahead = _Ahead(len(self.tokens), list(self._asked), list(answer.logits[1:]))
            self._asked = ()

    def _proposed(self) -> list[int]:
        """Tokens that may come next."""
        if self.lookup is None or not self.alone or not getattr(self.engine, "looks_ahead", False):
            return []
        room = self.limit - len(self.tokens) - 1
        return self.lookup.proposed(self.tokens, self.engine.pace.cost(WIDTH + 1))[: max(0, room)]

    def _learn(self) -> None:
        """Tell who proposed how good it was."""
        if self._ahead is not None and self.lookup is not None and hasattr(self.engine, "pace"):
            accepted = common(self._ahead.tokens, self.tokens[self._ahead.start :])
            cost = self.engine.pace.cost(len(self._ahead.tokens) + 1)
            self.lookup.took(accepted, len(self.tokens), cost)
            self._ahead = None

    def score(self, options: Sequence[str]) -> list[float]:
        """The joint log-probability of each text as the continuation of this one; the session stays as it is.

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
            (answer,) = self.engine.together([self.request(tree)])
            self.receive(answer)
            scores = tree.joint(answer.logits[0], answer.logits[1:])
        self._pause()
        return scores

    def branches(self, options: Sequence[Sequence[int]]) -> Branches:
        """Continuations as a tree.

        Raises:
            ContextOverflow: There is no room for the longest.
        """
        longest = len(self.tokens) + max((len(option) for option in options), default=0)
        if longest > self.limit:
            raise ContextOverflow(longest, self.limit)
        return Branches(options)

    def next_tokens(self, count: int) -> list[TokenScore]:
        """The likeliest next tokens with their log-probabilities, the likeliest first."""
        logits = self.begun().logits()
        best = (-logits).argsort(kind="stable")[:count]
        self._pause()
        return [loop.token_score(logits, int(token), self.vocabulary, 0) for token in best]

    def rewind(self, length: int) -> Self:
        """Forget all but the first `length` tokens.

        Raises:
            ValueError: There are not so many.
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

    def _guide(self, constraint: Constraint | None) -> loop.Matcher | None:
        if constraint is None:
            return None
        from chainkit.decoding.guide import Guide  # llguidance is only needed for constraints

        return Guide(self.vocabulary.guide_tokens(), constraint)
