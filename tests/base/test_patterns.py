from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.base.patterns import Pattern, pattern

PIECES = st.sampled_from(
    ["a", "b", "[ab]", "[^a]", ".", r"\d", r"\w", r"\s", "(a|ab)", "(?:b|1)", "(a)+?", "ü", r"\.", "^", "$"]
)
PATTERNS = st.lists(st.tuples(PIECES, st.sampled_from(["", "*", "+", "?", "{1,2}"])), min_size=1, max_size=4).map(
    lambda parts: "".join(piece + ("" if piece in "^$" else times) for piece, times in parts)
)


@pytest.mark.hypothesis
@given(PATTERNS, st.text("ab1 .$ü\n", max_size=8))
def test_a_pattern_says_what_python_says(text: str, value: str) -> None:
    try:
        python = re.compile(text)
    except re.error:
        return
    found = Pattern(text)
    assert bool(found.fullmatch(value)) == bool(python.fullmatch(value))
    for ours, theirs in ((found.match(value), python.match(value)), (found.search(value), python.search(value))):
        assert (ours and ours.span()) == (theirs and theirs.span())


@pytest.mark.parametrize("text", ["a$", r"\\$", "a$|b", "[$]"])
def test_a_dollar_stands_where_python_puts_it(text: str) -> None:
    for value in ("a", "a\n", "a\n\n", "\\", "$", "b"):
        assert Pattern(text).fullmatch(value) == bool(re.fullmatch(text, value))
        assert bool(Pattern(text).search(value)) == bool(re.search(text, value))


def test_patterns_that_rust_does_not_know_are_pythons() -> None:
    assert pattern(r"(?=ab)a.").fullmatch("ab")
    assert not pattern(r"(a)\1").fullmatch("ab")
    assert pattern(r"b(?!c)").search("abd")
    with pytest.raises(re.error):
        pattern("(")


def test_a_pattern_that_python_would_not_end_ends() -> None:
    code = """if True:
        from chainkit.base.patterns import pattern
        text = "a" * 5_000
        slow = pattern("(a+)+c")
        assert not slow.fullmatch(text) and not slow.match(text) and not slow.search(text)
        assert slow.fullmatch(text + "c")
    """
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
