from __future__ import annotations

import time

import pytest

from chainkit.base.repetition import Repetition, repeats

FENCES = "```\n```\n" * 20
SENTENCE = "The bee is a bee that keeps the bee in its hive.\n" * 4
COUNTING = "".join(f'<passage number="{n}" source="docs/models.md">\n' for n in range(1, 9))


@pytest.mark.parametrize("text", [FENCES, SENTENCE, COUNTING, "and again " * 30, "是的，" * 80])
def test_a_text_that_goes_in_a_circle_is_noticed_within_a_few_tokens_of_its_limit(text):
    loop = Repetition()
    pieces = [("Once upon a time. " + text)[at : at + 4] for at in range(0, len(text) + 18, 4)]
    assert any(loop.feed(piece) for piece in pieces)
    assert loop.found


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{n}\n" for n in range(1, 200)),
        "".join(f"{1900 + n}: {n * n}\n" for n in range(60)),
        "-" * 100,
        "| --- | --- | --- | --- | --- | --- | --- |\n| a | b | c | d | e | f | g |\n",
        "".join(f"{n}. {word} is a town.\n" for n, word in enumerate(["Ulm", "Bonn", "Bath", "Leith", "York"] * 2)),
        "Row, row, row your boat. Merrily, merrily, merrily, merrily, life is but a dream. " * 2,
        "",
    ],
)
def test_lists_tables_rules_and_songs_are_no_loops(text):
    loop = Repetition()
    assert not any(loop.feed(text[at : at + 4]) for at in range(0, len(text), 4))
    assert not repeats(text)


def test_a_look_at_a_text_takes_less_than_a_token_does():
    text = "The quick brown fox jumps over the lazy dog. " * 2 + "x".join(map(str, range(400)))
    started = time.process_time()
    for _ in range(20):
        repeats(text[-1600:])
    assert (time.process_time() - started) / 20 < 0.05
