"""How fast a local model reads and writes on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from chainkit.local.session import LocalSession

WIDTHS = (1, 2, 4, 8, 16, 32)
"""Tokens of the passes that are timed one by one."""
_ROUNDS = 3
_WARM = 16  # tokens that are read before anything is timed: pages of the file, tables, threads


@dataclass(frozen=True, kw_only=True)
class MeasuredSpeed:
    """How long passes of a model took, by the clock, each the best of three rounds.

    Attributes:
        prompt_tokens: Length of the prompt that was read.
        prompt: Tokens of it read per second.
        decode_tokens: Tokens that were written after it, one by one.
        decode: Written tokens per second.
        passes: Seconds of a pass by its number of tokens, after the prompt.
        cpu_prompt: Seconds of CPU for each token of the prompt, all threads together.
        cpu_decode: The same for each token that was written.
    """

    prompt_tokens: int
    prompt: float
    decode_tokens: int
    decode: float
    passes: dict[int, float]
    cpu_prompt: float
    cpu_decode: float


def measure(session: Callable[[], LocalSession], *, prompt_tokens: int = 512, decode_tokens: int = 32) -> MeasuredSpeed:
    """Read a prompt and continue it, three times over, on sessions that share nothing.

    The tokens are those of the vocabulary in order: what they say does not change the time, but a prompt that was read
    before would. Both lengths shrink to what the context has room for.

    Args:
        session: Makes an empty session.
        prompt_tokens: Length of the prompt.
        decode_tokens: Tokens to continue it by, one pass each.
    """
    first = session()
    room = first.context_length - sum(WIDTHS) - 1
    decode_tokens = max(1, min(decode_tokens, room // 4))
    prompt_tokens = max(1, min(prompt_tokens, room - decode_tokens))
    first.append(_tokens(first, 0, _WARM)).logits()
    first.close()
    rounds = [_round(session(), number, prompt_tokens, decode_tokens) for number in range(1, _ROUNDS + 1)]
    reading, reading_cpu = min(one.prompt for one in rounds), min(one.prompt_cpu for one in rounds)
    writing, writing_cpu = min(one.decode for one in rounds), min(one.decode_cpu for one in rounds)
    return MeasuredSpeed(
        prompt_tokens=prompt_tokens,
        prompt=prompt_tokens / reading,
        decode_tokens=decode_tokens,
        decode=decode_tokens / writing,
        passes={width: min(one.passes[width] for one in rounds) for width in WIDTHS},
        cpu_prompt=reading_cpu / prompt_tokens,
        cpu_decode=writing_cpu / decode_tokens,
    )


@dataclass(frozen=True, kw_only=True)
class _Round:
    prompt: float
    prompt_cpu: float
    decode: float
    decode_cpu: float
    passes: dict[int, float]


def _round(session: LocalSession, number: int, prompt_tokens: int, decode_tokens: int) -> _Round:
    """Time one prompt and what follows it; `number` makes its tokens differ from those of other rounds."""
    tokens = iter(_tokens(session, number, prompt_tokens + decode_tokens + sum(WIDTHS)))

    def seconds(count: int) -> tuple[float, float]:
        session.append([next(tokens) for _ in range(count)])
        clock, cpu = time.perf_counter(), time.process_time()
        session.logits()
        return time.perf_counter() - clock, time.process_time() - cpu

    prompt, prompt_cpu = seconds(prompt_tokens)
    steps = [seconds(1) for _ in range(decode_tokens)]
    passes = {width: seconds(width)[0] for width in WIDTHS}
    session.close()
    return _Round(
        prompt=prompt,
        prompt_cpu=prompt_cpu,
        decode=sum(clock for clock, _ in steps),
        decode_cpu=sum(cpu for _, cpu in steps),
        passes=passes,
    )


def _tokens(session: LocalSession, number: int, count: int) -> list[int]:
    """Tokens from anywhere in the vocabulary; each number begins at another place."""
    size = session.vocabulary.size
    return [(number * 7919 + place * 31) % size for place in range(count)]
