from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.base.errors import BadExamples
from chainkit.tuning.examples import Example, held_out_apart, read_examples, read_texts
from chainkit.tuning.settings import SOURCE_SETTINGS, TuningSettings


def test_pairs_mappings_and_files_give_the_same_examples(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt,answer,other\n"a, b",c,1\nd,"e\nf",2\n')
    (tmp_path / "a.tsv").write_text("question\toutput\na, b\tc\nd\te\\nf\n".replace("\\n", " "))
    (tmp_path / "a.jsonl").write_text(
        '\ufeff{"input": "a, b", "completion": "c"}\n\n{"input": "d", "completion": "e"}\n', "utf-8"
    )
    wanted = [Example("a, b", "c"), Example("d", "e\nf")]
    assert read_examples(tmp_path / "a.csv") == wanted
    assert read_examples([("a, b", "c"), ["d", "e\nf"]]) == wanted
    assert read_examples([{"prompt": "a, b", "answer": "c"}, {"prompt": "d", "answer": "e\nf"}]) == wanted
    assert read_examples(str(tmp_path / "a.tsv"))[1] == Example("d", "e f")
    assert read_examples(tmp_path / "a.jsonl")[1] == Example("d", "e")
    assert read_examples(tmp_path / "a.csv", "answer", "other")[0] == Example("c", "1")


def test_the_prompts_for_chatgpt_are_read_by_their_own_columns() -> None:
    assert read_examples([{"act": "Poet", "prompt": "I want you to act as a poet."}])[0].prompt == "Poet"


@given(st.lists(st.tuples(st.text(), st.text().filter(str.strip)), min_size=1, max_size=5))
def test_any_texts_come_back_from_jsonl(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    path.write_text("".join(json.dumps({"prompt": a, "answer": b}) + "\n" for a, b in pairs))
    assert read_examples(path) == [Example(*pair) for pair in pairs]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.csv", b"prompt,answer\na\n", "line 2: not as many cells"),
        ("a.csv", b"prompt,answer\n", "holds no examples"),
        ("a.csv", b"one,two\na,b\n", "no columns that look like prompt and answer; columns: one, two"),
        ("a.csv", b"prompt,answer\na, \n", "line 2 has no answer"),
        ("a.csv", b'prompt,answer\na,"b', "line 2 is not CSV: unexpected end"),
        ("a.csv", b"prompt,answer\n\xff,b", "not UTF-8"),
        ("a.jsonl", b"{", "line 1 is not JSON"),
        ("a.jsonl", b"3\n", "line 1 is not a pair"),
        ("a.jsonl", b'{"prompt": "a", "answer": 3}\n', "line 1: the answer is 3 and no text"),
        ("a.parquet", b"", "examples are read from .csv, .tsv and .jsonl files"),
    ],
)
def test_a_file_that_holds_something_else_is_named_with_its_line(
    name: str, content: bytes, fault: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadExamples, match=fault):
        read_examples(tmp_path / name)


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ([], "holds no examples"),
        (["text"], "example 1 is not a pair"),
        ([("a", "b", "c")], "example 1 is not a pair"),
        ([("a", None)], "the answer is None"),
        ({"a": "b"}, "not a dict"),
        (3, "not a int"),
    ],
)
def test_things_that_are_no_examples_are_refused(what: object, fault: str) -> None:
    with pytest.raises(BadExamples, match=fault):
        read_examples(what)


def test_a_column_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,reply\na,b\n")
    with pytest.raises(BadExamples, match="no column 'replies'; did you mean 'reply'"):
        read_examples(tmp_path / "a.csv", "question", "replies")
    with pytest.raises(BadExamples, match="there is no such file"):
        read_examples(tmp_path / "b.csv")


def test_prompts_that_are_alike_stay_on_one_side() -> None:
    examples = [Example(str(number % 5), str(number)) for number in range(50)]
    train, held = held_out_apart(examples, 0.2, seed=1)
    assert len(train) + len(held) == 50
    assert not {one.prompt for one in train} & {one.prompt for one in held}
    assert held_out_apart(examples, 0.2, seed=1) == (train, held)
    with pytest.raises(BadExamples, match="3 different prompts are too few"):
        held_out_apart([Example(str(number % 3), "x") for number in range(9)], 0.1, 0)


def test_texts_come_from_paragraphs_tables_and_python(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n\n\nthree\n")
    (tmp_path / "a.csv").write_text("text\none\n")
    assert read_texts(tmp_path / "a.txt") == ["one\ntwo", "three"]
    assert (
        read_texts(tmp_path / "a.csv") == read_texts(["one", " "]) == read_texts([{"body": "one"}], "body") == ["one"]
    )
    with pytest.raises(BadExamples, match="no text in a column 'text'; columns: body"):
        read_texts([{"body": "one"}])
    with pytest.raises(BadExamples, match="holds no text"):
        read_texts([" "])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"virtual_tokens": 0}, "virtual_tokens must be a whole number from 1 to 1000, got 0"),
        ({"virtual_tokens": 2.5}, "got 2.5"),
        ({"init": "zero"}, "init must be one of text, sampled, random, got 'zero'"),
        ({"method": "lora"}, "method must be one of soft"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"reach": -1}, "reach must be above 0"),
        ({"held_out": 1}, "held_out must be between 0 and 1"),
        ({"epochs": 0}, "epochs"),
        ({"patience": 0}, "patience"),
        ({"init": "random", "init_text": "a"}, "only goes with init='text'"),
        ({"init_text": " "}, "must hold text"),
    ],
)
def test_a_setting_out_of_range_is_refused(change: dict[str, object], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        TuningSettings(**change)


def test_the_settings_of_the_source_are_its_own() -> None:
    settings = TuningSettings(**SOURCE_SETTINGS)
    assert (settings.virtual_tokens, settings.init, settings.learning_rate, settings.epochs) == (4, "random", 0.005, 5)
    assert settings.reach is settings.patience is None
