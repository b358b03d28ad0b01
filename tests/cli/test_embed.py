from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import chainkit.registry
from chainkit.backends.fake import FakeEmbeddings
from chainkit.base.errors import BadVectors, ChainkitError
from chainkit.cli.embedding import checked
from chainkit.cli.rows import InputRow
from chainkit.cli.vector_files import jsonl_row, vector_file

FAKE = ["--embeddings", "fake:?dimensions=16"]
TEXTS = [f"text number {number}" for number in range(10)]


@pytest.fixture
def texts() -> str:
    Path("in.txt").write_text("\n".join(TEXTS))
    return "in.txt"


class Counting(FakeEmbeddings):
    """Counts what it embeds, and stops after a while."""

    embedded: list[str] = []
    stops_after: int = 10**9

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if len(self.embedded) + len(texts) > self.stops_after:
            raise KeyboardInterrupt
        self.embedded += texts
        return super().embed_documents(texts)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    model = Counting(dimensions=16)
    monkeypatch.setattr(chainkit.registry, "embeddings", lambda _spec: model)
    return model


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_standard_output_gets_a_line_for_each_text(run, texts: str) -> None:
    result = run("embed", texts, *FAKE)
    found = lines(result.stdout)
    assert result.exit_code == 0
    assert [row["text"] for row in found] == TEXTS
    assert [row["line"] for row in found] == list(range(1, 11))
    assert found[0].keys() == {"line", "text", "model", "vector"}
    assert found[3]["vector"] == pytest.approx(FakeEmbeddings(dimensions=16).embed_query(TEXTS[3]))


def test_numbers_are_as_short_as_float32_allows() -> None:
    vector = np.array([0.1, -1 / 3, 1e-30, 12345.678], dtype=np.float32)
    numbers = jsonl_row(InputRow(1, "x"), "m", vector)["vector"]
    assert numbers[0] == 0.1
    assert np.array_equal(np.array(numbers, dtype=np.float32), vector)


@pytest.mark.parametrize("ending", ["jsonl", "npy"])
def test_a_file_holds_the_same_vectors(run, texts: str, ending: str) -> None:
    result = run("embed", texts, "-o", f"out.{ending}", "--batch-size", "3", *FAKE)
    assert (result.exit_code, result.stdout) == (0, "")
    assert np.allclose(read(ending), FakeEmbeddings(dimensions=16).embed_array(TEXTS))
    assert not Path("out.npy.part").exists()


def read(ending: str) -> np.ndarray:
    if ending == "npy":
        return np.load("out.npy")
    return np.array([row["vector"] for row in lines(Path("out.jsonl").read_text("utf-8"))], dtype=np.float32)


@pytest.mark.parametrize("ending", ["jsonl", "npy"])
@pytest.mark.parametrize("torn_bytes", [0, 1, 7, 40])
def test_an_interrupted_run_goes_on_where_it_ended(
    run, texts: str, counting: Counting, ending: str, torn_bytes: int
) -> None:
    counting.stops_after = 7
    command = ["embed", texts, "-o", f"out.{ending}", "--batch-size", "3"]
    assert run(*command).exit_code == 130
    part = Path("out.npy.part" if ending == "npy" else "out.jsonl")
    if torn_bytes:
        part.write_bytes(part.read_bytes()[:-torn_bytes])
    counting.stops_after = 10**9
    counting.embedded.clear()
    result = run(*command)
    assert result.exit_code == 0, result.stderr
    assert counting.embedded == TEXTS[6 if torn_bytes == 0 else 5 :]
    assert f"going on after {6 if torn_bytes == 0 else 5} of 10" in result.stderr
    assert np.allclose(read(ending), FakeEmbeddings(dimensions=16).embed_array(TEXTS))


@pytest.mark.parametrize("ending", ["jsonl", "npy"])
def test_a_run_that_was_torn_in_its_first_line_begins_afresh(run, texts: str, ending: str) -> None:
    Path("out.npy.part" if ending == "npy" else "out.jsonl").write_bytes(b'{"line": ' if ending == "jsonl" else b"{")
    assert run("embed", texts, "-o", f"out.{ending}", *FAKE).exit_code == 0
    assert len(read(ending)) == 10


def test_a_complete_file_is_left_as_it_is(run, texts: str, counting: Counting) -> None:
    run("embed", texts, "-o", "out.jsonl")
    before = Path("out.jsonl").read_bytes()
    counting.embedded.clear()
    result = run("embed", texts, "-o", "out.jsonl")
    assert "complete already" in result.stderr
    assert counting.embedded == []
    assert Path("out.jsonl").read_bytes() == before


@pytest.mark.parametrize("ending", ["jsonl", "npy"])
@pytest.mark.parametrize("change", ["text", "model", "fewer"])
def test_vectors_of_other_texts_or_another_model_are_not_mixed_in(
    run, texts: str, counting: Counting, ending: str, change: str
) -> None:
    counting.stops_after = 7
    run("embed", texts, "-o", f"out.{ending}", "--batch-size", "3")
    counting.stops_after = 10**9
    more = ["--embeddings", "fake:?dimensions=8"] if change == "model" else []
    if change != "model":
        Path("in.txt").write_text("\n".join(TEXTS[:2] if change == "fewer" else ["changed", *TEXTS[1:]]))
    command = ["embed", texts, "-o", f"out.{ending}", *more]
    result = run(*command)
    assert result.exit_code == 1
    assert "--overwrite starts afresh" in result.stderr
    assert run(*command, "--overwrite").exit_code == 0


def test_a_file_of_somebody_else_is_not_touched(run, texts: str) -> None:
    for name, content in [("a.jsonl", "not ours"), ("b.jsonl", "not\nours\n"), ("c.npy.part", "x\ny")]:
        Path(name).write_text(content)
        result = run("embed", texts, "-o", name.removesuffix(".part"), *FAKE)
        assert result.exit_code == 1
        assert "not written by 'chainkit embed'" in result.stderr
        assert Path(name).read_text("utf-8") == content


def test_the_file_that_is_read_is_never_written(run) -> None:
    Path("in.jsonl").write_text('"a"\n')
    for extra in ([], ["--overwrite"]):
        result = run("embed", "in.jsonl", "-o", "./in.jsonl", *extra, *FAKE)
        assert "is the file that is read" in result.stderr
    assert Path("in.jsonl").read_text("utf-8") == '"a"\n'


def test_an_array_that_exists_is_not_overwritten_unasked(run, texts: str) -> None:
    Path("out.npy").write_bytes(b"mine")
    assert "out.npy exists" in run("embed", texts, "-o", "out.npy", *FAKE).stderr
    assert Path("out.npy").read_bytes() == b"mine"
    assert run("embed", texts, "-o", "out.npy", "--overwrite", *FAKE).exit_code == 0


@pytest.mark.parametrize("output", ["out.bin", "absent/out.jsonl", "folder.jsonl"])
def test_an_output_that_cannot_be_written_is_named_before_any_work(run, texts: str, output: str, counting) -> None:
    Path("folder.jsonl").mkdir()
    result = run("embed", texts, "-o", output)
    assert result.exit_code == 1
    assert output in result.stderr
    assert counting.embedded == []


def test_a_column_is_embedded_and_blank_cells_are_told(run) -> None:
    Path("in.csv").write_text("id,text\n1,a\n2,\n3,b\n")
    result = run("embed", "in.csv", "--column", "text", *FAKE)
    assert [(row["line"], row["text"]) for row in lines(result.stdout)] == [(2, "a"), (4, "b")]
    assert "rows without text were left out: 1 (line 3)" in result.stderr


def test_standard_input_is_read(run) -> None:
    assert len(lines(run("embed", "-", *FAKE, input="a\nb\n").stdout)) == 2
    assert len(lines(run("embed", "-", "--format", "jsonl", *FAKE, input='"a"\n').stdout)) == 1


@pytest.mark.parametrize("vectors", [[[1.0], [1.0, 2.0]], [[float("nan")]], [[float("inf")]], [[]], [[1e39]]])
def test_vectors_that_cannot_be_compared_are_refused(vectors: list[list[float]]) -> None:
    with pytest.raises(BadVectors):
        checked(vectors)


def test_a_width_that_changes_on_the_way_is_refused() -> None:
    rows = [InputRow(1, "a"), InputRow(2, "b")]
    with vector_file(Path("out.npy"), rows, "m") as file:
        file.add(rows[:1], np.ones((1, 2), np.float32))
        with pytest.raises(BadVectors, match="3 numbers after some of 2"):
            file.add(rows[1:], np.ones((1, 3), np.float32))


def test_a_part_file_with_a_broken_head_is_refused() -> None:
    for head in ["[]", '{"texts": "x"}', '{"width": "x"}', "{"]:
        Path("out.npy.part").write_text(head + "\n")
        with (
            pytest.raises(ChainkitError, match="not written by"),
            vector_file(Path("out.npy"), [InputRow(1, "a")], "m"),
        ):
            pass


def test_parquet_has_the_columns_of_jsonl_and_an_interrupted_run_goes_on(run, texts: str, counting: Counting) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    counting.stops_after = 6
    assert run("embed", texts, "-o", "v.parquet", "--batch-size", "3").exit_code != 0
    assert not Path("v.parquet").exists()
    counting.stops_after = 10**9
    assert run("embed", texts, "-o", "v.parquet", "--batch-size", "3").exit_code == 0
    assert counting.embedded == TEXTS
    table = parquet.read_table("v.parquet").to_pydict()
    assert table["text"] == TEXTS
    assert table["line"] == list(range(1, 11))
    assert set(table["model"]) == {"minilm"}
    np.testing.assert_allclose(table["vector"], FakeEmbeddings(dimensions=16).embed_array(TEXTS))
    assert "exists; --overwrite" in run("embed", texts, "-o", "v.parquet").stderr
