"""The protocol between the program executor and any model.

The executor never computes. It keeps a `Context` up to date (text that the model has in front of it; append, fork and
rewind cost nothing until something is generated) and hands `Job`s to a `JobRunner`:

    work = engine.runner(streaming=False)
    work.submit(1, Generate(context, slot))          # any number of jobs, of any number of runs of any program
    work.submit(2, Score(other, ("yes", "no")))
    for number, news in work.step():                  # blocks until there is news; [] only when there are no jobs
        ...                                           # Piece: text that came; SlotResult, OptionScores: the job is done

All rows of a batch, of `each parallel=True`, of `gen n=3` and of a list of programs come as jobs of one `JobRunner`,
and a row that is done submits its next slot before the next `step`: a model that reads several rows in one forward pass
sees them all. Jobs that are open at the same time never share a context; their contexts may be forks of one another.

What the executor does itself, so that no engine need: loops, `n` (as forks), hidden blocks (as rewinds), seeds of rows
and slots, stop texts out of the template, the parsing of values, the calling of tools, bounds on tokens and time.
What an engine does: tokens, roles, stops, forms, healing of the border between text and slot, and any cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self, TypeAlias, runtime_checkable

from chainkit.base.session import Counters, FinishReason, Piece, TokenScore

Method = Literal["joint", "greedy", "normalised", "unconditional"]
"""How `select` compares options: see `Score`."""


@dataclass(slots=True)
class Tally(Counters):
    """The cost of a run; its contexts share one tally.

    Attributes:
        passes: Forward passes that read or sampled something of this run; 0 where the model does not tell.
        calls: Requests to a hosted model.
    """

    passes: int = 0
    calls: int = 0


@dataclass(frozen=True, kw_only=True)
class Form:
    """The required form of a slot's text; exactly one field is set.

    Attributes:
        pattern: A regular expression that the whole text matches.
        options: The text is one of these.
        schema: JSON of this type or JSON schema (see `chainkit.decoding.constraints.json_schema`).
        grammar: A grammar in Lark's syntax.
    """

    pattern: str | None = None
    options: tuple[str, ...] = ()
    schema: Any = None
    grammar: str | None = None

    def __str__(self) -> str:
        if self.pattern is not None:
            return f"text that matches {self.pattern!r}"
        if self.options:
            return f"one of {', '.join(map(repr, self.options))}"
        return "text of the grammar" if self.grammar is not None else "JSON of the schema"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One place where the model writes.

    Attributes:
        name: The variable, for messages; may be empty.
        temperature: 0 always takes the likeliest token.
        top_p: Only the likeliest tokens with this total probability are candidates.
        max_tokens: The bound on new tokens.
        seed: The same seed gives the same text; None draws a fresh one.
        stop: The slot ends before the first of these texts. The context then holds the text without it.
        stop_regex: Likewise for regular expressions of Python's `re`.
        form: Form that the text must have.
        logprobs: Return each token's log-probability, with this many alternatives.
        token_healing: Whether the last token of the text before may be replaced by one that begins with its bytes;
            None leaves it to the engine.
        following: Literal text after the slot in the template; "" where it is unknown.
        tools: Descriptions in OpenAI's form; the answer may then be calls, see `SlotResult.calls`.
        tool_choice: "auto", "any", "none" or the name of a tool.
        retries: How often a model that cannot be forced is asked again for an answer in the right form.
        settings: Settings of the model itself, passed through.
        given: Names of the fields above that the template's author wrote; others have the language's defaults.
    """

    name: str = ""
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 500
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_regex: tuple[str, ...] = ()
    form: Form | None = None
    logprobs: int | None = None
    token_healing: bool | None = None
    following: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str = "auto"
    retries: int = 2
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A call that the model asks for.

    Attributes:
        name: The tool.
        arguments: By name.
        id: What the model calls it.
    """

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class SlotResult:
    """The result of a slot. The context now ends with `text`.

    Attributes:
        text: All of it, without the stop text.
        finish: Why it ended; with "length" a form may be incomplete.
        detail: What the limit was, if `finish` is "length".
        stop_text: What stopped it, if `finish` is "stop".
        tokens: The tokens of `text` where the engine knows tokens, for `Context.replay`.
        scores: One per token if log-probabilities were asked for.
        calls: Tool calls; `text` then holds what the model wrote beside them.
        data: Whatever else `Context.replay` needs; must be picklable.
    """

    text: str
    finish: FinishReason = "stop"
    detail: str = ""
    stop_text: str = ""
    tokens: tuple[int, ...] = ()
    scores: tuple[TokenScore, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    data: Any = None


@dataclass(frozen=True)
class OptionScores:
    """Natural logarithms, one per option, in the order of the options; larger is better.

    Attributes:
        logprobs: By the method that was asked for; not normalised over the options.
    """

    logprobs: tuple[float, ...]


@runtime_checkable
class Context(Protocol):
    """Text that a model has in front of it. Nothing here computes; one job at a time uses a context."""

    @property
    def prompt(self) -> str:
        """All the model would read now, with the marks of roles, as text."""
        ...

    def append(self, text: str) -> None:
        """Put text at the end. Special tokens named in it are plain text.

        On a chat model, text outside of roles must be white space (it is dropped), else `Unsupported` is raised.
        """
        ...

    def open(self, role: str, attributes: Mapping[str, str]) -> None:
        """Begin a message; "system", "user", "assistant", "tool" and "function" are known everywhere."""
        ...

    def close(self) -> None:
        """End the message that is open."""
        ...

    def add_tool_result(self, call: ToolCall, result: str) -> None:
        """The result of a call that the last `SlotResult` asked for; the next generation sees it."""
        ...

    def mark(self) -> object:
        """A place to go back to."""
        ...

    def rewind(self, mark: Any) -> None:
        """Forget all that came after the mark; a role that was open then is open again."""
        ...

    def fork(self) -> Self:
        """A second context with the same text and the same tally; the KV cache is shared."""
        ...

    def replay(self, written: SlotResult) -> None:
        """Take up what a slot wrote in an earlier run, as if it had been generated here."""
        ...

    def release(self) -> None:
        """Release the context; its KV data may stay for reuse. Called once, also after errors."""
        ...


@dataclass(frozen=True)
class Generate:
    """Fill a slot at the end of a context."""

    context: Context
    slot: Slot


@dataclass(frozen=True)
class Score:
    """Compare texts as continuations of a context, which is unchanged.

    Attributes:
        context: What comes before.
        options: Different texts, none empty; some may begin with others.
        following: Literal text after the chosen option, "" where it is unknown. It separates options that share a
            beginning, and decides which token crosses the border.
        method: "joint": log-probability of the option as a whole. "normalised": that by number of its tokens.
            "unconditional": that less its log-probability without the context. ("greedy" is never asked here: the
            executor generates a slot whose form is the options.)
    """

    context: Context
    options: tuple[str, ...]
    following: str = ""
    method: Method = "joint"


Job: TypeAlias = Generate | Score
JobUpdate: TypeAlias = Piece | SlotResult | OptionScores


class JobRunner(Protocol):
    """Jobs that run together. One thread, or one event loop, uses it."""

    def submit(self, number: int, job: Job) -> None:
        """Take up a job; nothing is computed yet."""
        ...

    def step(self) -> Sequence[tuple[int, JobUpdate | BaseException]]:
        """Go on a little with all jobs and tell what came; an exception ends the one job whose number it has."""
        ...

    async def astep(self) -> Sequence[tuple[int, JobUpdate | BaseException]]:
        """As `step`, without blocking the event loop."""
        ...

    def close(self) -> None:
        """Drop all jobs, also those that another thread computes."""
        ...


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """Abilities of a model; programs that need more are refused before anything is sent.

    Attributes:
        name: The model, for messages.
        continues: Whether it can go on inside a text or an assistant's message that has begun.
        roles: "text": roles are marks in the text. "messages": it takes messages and nothing else. "either": it takes
            messages, and a program without roles as text.
        forces: Whether forms are certain; where not, answers are checked and asked for again.
        scores: Whether it tells how likely given texts are.
        logprobs: Whether it tells how likely its own tokens are.
        grammars: Whether it follows a grammar.
        soft_prompts: Whether trained virtual tokens can stand before a text; its `context` then takes `soft_prompt=`.
    """

    name: str
    continues: bool
    roles: Literal["text", "messages", "either"]
    forces: bool
    scores: bool
    logprobs: bool
    grammars: bool
    soft_prompts: bool = False


class ProgramModel(Protocol):
    """A model as programs see it. Safe to use from several threads; each run has separate contexts and jobs."""

    abilities: Abilities

    def context(self, tally: Tally, *, roles: bool, config: Any = None) -> Context:
        """An empty context.

        Args:
            tally: Where the cost is counted.
            roles: Whether the program has roles.
            config: A langchain-core RunnableConfig for the calls of a hosted model.
        """
        ...

    def runner(self, *, streaming: bool, rows: int | None = None) -> JobRunner:
        """A place for jobs.

        Args:
            streaming: Whether to report pieces as they come; otherwise only results.
            rows: How many jobs may be computed at once; None leaves it to the engine.
        """
        ...
