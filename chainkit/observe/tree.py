"""A trace as a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from chainkit.observe.prices import price
from chainkit.observe.step import Step, dumped


def tree(steps: Sequence[Step], shorten: int | None = 300) -> str:
    """The steps with prompts, answers, tokens, time and cost, and a line with the sums.

    Args:
        steps: The outermost steps.
        shorten: Characters of each text that are shown; None for all.
    """
    lines = [line for step in steps for line in _lines(step, shorten)]
    return "\n".join([*lines, totals([model for step in steps for model in step.models])])


def totals(models: Sequence[Step]) -> str:
    """Totals over model calls, and the counts that are unknown.

    >>> totals([])
    'no model was called'
    """
    if not models:
        return "no model was called"
    calls = f"{len(models)} call{'s' * (len(models) > 1)}"
    read, written = (
        sum(n or 0 for n in counts) for counts in ((m.input_tokens for m in models), (m.output_tokens for m in models))
    )
    uncounted = sum(model.input_tokens is None for model in models)
    tokens = "tokens unknown" if uncounted == len(models) else f"{read} tokens in, {written} out"
    if 0 < uncounted < len(models):
        tokens += f" (not counted: {uncounted} of {calls})"
    return f"{calls}, {tokens}, {_costs(models)}"


def dollars(cost: float | None) -> str:
    """Format an amount in US dollars.

    >>> dollars(0.00012), dollars(1.5), dollars(None)
    ('$0.000120', '$1.5000', 'cost unknown')
    """
    return "cost unknown" if cost is None else f"${cost:.6f}" if cost < 0.01 else f"${cost:.4f}"


def _costs(models: Sequence[Step]) -> str:
    known = [model for model in models if model.cost is not None]
    if not known:
        return "cost unknown"
    days = {row.as_of for model in known if (row := price(model.provider, model.model))}
    text = f"about {dollars(sum(model.cost or 0 for model in known))} at prices of {', '.join(sorted(days)) or 'then'}"
    missing = len(models) - len(known)
    return text + (f", without {missing} of unknown price" if missing else "")


def _lines(step: Step, shorten: int | None, lead: str = "", rest: str = "") -> Iterator[str]:
    yield lead + _headline(step)
    inner = rest + ("│  " if step.children else "   ")
    for line in _texts(step, shorten):
        yield inner + line
    for number, child in enumerate(step.children, 1):
        last = number == len(step.children)
        yield from _lines(child, shorten, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _headline(step: Step) -> str:
    parts = [step.name + (f" {step.model}" if step.model and step.model != step.name else "")]
    parts.append("not ended" if step.seconds is None else f"{step.seconds:.2f} s")
    if step.kind == "model":
        counted = step.input_tokens is not None
        parts.append(f"{step.input_tokens} tokens in, {step.output_tokens} out" if counted else "tokens unknown")
        parts.append(dollars(step.cost))
    if answered := step.details.get("answered_by"):
        parts.append(f"answered by {answered}")
    if retries := step.details.get("retries"):
        parts.append(f"{retries} {'retry' if retries == 1 else 'retries'}")
    return "  ".join(parts)


def _texts(step: Step, shorten: int | None) -> Iterator[str]:
    pairs = [(f"[{role}]", content) for role, content in step.messages]
    if step.kind == "model" and step.output is not None:
        calls = step.output.get("tool_calls") if isinstance(step.output, dict) else None
        pairs.append(("->", dumped(calls) if calls and not step.answer else step.answer))
    if step.error:
        pairs.append(("error:", step.error))
    for mark, content in pairs:
        text = content if isinstance(content, str) else dumped(content)
        yield from _indented(mark, _short(text, shorten).splitlines() or [""])


def _indented(mark: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"{mark if number == 0 else ' ' * len(mark)} {line}".rstrip()


def _short(text: str, limit: int | None) -> str:
    if limit is None or len(text) <= limit:
        return text
    return f"{text[:limit]}... ({len(text)} characters)"
