"""Users of transformers models are told nothing by the libraries below."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.noise import notices, strict

EXAMPLE = Path(__file__).parents[3] / "examples" / "huggingface.py"


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_example_runs_without_a_warning(kind, folder, tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), folder(kind), "the cat"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
        env=strict(),
    )
    assert done.returncode == 0, done.stderr
    assert not notices(done.stderr)
    assert "none of them again" in done.stdout
