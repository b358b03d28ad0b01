"""Each example runs as its first lines say, from any folder, without the network and without a warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.noise import notices, strict

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
OFFLINE = [
    "agents.py",
    "ask_documents.py",
    "chain.py",
    "demo.py",
    "gguf_chat.py",
    "long_text.py",
    "map_rows.py",
    "nine_sentences.py",
    "own_index.py",
    "sizing.py",
    "solar.py",
    "tokens.py",
    "programs.py",
    "serve.py",
    "trace.py",
    "upscale.py",
]
# run by test_hosted.py, the Hugging Face tests and those of tuning
WITH_A_SERVICE_OR_TORCH = ["documents.py", "hosted.py", "huggingface.py", "tuning.py"]


def test_no_example_is_forgotten() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted([*OFFLINE, *WITH_A_SERVICE_OR_TORCH])


@pytest.mark.parametrize("name", OFFLINE)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        input="",
        timeout=300,
        check=False,
        env=strict(),
    )
    assert done.returncode == 0, done.stderr
    assert not notices(done.stderr)
    assert done.stdout.strip()
