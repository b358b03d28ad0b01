"""Text that goes on has just its own bytes, whatever a library puts before a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.local.tokens import continued, encoded


def with_space(text):
    """A tokenizer of single bytes that puts a space before every text, as SentencePiece does."""
    return list(b" " + text.encode())


def joining(text):
    """One that also joins a full stop or a line break with what follows."""
    return [300 + ord(text[0]), *text[1:].encode()] if len(text) > 1 and text[0] in ".\n" else with_space(text)


@given(st.text())
def test_no_space_is_put_before_a_text_that_goes_on(text):
    assert bytes(continued(text, with_space, bytes)) == text.encode()


def test_what_cannot_be_cut_off_stays_as_the_library_makes_it():
    assert continued("a", joining, lambda tokens: bytes(token for token in tokens if token < 256)) == list(b" a")


def test_half_a_surrogate_pair_is_named():
    with pytest.raises(ValueError, match="character 1 of the text is half"):
        encoded("a\ud800")
