"""Stop texts never leak, whatever the pieces; characters come out whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.decoding.stops import StopScanner, TextAssembler


def run(pieces, stops):
    scanner = StopScanner(stops)
    shown = "".join(scanner.feed(piece) for piece in pieces)
    return shown if scanner.stopped else shown + scanner.flush(), scanner.stopped


def expected(text, stops):
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    return (text[: min(ends)[1]], True) if ends else (text, False)


@given(st.lists(st.text("abc", max_size=4), max_size=12), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_text_ends_at_the_first_stop_text_however_it_is_cut(pieces, stops):
    assert run(pieces, stops) == expected("".join(pieces), stops)


@given(st.lists(st.text("ab", max_size=3), max_size=10), st.text("ab", min_size=1, max_size=4))
def test_no_beginning_of_a_stop_text_is_shown_before_it_is_sure(pieces, stop):
    scanner, shown, fed = StopScanner([stop]), "", ""
    for piece in pieces:
        fed += piece
        shown += scanner.feed(piece)
        assert fed.startswith(shown)
        if not scanner.stopped:
            assert not any(shown.endswith(stop[:n]) and fed == shown for n in range(1, len(stop)))


def test_after_a_stop_nothing_more_is_shown():
    scanner = StopScanner(["x"])
    assert [scanner.feed(t) for t in ("ax", "b")] == ["a", ""]


def test_without_stop_texts_everything_passes():
    assert StopScanner([]).feed("abc") == "abc"


@given(st.text())
def test_characters_come_out_whole_from_single_bytes(text):
    assembler = TextAssembler()
    shown = [assembler.feed(bytes([byte])) for byte in text.encode("utf-8", "ignore")]
    assert "".join(shown) == text.encode("utf-8", "ignore").decode()
    assert "\ufffd" not in "".join(shown) or "\ufffd" in text


def test_half_a_character_is_held_back_and_a_broken_one_is_marked():
    assembler = TextAssembler()
    assert assembler.feed("é".encode()[:1]) == ""
    assert assembler.broken
    assert assembler.feed(b"a") == "\ufffda"


@pytest.mark.parametrize("stop", ["\n\n", "</s>", "🙂!"])
def test_a_stop_text_at_the_very_end_is_cut(stop):
    assert run(list("answer" + stop), [stop]) == ("answer", True)
