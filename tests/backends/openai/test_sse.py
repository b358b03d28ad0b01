from __future__ import annotations

import time

from hypothesis import example, given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder  # the reference

from chainkit.backends.openai.sse import EventReader

LINES = st.lists(
    st.one_of(
        st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=8).map(lambda text: f"data: {text}"),
        st.sampled_from(
            ["", "", "data", "data:", "data:x", "event: message", "id: 1", ": ping", "retry: 3", "datax: 1"]
        ),
    ),
    max_size=20,
)


def read(pieces: list[bytes]) -> list[str]:
    reader = EventReader()
    return [data.decode() for piece in pieces for data in reader.feed(piece)]


@given(lines=LINES, ends=st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=1), size=st.integers(1, 9))
@example(lines=["data: a", ""], ends=["\r"], size=1)
@example(lines=["data: a", "data: b", ""], ends=["\r\n"], size=1)
def test_events_are_those_that_the_openai_package_reads_however_the_bytes_are_cut(
    lines: list[str], ends: list[str], size: int
) -> None:
    text = "".join(line + ends[place % len(ends)] for place, line in enumerate(lines)).encode()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    wanted = [event.data for event in SSEDecoder().iter_bytes(iter(pieces)) if event.data]
    assert [data for data in read(pieces) if data] == wanted


def test_an_event_that_is_not_closed_is_not_given() -> None:
    assert read([b'data: {"a": 1}\n']) == []


def test_a_long_event_in_many_pieces_costs_linear_time() -> None:
    def seconds(count: int) -> float:
        pieces = [b"data: ", *[b"x" * 100] * count, b"\n\n"]
        begin = time.process_time()
        assert len(read(pieces)[0]) == 100 * count
        return time.process_time() - begin

    seconds(1000)
    assert seconds(100_000) < 1  # a reader that copies what it has for each piece takes minutes
