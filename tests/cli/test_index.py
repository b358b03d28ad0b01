from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

FAKE = ("--embeddings", "fake:")


@pytest.fixture(autouse=True)
def documents() -> None:
    Path("docs").mkdir()
    Path("docs/apples.md").write_text(
        "# Apples\n\nThe apple of this garden has a deep red colour.\n\nIt was planted in 1912.\n"
    )
    Path("docs/sky.txt").write_text("The sky above the hills is mostly blue in summer.\nIt rains in spring.\n")


def indexed(run, *arguments: str) -> dict[str, object]:
    result = run("index", *arguments, *FAKE, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_indexing_counts_what_is_new_unchanged_removed_and_broken(run) -> None:
    Path("docs/broken.pdf").write_bytes(b"%PDF-1.4 broken")
    first = indexed(run, "docs")
    assert (first["indexed"], first["unchanged"], first["removed"], first["skipped"]) == (2, 0, 0, 1)
    Path("docs/sky.txt").unlink()
    second = run("index", "docs", *FAKE)
    assert "files indexed 0, unchanged 1, removed 1, could not be read 1" in second.stdout
    assert "broken.pdf" in second.stderr
    assert run("index", "docs", *FAKE, "--strict").exit_code == 1


def test_the_index_is_the_one_that_ask_and_search_use(run) -> None:
    file = Path(str(indexed(run, "docs")["index"]))
    changed = file.stat().st_mtime_ns
    for command in ("ask", "search"):
        assert "red" in run(command, "What colour is the apple?", "docs", *FAKE).stdout
    assert file.stat().st_mtime_ns == changed


def test_an_index_of_ones_own_is_followed_searched_and_copied(run) -> None:
    pytest.importorskip("langchain_qdrant")
    assert indexed(run, "docs/sky.txt", "--index", "my.sqlite")["passages"] == 1
    assert indexed(run, "docs", "--index", "my.sqlite")["indexed"] == 1
    target = f"qdrant://{Path.cwd()}/q?collection=notes"
    assert indexed(run, "--index", "my.sqlite", "--to", target)["sent"] == 2
    assert indexed(run, "--index", "my.sqlite", "--to", target)["sent"] == 0
    for place in ("my.sqlite", target):
        found = json.loads(run("search", "colour of the apple", "--index", place, "-k", "1", *FAKE, "--json").stdout)
        assert (found[0]["path"].rpartition("/")[2], found[0]["first_line"]) == ("apples.md", 3)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "name files or folders"),
        (("absent",), 1, "absent: there is no such file or folder"),
        (("docs", "--index", "no/such.sqlite"), 1, "there is no folder no; make it first"),
        (("--index", "absent.sqlite"), 1, "there is no such index"),
        (("docs", "--index", "qdrant://h/x"), 1, "--to names the vector store"),
        (("docs", "--to", "nowhere://h/x"), 1, "no vector store 'nowhere'"),
        (("docs", "--target-tokens", "3"), 2, "3 is not in the range"),
    ],
)
def test_what_cannot_be_indexed_is_said(run, arguments, code, words) -> None:
    result = run("index", *arguments, *FAKE)
    assert result.exit_code == code
    assert words in " ".join(result.stderr.split())


def test_a_misspelt_path_leaves_no_index_behind(run) -> None:
    result = run("index", "dosc", "--index", "new.sqlite", *FAKE)
    assert "dosc: there is no such file or folder\nchainkit: nothing was indexed\n" in result.stderr
    assert result.exit_code == 1
    assert not list(Path().glob("new.sqlite*"))
    assert indexed(run, "docs", "--index", "new.sqlite")["skipped"] == 0


def test_search_shows_places_and_texts(run) -> None:
    result = run("search", "What colour is the apple?", "docs", *FAKE, "-k", "1")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("1. docs/apples.md:3-5")
    assert "Apples" in result.stdout
    assert "The apple of this garden has a deep red colour. It was planted in 1912." in result.stdout
    full = run("search", "What colour is the apple?", "docs", *FAKE, "-k", "1", "--full").stdout
    assert "colour.\n\nIt was" in full


def test_search_filters_reranks_and_has_a_floor(run) -> None:
    def paths(*arguments: str) -> list[str]:
        result = run("search", "apple sky", "docs", *FAKE, "--json", *arguments)
        assert result.exit_code == 0, result.stderr
        return [Path(one["path"]).name for one in json.loads(result.stdout)]

    both = paths()
    assert sorted(both) == ["apples.md", "sky.txt"]
    assert paths("--rerank", "fake:?reply=2") == both[::-1]
    assert paths("--filter", "path=docs/sky.txt") == ["sky.txt"]
    assert paths("--min-similarity", "1") == []
    nothing = run("search", "apple", "docs", *FAKE, "--min-similarity", "1")
    assert (nothing.stdout, nothing.exit_code) == ("", 0)
    assert "nothing fits" in nothing.stderr


@pytest.mark.parametrize(
    "arguments", [("x",), ("x", "docs", "--index", "a.sqlite"), (" ", "docs"), ("x", "docs", "--filter", "page")]
)
def test_a_search_that_makes_no_sense_is_refused(run, arguments) -> None:
    assert run("search", *arguments, *FAKE).exit_code in (1, 2)


def questions() -> None:
    rows = [
        {"question": "What colour is the apple?", "places": ["docs/apples.md:3"], "answer": "deep red"},
        {"question": "When was it planted?", "places": ["docs/apples.md:5"]},
        {"question": "Who wrote the opera?", "answerable": False},
    ]
    Path("questions.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_eval_scores_what_is_found_as_a_table_and_as_json(run) -> None:
    questions()
    result = run("eval", "questions.jsonl", "docs", *FAKE, "-k", "1", "-k", "3")
    assert result.exit_code == 0, result.stderr
    rows = {line.split("  ")[0].strip(): line.split()[-2:] for line in result.stdout.splitlines() if line.strip()}
    assert rows["questions"] == ["3", "3"]
    assert rows["recall"][1] == "1.000"
    curve = [line.split() for line in result.stdout.splitlines() if line.startswith("0.")]
    assert [row[0] for row in curve] == [f"0.{tenth}" for tenth in range(1, 10)]
    assert all(one <= other for before, row in pairwise(curve) for one, other in zip(before, row, strict=True))
    found = json.loads(
        run("eval", "questions.jsonl", "docs", *FAKE, "--json", "--model", "fake:?reply=deep red [1]").stdout
    )
    assert found["model"] == "fake:?reply=deep red [1]"
    (scores,) = found["scores"]
    assert set(scores["curve"][0]) == {"confidence", "refused", "wrongly_refused"}
    assert (scores["k"], scores["recall"], scores["exact"], scores["refused"]) == (6, 1.0, 1.0, 0.0)
    assert run("eval", "questions.jsonl", "docs", *FAKE, "--least", "0.9").exit_code == 0
    Path("questions.jsonl").write_text('{"question": "?", "places": ["docs/none.md"]}')
    assert "min confidence" not in run("eval", "questions.jsonl", "docs", *FAKE).stdout
    low = run("eval", "questions.jsonl", "docs", *FAKE, "--least", "0.9")
    assert (low.exit_code, "recall is 0.000, below 0.9" in low.stderr) == (1, True)


def test_eval_measures_a_public_set(run) -> None:
    Path("set/qrels").mkdir(parents=True)
    Path("set/corpus.jsonl").write_text('{"_id": "1", "text": "red apples"}\n{"_id": "2", "text": "blue sky"}')
    Path("set/queries.jsonl").write_text('{"_id": "q", "text": "what is blue"}')
    Path("set/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\t2\t1\n")
    result = run("eval", "set", *FAKE)
    assert result.exit_code == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines() if line.split()[1:] == ["1.000"] * 3] == [
        "words",
        "meaning",
        "both",
    ]
    assert json.loads(run("eval", "set", *FAKE, "--json").stdout)["scores"]["both"]["mrr"] == 1.0
    assert run("eval", "set", "docs", *FAKE).exit_code == 1


def test_eval_names_what_it_cannot_read(run) -> None:
    Path("questions.jsonl").write_text("")
    for arguments in (("questions.jsonl", "docs"), ("absent.jsonl", "docs"), ("docs",)):
        result = run("eval", *arguments, *FAKE)
        assert result.exit_code == 1
        assert arguments[0] in result.stderr


def test_ask_answers_from_an_index_of_ones_own(run) -> None:
    indexed(run, "docs", "--index", "notes.sqlite")
    Path("docs/apples.md").unlink()
    result = run("ask", "When was it planted?", "--index", "notes.sqlite", *FAKE, "--extract")
    assert "1912" in result.stdout


def test_paths_win_over_the_index_of_the_environment(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINKIT_INDEX", "nowhere.sqlite")
    for command in ("ask", "search"):
        result = run(command, "When was it planted?", "docs/apples.md", *FAKE)
        assert (result.exit_code, "1912" in result.stdout) == (0, True)


@pytest.mark.parametrize("where", [(), ("docs", "--index", "notes.sqlite")], ids=["neither", "both"])
def test_either_paths_or_an_index_are_wanted(run, where: tuple[str, ...]) -> None:
    for command in ("ask", "search"):
        result = run(command, "When?", *where, *FAKE)
        assert (result.exit_code, "either files and folders" in result.stderr) == (2, True)
