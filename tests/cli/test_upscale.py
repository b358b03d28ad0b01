from __future__ import annotations

import json
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "demo_model"
GGUF = str(DEMO / "demo-q8_0.gguf")


def test_the_plan_comes_first_and_then_the_file(run) -> None:
    result = run("upscale", GGUF, "deep.gguf", "--drop", "1")
    assert result.exit_code == 0, result.stderr
    assert "new layers 4 to 7 copy layers 1 to 4" in result.stdout
    assert "worse than the old one until it is trained further" in result.stdout
    assert Path("deep.gguf").is_file()
    assert "wrote deep.gguf" in result.stderr


def test_a_dry_run_writes_nothing_and_speaks_json(run) -> None:
    result = run("upscale", str(DEMO / "hf"), "--slices", "0:5,2:5", "--dry-run", "--json")
    told = json.loads(result.stdout)
    assert told["sources"] == [0, 1, 2, 3, 4, 2, 3, 4]
    assert told["new_parameters"] > told["parameters"]
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "fault"),
    [
        ([GGUF, "x.gguf"], 2, "give --drop or --slices"),
        ([GGUF, "--drop", "1"], 2, "name the folder or file to make"),
        ([GGUF, "x.gguf", "--drop", "3"], 1, "no more than before; drop less than 3"),
        ([GGUF, "x.gguf", "--slices", "0:9"], 1, "the model has layers 0 to 4"),
        (["absent", "x", "--drop", "1"], 1, "there is no such file or folder"),
    ],
)
def test_wrong_words_are_answered_in_one_line(run, arguments: list[str], status: int, fault: str) -> None:
    result = run("upscale", *arguments)
    assert result.exit_code == status
    assert fault in result.stderr
    assert list(Path().iterdir()) == []
