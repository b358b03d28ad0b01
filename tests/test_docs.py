"""What the README and the pages say can be copied and run.

Python blocks of a page run in order in one namespace, console lines that begin with `$ chainkit`, `$ printf`, `$ echo`
or `$ python` run in a shell. Both happen in a folder that holds the project's docs and examples, offline, where any
GGUF file a page names is the demo model and OpenAI is a server on this machine. A block after `<!-- no-run -->` is
only compiled. A warning of any library is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chainkit.testing.server.openai import serve
from tests.noise import notices, strict

ROOT = Path(__file__).parent.parent
DEMO_MODEL = ROOT / "examples" / "demo_model" / "demo-q8_0.gguf"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "demo_model" / "README.md"]
BLOCK = re.compile(r"(<!-- no-run -->\n)?```(python|console)\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:chainkit|printf|echo|python) .*)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]+\]\(([^)#:]+)(?:#[^)]*)?\)")


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    line: int
    run: bool


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for match in BLOCK.finditer(text):
        yield Block(match[2], match[3], text[: match.start(3)].count("\n"), run=not match[1])


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ["docs", "examples"]:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    with serve() as base_url:
        monkeypatch.setenv("OPENAI_BASE_URL", base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-for-the-docs")
        yield tmp_path


def link_models(text: str, folder: Path) -> None:
    for name in set(re.findall(r"[\w./-]+\.gguf", text)):
        path = folder / name
        if ".." not in name and not name.startswith("/") and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(DEMO_MODEL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_can_be_run(page: Path, workplace: Path) -> None:
    link_models(page.read_text("utf-8"), workplace)
    namespace: dict[str, Any] = {"__name__": "__page__"}
    for block in blocks(page):
        if block.language == "python":
            code = compile("\n" * block.line + block.code, str(page), "exec")
            if block.run:
                exec(code, namespace)
        elif block.run:
            for command in COMMAND.findall(block.code):
                run(command, f"{page.name}:{block.line}")


def run(command: str, where: str) -> None:
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, encoding="utf-8", timeout=300, check=False, input="", env=strict()
    )
    assert done.returncode == 0, f"{where}: {command}\n{done.stdout}\n{done.stderr}"
    assert not notices(done.stderr), f"{where}: {command}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_every_page_is_reached_from_the_readme() -> None:
    linked = {(ROOT / target).resolve() for target in LINK.findall((ROOT / "README.md").read_text("utf-8"))}
    assert {page.resolve() for page in PAGES[1:]} <= linked
