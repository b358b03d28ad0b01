from __future__ import annotations

import csv
import json
import random
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainkit
from chainkit.errors import ChainkitError, DocumentError, MissingKey
from chainkit.scale.files import GrowingFile, JsonLines, TableLines
from chainkit.scale.ledger import Marks
from chainkit.scale.mapping import map_rows
from chainkit.testing import Scripted
from tests.scale import mapped


def written(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def jsonl(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def tabled(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def failed(path: Path) -> list[dict]:
    return written(path.with_name(f"{path.name}.failed.jsonl"))


def shout(row: dict) -> str:
    return row["text"].upper()


def test_each_row_of_jsonl_gets_its_result_beside_its_fields(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"text": "a", "n": 1}, {"text": "b", "n": [2]}])
    report = chainkit.map_rows(shout, source, tmp_path / "out.jsonl", into="loud")
    assert (report.done, report.failed, report.skipped, report.stopped) == (2, 0, 0, None)
    assert written(report.output) == [
        {"_row": 1, "text": "a", "n": 1, "loud": "A"},
        {"_row": 2, "text": "b", "n": [2], "loud": "B"},
    ]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_every_kind_of_output_can_be_an_input(tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    rows = [{"text": f'"{n}"\nü\t,; ' + "x" * n} for n in range(300)]
    between, end = tmp_path / f"between.{kind}", tmp_path / "end.jsonl"
    chainkit.map_rows(shout, rows, between, keep_input=False, into="text")
    chainkit.map_rows(lambda row: row["text"].lower(), between, end, keep_input=False)
    assert [row["output"] for row in written(end)] == [row["text"].lower() for row in rows]


def test_the_output_of_a_mapping_can_be_mapped_again_with_all_its_fields(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"_row": 5, "text": "a"}])
    assert written(chainkit.map_rows(shout, source, tmp_path / "out.jsonl").output) == [
        {"_row": 1, "text": "a", "output": "A"}
    ]
    with pytest.raises(ValueError, match="'text' already; name another one"):
        chainkit.map_rows(shout, source, tmp_path / "other.jsonl", into="text")


def test_blank_lines_are_no_rows_and_a_line_that_is_no_json_fails_alone(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'\xef\xbb\xbf{"text": "a"}\n\n  \nnot json\n{"text": "\xff"}\n{"text": "b"}')
    report = chainkit.map_rows(shout, source, tmp_path / "out.jsonl")
    assert [(row["_row"], row["output"]) for row in written(report.output)] == [(1, "A"), (4, "B")]
    assert (failed(report.output)[0]["_row"], failed(report.output)[0]["input"]) == (2, "not json")
    assert "utf-8" in failed(report.output)[1]["reason"]


def test_a_failed_row_is_kept_with_the_reason_and_done_alone_when_it_is_retried(tmp_path: Path) -> None:
    rows = [{"text": "a"}, {"text": 5}, {"other": 1}, {"text": "b"}]
    out = tmp_path / "out.jsonl"
    assert chainkit.map_rows(shout, rows, out).failed == 2
    assert [row["error"] for row in failed(out)] == ["AttributeError", "KeyError"]
    seen = []

    def mended(row: dict) -> str:
        seen.append(row)
        return str(row["text"])

    report = chainkit.map_rows(mended, rows, out, retry_failed=True)
    assert (report.done, report.failed, seen) == (1, 1, [{"text": 5}, {"other": 1}])
    assert sorted(row["_row"] for row in written(out)) == [1, 2, 4]
    assert [row["_row"] for row in failed(out)] == [3]
    assert chainkit.map_rows(lambda row: "x", rows, out, retry_failed=True).done == 1
    assert not (tmp_path / "out.jsonl.failed.jsonl").exists()
    assert chainkit.map_rows(shout, rows, out).skipped == 4


def test_what_every_row_would_meet_stops_the_run_and_marks_no_row_as_failed(tmp_path: Path) -> None:
    def keyless(row: dict) -> str:
        raise MissingKey("openai", ["OPENAI_API_KEY"])

    with pytest.raises(MissingKey):
        chainkit.map_rows(keyless, [{}] * 9, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl.failed.jsonl").exists()
    assert chainkit.map_rows(lambda row: 1, [{}] * 9, tmp_path / "out.jsonl").done == 9


def test_many_failures_in_a_row_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(ChainkitError, match="3 rows failed one after the other.*ZeroDivisionError.*retry-failed"):
        chainkit.map_rows(lambda row: 1 / 0, [1] * 9, tmp_path / "out.jsonl", max_failures_in_a_row=3)
    assert len(failed(tmp_path / "out.jsonl")) == 3


def test_an_output_of_another_input_chain_or_program_is_refused(tmp_path: Path) -> None:
    one, two = (jsonl(tmp_path / f"{name}.jsonl", [{"text": name}]) for name in ("one", "two"))
    out = tmp_path / "out.jsonl"
    chainkit.map_rows(shout, one, out, identity="shout")
    with pytest.raises(ChainkitError, match="another input"):
        chainkit.map_rows(shout, two, out, identity="shout")
    with pytest.raises(ChainkitError, match="chain='shout'.*'whisper'"):
        chainkit.map_rows(shout, one, out, identity="whisper")
    chainkit.map_rows(shout, two, out, overwrite=True)
    assert written(out)[0]["output"] == "TWO"
    theirs = tmp_path / "theirs.jsonl"
    theirs.write_text("precious")
    with pytest.raises(ChainkitError, match="exists"):
        chainkit.map_rows(shout, one, theirs)
    assert theirs.read_text("utf-8") == "precious"


def test_rows_that_were_added_to_an_input_are_done_when_it_is_mapped_again(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"text": "a"}])
    chainkit.map_rows(shout, source, tmp_path / "out.jsonl")
    with source.open("a") as file:
        file.write('{"text": "b"}\n')
    report = chainkit.map_rows(shout, source, tmp_path / "out.jsonl")
    assert (report.done, report.skipped) == (1, 1)


def test_two_processes_do_not_write_one_output(tmp_path: Path) -> None:
    began, go = threading.Event(), threading.Event()

    def slow(row: int) -> int:
        began.set()
        go.wait(20)
        return row

    thread = threading.Thread(target=chainkit.map_rows, args=(slow, [1], tmp_path / "out.jsonl"))
    thread.start()
    assert began.wait(20)
    with pytest.raises(ChainkitError, match="another process writes to it"):
        chainkit.map_rows(slow, [1], tmp_path / "out.jsonl")
    go.set()
    thread.join()
    assert len(written(tmp_path / "out.jsonl")) == 1


@pytest.mark.parametrize("ordered", [True, False])
def test_a_row_is_in_a_file_as_soon_as_it_is_finished(tmp_path: Path, ordered: bool) -> None:
    """The first row waits for the others: they must be on the disk meanwhile, in the output or beside it."""
    out, go = tmp_path / "out.jsonl", threading.Event()

    def act(row: int) -> int:
        if row == 0:
            assert go.wait(20)
        return row

    thread = threading.Thread(
        target=chainkit.map_rows, args=(act, list(range(12)), out), kwargs={"concurrency": 4, "ordered": ordered}
    )
    thread.start()
    place, end = (tmp_path / "out.jsonl.waiting" if ordered else out), time.monotonic() + 20
    while time.monotonic() < end and (not place.exists() or len(place.read_text("utf-8").splitlines()) < 11):
        time.sleep(0.01)
    kept = [json.loads(line)["output"] for line in place.read_text("utf-8").splitlines()]
    go.set()
    thread.join()
    assert sorted(kept) == list(range(1, 12))
    found = [row["output"] for row in written(out)]
    assert found == list(range(12)) if ordered else sorted(found) == list(range(12))
    assert not (tmp_path / "out.jsonl.waiting").exists()


def test_order_is_kept_across_a_run_that_was_cut_off_while_rows_waited(tmp_path: Path) -> None:
    out, form = tmp_path / "out.jsonl", JsonLines()
    assert chainkit.map_rows(str, [0], out).done == 1
    waiting = GrowingFile(tmp_path / "out.jsonl.waiting", form)
    waiting.add(b"".join(form.line(n, {"input": n - 1, "output": "early"}) for n in (7, 4)))
    waiting.close()
    done = []
    report = chainkit.map_rows(lambda n: done.append(n) or str(n), list(range(9)), out, concurrency=3)
    assert (report.skipped, sorted(done)) == (3, [1, 2, 4, 5, 7, 8])
    assert [row["_row"] for row in written(out)] == list(range(1, 10))
    assert [row["_row"] for row in written(out) if row["output"] == "early"] == [4, 7]


def test_a_budget_of_tokens_stops_cleanly_and_a_second_start_goes_on(tmp_path: Path) -> None:
    rows = [{"text": f"one two three {n}"} for n in range(40)]
    out, model = tmp_path / "out.jsonl", chainkit.prompt("{text}") | chainkit.chat_model("fake:")
    first = chainkit.map_rows(model, rows, out, max_tokens=80, concurrency=2)
    assert first.stopped
    assert "max_tokens of 80" in first.stopped
    assert 0 < first.tokens <= 80 + 16
    assert len(written(out)) == first.done == first.tokens // 8
    second = chainkit.map_rows(model, rows, out)
    assert second.done == 40 - first.done
    assert [row["output"] for row in written(out)] == [row["text"] for row in rows]


def test_a_budget_of_money_needs_prices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_cost must be above 0"):
        chainkit.map_rows(str, [1], tmp_path / "out.jsonl", max_cost=0)


def test_programs_write_their_variables_and_decisions_messages_and_arrays_what_they_hold(tmp_path: Path) -> None:
    import numpy as np
    from langchain_core.messages import AIMessage

    program = chainkit.program("{{name}} is{{gen 'what' stop='.'}}.", Scripted(" red. More"))
    chainkit.map_rows(program, [{"name": "A rose"}], tmp_path / "p.jsonl")
    assert written(tmp_path / "p.jsonl")[0]["output"] == {"what": " red"}
    values = [np.float32([0.5, 1]), AIMessage("hello"), float("nan"), {"a": (1, {2})}, b"\xff"]
    chainkit.map_rows(lambda place: values[place], list(range(5)), tmp_path / "v.jsonl", keep_input=False)
    found = [row["output"] for row in written(tmp_path / "v.jsonl")]
    assert found == [[0.5, 1.0], "hello", None, {"a": [1, [2]]}, "/w=="]


def test_a_result_that_json_cannot_hold_is_a_failure_of_its_row(tmp_path: Path) -> None:
    report = chainkit.map_rows(lambda row: object(), [1], tmp_path / "out.jsonl")
    assert "cannot be written as JSON" in failed(report.output)[0]["reason"]


def test_embeddings_are_made_in_groups_and_a_row_without_text_fails_alone(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "n": n} for n in range(600)] + [{"text": " "}, {"n": 1}]
    report = chainkit.map_rows(chainkit.embeddings("fake:?dimensions=8"), rows, tmp_path / "out.jsonl", column="text")
    assert (report.done, report.failed) == (600, 2)
    vectors = chainkit.embeddings("fake:?dimensions=8").embed_documents([row["text"] for row in rows[:600]])
    assert [row["output"] for row in written(report.output)] == [pytest.approx(one) for one in vectors]


def test_a_table_of_other_fields_than_the_first_row_has_fails_for_these_rows(tmp_path: Path) -> None:
    report = chainkit.map_rows(str, [{"a": 1}, {"a": 2, "b": 3}], tmp_path / "out.csv", into="text")
    assert tabled(report.output) == [{"_row": "1", "a": "1", "text": "{'a': 1}"}]
    assert "fields that the first row lacks (b)" in failed(report.output)[0]["reason"]


def test_a_file_of_an_unknown_kind_or_none_at_all_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"\.jsonl"):
        chainkit.map_rows(str, tmp_path / "in.xls", tmp_path / "out.jsonl")
    with pytest.raises(DocumentError, match="no such file"):
        chainkit.map_rows(str, tmp_path / "in.csv", tmp_path / "out.jsonl")
    with pytest.raises(ChainkitError, match="endings"):
        chainkit.map_rows(str, [1], tmp_path / "out.txt")


def test_progress_tells_rate_and_time_left(tmp_path: Path) -> None:
    told = []
    chainkit.map_rows(lambda n: time.sleep(0.02), list(range(60)), tmp_path / "out.jsonl", on_progress=told.append)
    assert told[0].done < told[-1].done == 60
    assert told[-1].part == 1
    assert told[0].seconds_left > 0
    assert "rows/s" in str(told[0])
    assert "left" in str(told[0])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=8), st.data())
def test_a_file_that_was_cut_anywhere_keeps_its_whole_rows(tmp_path_factory, texts: list[str], data) -> None:
    folder = tmp_path_factory.mktemp("cut")
    for name, form in (("a.jsonl", JsonLines()), ("a.csv", TableLines(["text"]))):
        file = GrowingFile(folder / name, form)
        ends = []
        for number, text in enumerate(texts, 1):
            file.add(form.line(number, {"text": text}))
            ends.append(file._size)
        file.close()
        if not texts:
            continue
        cut = data.draw(st.integers(0, ends[-1]))
        with file.path.open("r+b") as handle:
            handle.truncate(cut)
        again = GrowingFile(folder / name, form)
        assert [number for number, _ in again.recover()] == [n for n, end in enumerate(ends, 1) if end <= cut]
        again.add(form.line(99, {"text": "last"}))
        again.close()
        assert [number for number, _ in again.recover()][-1] == 99


@settings(max_examples=20)
@given(st.sets(st.integers(0, 5000)))
def test_marks_are_a_set(numbers: set[int]) -> None:
    marks = Marks()
    for number in numbers:
        marks.add(number)
        marks.add(number)
    assert len(marks) == len(numbers)
    assert all((number in marks) == (number in numbers) for number in range(5100))


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "ordered", "workers"), [("jsonl", True, 4), ("csv", True, 1), ("jsonl", False, 4)])
def test_after_random_kills_every_row_is_there_exactly_once(
    tmp_path: Path, ending: str, ordered: bool, workers: int
) -> None:
    source, out = jsonl(tmp_path / "in.jsonl", [{"n": n} for n in range(1, 20_001)]), tmp_path / f"out.{ending}"
    chance = random.Random(f"{ending} {ordered}")
    assert sum(mapped.kill(source, out, ordered, workers, chance.uniform(0, 0.15)) for _ in range(33)) >= 10
    assert out.read_bytes().count(b"\n") > 100, "the kills came before there was anything to lose"
    map_rows(mapped.worked, source, out, ordered=ordered, concurrency=workers)
    rows = tabled(out) if ending == "csv" else written(out)
    lost = [int(row["_row"]) for row in failed(out)]
    found = [int(row["_row"]) for row in rows]
    assert sorted(lost) == list(range(97, 20_001, 97))
    assert sorted(found + lost) == list(range(1, 20_001))
    assert all(row["output"] == f'line one of {row["n"]}\n"and" line two' for row in rows)
    if ordered:
        assert found == sorted(found)
