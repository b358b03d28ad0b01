from __future__ import annotations

import json
from pathlib import Path

import pytest

FAKE = ["--embeddings", "fake:"]
TEXTS = ["a red wine glass", "a red wine glass", "the fast car", "a red wine cup", "the fast car race"]


@pytest.fixture
def texts() -> str:
    Path("in.txt").write_text("\n\n".join(TEXTS))
    return "in.txt"


def test_near_duplicates_come_with_their_lines(run, texts: str) -> None:
    found = json.loads(run("similar", texts, "--above", "0.7", "--json", *FAKE).stdout)
    assert [(pair["first"]["line"], pair["second"]["line"]) for pair in found["pairs"]] == [
        (1, 3),
        (5, 9),
        (1, 7),
        (3, 7),
    ]
    assert found["pairs"][0]["score"] == pytest.approx(1)
    assert found["count"] == 4
    shown = run("similar", texts, "--above", "0.7", "--show", "1", *FAKE).stdout
    assert "4 pairs of 5 texts with a cosine of 0.7 or more; the first 1 are shown" in shown


def test_texts_like_a_given_one(run, texts: str) -> None:
    found = json.loads(run("similar", texts, "--to", "red wine", "--show", "3", "--json", *FAKE).stdout)
    assert [text["line"] for text in found["texts"]] == [1, 3, 7]
    found = json.loads(run("similar", texts, "--to", "car", "--above", "0.5", "--json", *FAKE).stdout)
    assert [text["text"] for text in found["texts"]] == ["the fast car", "the fast car race"]


def test_nothing_alike_is_no_error(run, texts: str) -> None:
    result = run("similar", texts, "--above", "1", *FAKE, "--column", "x", "--format", "lines")
    assert result.exit_code == 1  # lines have no columns
    assert "0 pairs of 2 texts" in run("similar", "-", *FAKE, input="one\ntwo").stdout


@pytest.mark.parametrize(
    ("options", "message"), [(["--to", " "], "--to is blank"), (["--above", "2"], "2.0 is not in the range")]
)
def test_wrong_options_are_named(run, texts: str, options: list[str], message: str) -> None:
    result = run("similar", texts, *options, *FAKE)
    assert result.exit_code == 2
    assert message in result.stderr
