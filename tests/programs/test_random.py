"""Any text is a program that runs, or one that is refused with its place, in bounded time."""

from __future__ import annotations

import time
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainkit
from chainkit.base.errors import LimitReached, ProgramError
from chainkit.programs import Limits, Run
from chainkit.testing import Scripted, ScriptedChat
from tests.programs.random_programs import VALUES, damaged, programs

LIMITS = Limits(iterations=60, depth=30, tokens=4000, seconds=5.0, characters=20_000, retries=1)
SAYINGS = ["x", "12", ". a", "y\n", '"', "", "xy b c.", "{{word}}", "<|im_end|>", "a" * 40]
UNHURRIED: Any = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


class Anything(Scripted):
    """Says something, which depends on the prompt alone."""

    def said(self, prompt: str, stop: Any, settings: Any) -> tuple[str, str]:
        from chainkit.backends.fake import cut

        return cut(SAYINGS[zlib.crc32(prompt.encode("utf-8", "replace")) % len(SAYINGS)], stop)


def outcome(text: str, model: Any, **options: Any) -> Run | ProgramError:
    began = time.process_time()
    result: Run | ProgramError
    try:
        result = chainkit.program(text, model).with_options(limits=LIMITS, seed=1)(VALUES, b=text[:0], **options)
    except ProgramError as error:
        result = error
    assert time.process_time() - began < 4
    if isinstance(result, ProgramError):
        assert isinstance(result, LimitReached) or (result.line > 0 and str(result).endswith("^"))
        return result
    assert result.finished or result.waiting
    assert "".join(span.text for span in result.timeline if not span.hidden) == result.text
    return result


def check(text: str) -> None:
    first = outcome(text, Anything(""))
    outcome(text, ScriptedChat("x"))
    if isinstance(first, Run) and first.finished:
        runs = list(
            chainkit.program(text, Anything("")).with_options(limits=LIMITS, seed=1).stream({**VALUES, "b": ""})
        )
        assert str(runs[-1]) == str(first)
        batch = (
            chainkit.program(text, Anything("")).with_options(limits=LIMITS, seed=1).batch([{**VALUES, "b": ""}] * 2)
        )
        assert [str(one) for one in batch] == [str(first)] * 2


@settings(max_examples=150, **UNHURRIED)
@given(st.one_of(programs, damaged()))
def test_any_program_runs_or_is_refused_with_a_place(text: str) -> None:
    check(text)


@settings(max_examples=100, **UNHURRIED)
@given(st.text(st.sampled_from("{}#/~>!-@'\"\\()[]=.,:+*<| \nabgenifs1"), max_size=60))
def test_any_text_runs_or_is_refused_with_a_place(text: str) -> None:
    check(text)


@pytest.mark.slow
@settings(max_examples=10_000, **UNHURRIED)
@given(st.one_of(programs, damaged()))
def test_ten_thousand_programs_run_or_are_refused_with_a_place(text: str) -> None:
    check(text)
