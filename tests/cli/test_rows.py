from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.base.errors import DocumentError
from chainkit.cli.rows import decoded, read_rows, read_text


def rows(content: str | bytes, name: str = "in.txt", **options: str) -> list[tuple[int, str]]:
    path = Path(name)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [(row.line, row.text) for row in read_rows(name, **options).rows]


def fault(content: str | bytes, name: str = "in.txt", **options: str) -> str:
    with pytest.raises(DocumentError) as caught:
        rows(content, name, **options)
    assert str(caught.value).startswith(name)
    return str(caught.value)


def test_each_line_is_a_text_and_blank_lines_are_none() -> None:
    assert rows("one\n\n  two \r\n\t\nthree") == [(1, "one"), (3, "two"), (5, "three")]


def test_a_line_is_cut_at_new_lines_only() -> None:
    assert rows("a\x0cb\u2028c\x85d\n") == [(1, "a\x0cb\u2028c\x85d")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_no_text(encoding: str) -> None:
    assert rows("naïve\nzwei".encode(encoding)) == [(1, "naïve"), (2, "zwei")]


def test_bytes_that_are_not_utf8_are_named_with_their_line() -> None:
    assert "line 3 is not UTF-8 (byte 0xff)" in fault(b"a\nb\nc \xff\n")
    with pytest.raises(DocumentError, match="line 7"):
        decoded("x", b"\xff", 7)


@pytest.mark.parametrize(("name", "content"), [("in.txt", ""), ("in.txt", " \n\n"), ("in.csv", ""), ("in.csv", "a\n")])
def test_a_file_without_text_is_named(name: str, content: str) -> None:
    assert "holds no text" in fault(content, name)


def test_an_absent_file_and_a_folder_are_named() -> None:
    with pytest.raises(DocumentError, match="no such file"):
        read_text("absent")
    with pytest.raises(DocumentError, match="is a folder"):
        read_text(".")


def test_a_column_is_found_by_its_name() -> None:
    assert rows('id,text\n1,"a, b"\n2,"c\nd"\n3,e\n', "in.csv", column="text") == [(2, "a, b"), (4, "c\nd"), (5, "e")]


def test_one_column_needs_no_name() -> None:
    assert rows("text\na\nb\n", "in.csv") == [(2, "a"), (3, "b")]


def test_semicolons_and_tabs_separate_too() -> None:
    assert rows("id;text\n1;a, b\n", "in.csv", column="text") == [(2, "a, b")]
    assert rows("id\ttext\n1\ta, b\n", "in.tsv", column="text") == [(2, "a, b")]


def test_the_format_can_be_said() -> None:
    assert rows("id,text\n1,a\n", "in.dat", column="text", kind="csv") == [(2, "a")]
    assert rows("id,text\n1,a\n", "in.csv", kind="lines") == [(1, "id,text"), (2, "1,a")]


def test_a_missing_column_is_told_with_those_there_are() -> None:
    message = fault("id,text\n1,a\n", "in.csv", column="txt")
    assert "no column 'txt'" in message
    assert "did you mean 'text'?" in message
    assert "columns: id, text" in message


def test_several_columns_need_a_choice() -> None:
    assert "--column: id, text" in fault("id,text\n1,a\n", "in.csv")
    assert "line 1 has several fields; choose one with --column: a, b" in fault('{"a": "x", "b": "y"}', "in.jsonl")


def test_a_column_of_lines_is_refused() -> None:
    assert "drop --column" in fault("a\n", column="text")


def test_two_columns_of_one_name_are_refused() -> None:
    assert "2 columns named 'a'" in fault("a,a\n1,2\n", "in.csv", column="a")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n1,2,3\n", "line 3 has 3 cells and the header has 2"),
        ("a,b\n1\n", "line 2 has 1 cells"),
        ('a,b\n1,"open\n', "is not CSV"),
        ('a,b\n1,"x"y\n', "line 2 is not CSV"),
    ],
)
def test_broken_csv_is_named_with_its_line(content: str, words: str) -> None:
    assert words in fault(content, "in.csv", column="b")


def test_blank_cells_are_counted_and_left_out() -> None:
    Path("in.csv").write_text("id,text\n1,a\n2,\n3, \n4,b\n")
    found = read_rows("in.csv", column="text")
    assert found.texts == ["a", "b"]
    assert found.blank_lines == (3, 4)


def test_jsonl_holds_texts_or_objects() -> None:
    assert rows('"a"\n\n{"text": "b"}\n{"text": null}\n', "in.jsonl") == [(1, "a"), (3, "b")]
    assert rows('{"id": 1, "text": "b"}', "in.ndjson", column="text") == [(1, "b")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('"a"\nb\n', "line 2 is not JSON"),
        ("[1]\n", "line 1 holds list"),
        ('{"a": 1}\n', "line 1 holds int"),
        ('{"a": "\\ud800"}\n', "line 1 has half of a surrogate pair"),
        ('{"b": "x"}\n', "line 1 has no column 'a'; columns: b"),
        ("[" * 100_000, "line 1 is not JSON"),
    ],
)
def test_broken_jsonl_is_named_with_its_line(content: str, words: str) -> None:
    options = {"column": "a"} if '"b"' in content else {}
    assert words in fault(content, "in.jsonl", **options)


TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1).filter(str.strip),
    min_size=1,
    max_size=8,
)


@given(TEXTS)
def test_what_a_csv_writer_wrote_is_read(texts: list[str]) -> None:
    file = io.StringIO()
    csv.writer(file).writerows([["id", "text"], *enumerate_rows(texts)])
    path = Path("given.csv")
    path.write_bytes(file.getvalue().encode())
    assert read_rows("given.csv", column="text").texts == [text.strip() for text in texts]


@given(TEXTS)
def test_what_a_json_writer_wrote_is_read(texts: list[str]) -> None:
    Path("given.jsonl").write_bytes("\n".join(json.dumps({"text": text}) for text in texts).encode())
    assert read_rows("given.jsonl").texts == [text.strip() for text in texts]


def enumerate_rows(texts: list[str]) -> list[list[str]]:
    return [[str(number), text] for number, text in enumerate(texts)]
