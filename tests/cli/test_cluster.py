from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

FAKE = ["--embeddings", "fake:"]
TEXTS = [
    "red wine glass",
    "white wine glass",
    "wine glass set of six",
    "fast car race",
    "car race track",
    "slow car race in the rain",
]


@pytest.fixture
def texts() -> str:
    Path("in.txt").write_text("\n\n".join(TEXTS))
    return "in.txt"


def test_the_groups_are_shown_with_their_texts(run, texts: str) -> None:
    result = run("cluster", texts, *FAKE)
    assert result.exit_code == 0, result.stderr
    assert all(text in result.stdout for text in TEXTS)
    assert "6 texts in 2 groups; silhouette 0." in result.stdout


def test_json_has_the_line_of_each_label(run, texts: str) -> None:
    found = json.loads(run("cluster", texts, "--json", *FAKE).stdout)
    assert found["embeddings"] == "fake:"
    assert found["lines"] == [1, 3, 5, 7, 9, 11]
    assert len(set(found["labels"][:3])) == len(set(found["labels"][3:])) == 1
    assert found["k"] == len(found["groups"]) == 2
    assert {"label", "name", "size", "keywords", "representative", "members", "texts"} == found["groups"][0].keys()


def test_csv_keeps_the_order_of_the_file(run, texts: str) -> None:
    rows = list(csv.DictReader(io.StringIO(run("cluster", texts, "--csv", *FAKE).stdout)))
    assert [row["text"] for row in rows] == TEXTS
    assert [row["line"] for row in rows] == ["1", "3", "5", "7", "9", "11"]
    assert len({row["group"] for row in rows}) == 2


def test_the_number_of_groups_can_be_given(run, texts: str) -> None:
    assert json.loads(run("cluster", texts, "-k", "3", "--json", *FAKE).stdout)["k"] == 3
    assert json.loads(run("cluster", texts, "--threshold", "0.999", "--json", *FAKE).stdout)["k"] == 6


def test_small_groups_are_no_groups(run) -> None:
    options = ["--threshold", "0.3", "--min-size", "2", *FAKE]
    stdin = "\n".join([*TEXTS, "something else entirely"])
    assert json.loads(run("cluster", "-", "--json", *options, input=stdin).stdout)["outliers"] == [6]
    assert "(no group)" in run("cluster", "-", *options, input=stdin).stdout
    assert ",-1,,something" in run("cluster", "-", "--csv", *options, input=stdin).stdout


def test_long_groups_are_cut_and_say_so(run, texts: str) -> None:
    short = run("cluster", texts, "--show", "1", *FAKE).stdout
    assert short.count("... and 2 more (--show 0 for all)") == 2
    assert "more" not in run("cluster", texts, "--show", "0", *FAKE).stdout


def test_more_groups_than_different_texts_is_an_error(run) -> None:
    result = run("cluster", "-", "-k", "3", *FAKE, input="a\na\nb\n")
    assert result.exit_code == 1
    assert "only 2 different texts" in result.stderr


@pytest.mark.parametrize("text", ["only", "same\nsame"])
def test_one_text_is_one_group(run, text: str) -> None:
    result = run("cluster", "-", *FAKE, input=text)
    assert result.exit_code == 0, result.stderr
    assert "in 1 groups" in result.stdout


@pytest.mark.parametrize("options", [["-k", "2", "--threshold", "0.5"], ["--csv", "--json"], ["-k", "0"]])
def test_options_that_exclude_each_other_are_usage_errors(run, texts: str, options: list[str]) -> None:
    assert run("cluster", texts, *options, *FAKE).exit_code == 2


def test_markup_in_a_text_is_shown_as_it_is(run) -> None:
    assert "[bold]x[/] :smile:" in run("cluster", "-", *FAKE, input="[bold]x[/] :smile:\nother\n").stdout


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_heatmap_is_drawn(run, texts: str, ending: str) -> None:
    pytest.importorskip("matplotlib")
    result = run("heatmap", texts, "-o", f"out.{ending}", "--title", "Wine", *FAKE)
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    assert "drew 6 texts in 2 groups" in result.stderr
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert Path(f"out.{ending}").read_bytes().startswith(start)


@pytest.mark.parametrize("output", ["out.gif", "absent/out.png", "folder.png"])
def test_a_picture_that_cannot_be_written_is_refused_first(run, output: str) -> None:
    Path("folder.png").mkdir()
    result = run("heatmap", "absent.txt", "-o", output)
    assert result.exit_code == 1
    assert f"chainkit: {output}: " in result.stderr


def test_a_picture_holds_so_many_texts_and_no_more(run) -> None:
    stdin = "\n".join(f"text {number}" for number in range(501))
    result = run("heatmap", "-", "-o", "out.png", *FAKE, input=stdin)
    assert result.exit_code == 1
    assert "501 texts and a picture at most 500" in result.stderr


def test_a_map_and_names_by_a_model(run, texts: str) -> None:
    result = run("cluster", texts, "--map", "map.html", "--name-with", "fake:?reply=Goods", "--json", *FAKE)
    assert [group["name"] for group in json.loads(result.stdout)["groups"]] == ["Goods", "Goods (2)"]
    assert "drew 6 texts in 2 groups to map.html" in result.stderr
    assert "Goods (2)" in Path("map.html").read_text("utf-8")


def test_the_column_can_be_named_with_by(run) -> None:
    Path("t.csv").write_text("id,text\n" + "\n".join(f"{row},{text}" for row, text in enumerate(TEXTS)))
    assert json.loads(run("cluster", "t.csv", "--by", "text", "--json", *FAKE).stdout)["k"] == 2


def test_a_heatmap_without_a_file_is_drawn_in_the_terminal(run, texts: str) -> None:
    lines = run("heatmap", texts, "--title", "Six", *FAKE).stdout.splitlines()
    assert lines[0] == "Six"
    assert sorted(line.rsplit("  ", 1)[0].strip()[:8] for line in lines[1:7])
    assert all("█" in line for line in lines[1:7])


def test_a_heatmap_too_wide_for_the_terminal_says_what_to_do(run) -> None:
    result = run("heatmap", "-", *FAKE, input="\n".join(f"text {number}" for number in range(95)))
    assert result.exit_code == 1
    assert "95 items need a terminal of 104 columns, this one has 100" in result.stderr
    assert "-o picture.png" in result.stderr
