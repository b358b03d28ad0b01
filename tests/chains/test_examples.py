"""The examples of this room run and show what they promise."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("chain", "answered by FakeChat first"), ("trace", "2 calls, 6 tokens in, 6 out, cost unknown")],
)
def test_the_example_runs(
    name: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(EXAMPLES / f"{name}.py"))
    assert shown in capsys.readouterr().out
