"""Token healing, against brute force over a small vocabulary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.decoding.healing import Healing, spellings, taken_back


class Words:
    """A vocabulary of these pieces; the last token is an end without bytes."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [*pieces, b""]
        self.size = len(self.pieces)

    def piece(self, token):
        return self.pieces[token]

    def is_end(self, token):
        return token == self.size - 1


URL = Words(
    b"http",
    b":",
    b"://",
    b"//",
    b"The",
    b" l",
    b"ic",
    b" license",
    b" li",
    "é".encode()[:1],
    "é".encode()[1:],
    "é!".encode(),
)
pieces = st.lists(
    st.binary(min_size=1, max_size=4).map(lambda b: bytes(97 + x % 3 for x in b)), min_size=1, max_size=12, unique=True
)


def test_tokens_that_could_go_on_are_taken_back():
    assert taken_back([0, 1], URL) == 1  # ":" could be "://"
    assert taken_back([4, 5, 6], URL) == 2  # " l" "ic" could be " license"
    assert taken_back([0, 2], URL) == 0  # nothing goes on
    assert taken_back([], URL) == 0


def test_half_a_character_is_never_taken_back():
    assert taken_back([9, 10], URL) == 2
    assert taken_back([10], URL) == 0


@given(pieces, st.data())
def test_what_is_taken_back_and_allowed_is_found_by_looking_at_every_token(found, data):
    words = Words(*found)
    text = data.draw(st.lists(st.integers(0, len(found) - 1), max_size=5))
    count = taken_back(text, words)
    goes_on = [
        n
        for n in range(1, len(text) + 1)
        if any(
            p.startswith(b"".join(found[t] for t in text[-n:])) and len(p) > sum(len(found[t]) for t in text[-n:])
            for p in found
        )
    ]
    assert count == max(goes_on, default=0)
    if not count:
        return
    healing = Healing(words, text[-count:])
    logits = np.arange(words.size, dtype=np.float32)
    left = healing.data
    allowed = {t for t in range(len(found)) if found[t].startswith(left) or t == text[-count]}
    assert set(np.flatnonzero(healing.allowed(logits) > -np.inf).tolist()) == allowed
    assert {t for t in range(words.size) if healing.permits(t)} == allowed
    token = data.draw(st.sampled_from(sorted(allowed)))
    healing.accept([token])
    if len(found[token]) >= len(left):
        assert all(healing.permits(t) for t in range(words.size))
        assert healing.allowed(logits) is logits


def test_where_nothing_longer_fits_the_text_s_own_tokens_come_back_unasked():
    healing = Healing(URL, [5, 6])
    assert healing.forced() == []
    healing.accept([5])
    assert healing.forced() == [6]
    healing.accept([6])
    assert healing.forced() == []


@pytest.mark.parametrize("data", [b"", b"h", b":", b"://", b"x"])
def test_spellings_find_what_begins_with_bytes(data):
    table = spellings(URL)
    assert sorted(table.beginning_with(data).tolist()) == [
        t for t in range(URL.size - 1) if URL.piece(t).startswith(data)
    ]
    assert sorted(table.leading_to(data)) == [
        t for t in range(URL.size - 1) if data.startswith(URL.piece(t)) and URL.piece(t) != data
    ]


def test_no_half_character_is_taken_back():
    first, second = "é".encode()
    words = Words(
        bytes([first]), bytes([second]), bytes([second, 33]), "é!".encode(), b"\xc0x", b"\xc0", b"\x7f", b"\x7fx"
    )
    assert taken_back([0, 1], words) == 2  # both halves: "é" could be "é!"
    assert taken_back([6, 1], words) == 0  # the second half alone could be followed by "!", and is not a character
    assert taken_back([5], words) == 1
    assert taken_back([6], words) == 1


@given(pieces, st.text("abc", max_size=6))
def test_tokens_that_a_text_begins_with_are_those_of_brute_force(found, text):
    words, data = Words(*found, *found[:1]), text.encode()  # two tokens may have the same bytes
    leading = [n for n, piece in enumerate(words.pieces) if piece and len(piece) < len(data) and data.startswith(piece)]
    assert sorted(spellings(words).leading_to(data)) == leading
    longer = [n for n, piece in enumerate(words.pieces) if piece and piece.startswith(data)]
    assert sorted(spellings(words).beginning_with(data).tolist()) == longer


def test_a_healed_text_goes_on_after_what_was_taken_back():
    healing = Healing(URL, [1])
    assert not healing.complete
    assert (healing.permits(2), healing.permits(0), healing.closes(2), healing.fits("")) == (True, False, False, True)
    assert np.flatnonzero(healing.allowed(np.zeros(URL.size)) > -np.inf).tolist() == [1, 2]
    healing.accept([2])
    assert healing.permits(0)
    assert healing.forced() == []
    assert not healing.complete
