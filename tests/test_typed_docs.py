"""The Python of the pages is clean under pyright's strict mode: users' editors see types, not Unknown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import PAGES, ROOT, blocks

UNTYPED = {
    "agents.md": ("create_agent",),
    "providers.md": ("class EchoChat",),
    "scale.md": ("import ray",),
    "testing.md": ("their_model", "class TestMyChat"),
    "tuning.md": ("PeftModel",),
    "upscale.md": ("from_pretrained",),
}
"""Page to words of the blocks that are files of another package, or that use libraries without types."""


def code_of(page: Path) -> str:
    """All blocks of a page as one module, at the lines where they stand in it."""
    lines: list[str] = []
    skipped = ("def test_", *UNTYPED.get(page.name, ()))
    for block in blocks(page):
        if block.language == "python" and not any(word in block.code for word in skipped):
            lines += [""] * (block.line - len(lines)) + block.code.splitlines()
    return "# pyright: strict, reportUnusedExpression=false, reportDuplicateImport=false" + "\n".join(lines) + "\n"


@pytest.mark.slow
def test_the_python_of_the_pages_is_clean_in_strict_mode(tmp_path: Path) -> None:
    for page in PAGES:
        name = f"{page.parent.name}_{page.stem}.py".replace("-", "_")
        (tmp_path / name).write_text(code_of(page))
    config = {"pythonVersion": "3.11", "venvPath": str(ROOT), "venv": ".venv", "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "pyright", "--outputjson", "-p", str(tmp_path), "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    faults = [
        f"{Path(one['file']).stem}:{one['range']['start']['line'] + 1}: {one['message']} [{one.get('rule', '')}]"
        for one in found
    ]
    assert not faults, "\n".join(faults)
