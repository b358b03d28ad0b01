"""The plugin is there where chainkit is installed, and costs nothing where it is not used."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import httpx2
import pytest

from chainkit import testing
from chainkit.testing import OpenAIServer
from chainkit.testing.server import faults

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def test_pytest_finds_the_plugin() -> None:
    assert "chainkit.testing.plugin" in {point.value for point in entry_points(group="pytest11")}


def test_the_plugin_imports_nothing_but_pytest() -> None:
    code = (
        "import pytest, sys; before = set(sys.modules); import chainkit.testing.plugin;"
        "print(*{n.partition('.')[0] for n in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["chainkit"]


def test_the_server_imports_only_the_standard_library() -> None:
    code = (
        "import sys; from chainkit.testing.server import openai, faults;"
        "print(*{n.partition('.')[0] for n in sys.modules} - sys.stdlib_module_names)"
    )
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    everywhere = ("_", "coverage", "sitecustomize", "usercustomize")
    assert {name for name in loaded if not name.startswith(everywhere)} == {"chainkit"}


def test_every_public_name_is_there() -> None:
    for name in testing.__all__:
        value = getattr(testing, name)
        assert not isinstance(value, type) or value.__name__ == name
    with pytest.raises(AttributeError, match="'Nothing'"):
        testing.Nothing  # noqa: B018


def test_a_fault_is_for_the_next_request_only(openai_server: OpenAIServer) -> None:
    def ask() -> int:
        headers = {"authorization": f"Bearer {openai_server.key}"}
        return httpx2.get(f"{openai_server.base_url}/models", headers=headers).status_code

    openai_server.fail(faults.rate_limited("1"))
    assert [ask(), ask()] == [429, 200]


@pytest.mark.slow
def test_the_example_for_authors_passes_as_it_is_copied(tmp_path: Path) -> None:
    """In a project of its own, with the plugin as pytest finds it."""
    text = PAGE.read_text("utf-8")
    for name in ("their_model.py", "test_their_model.py"):
        block = text.partition(f"# {name}\n")[2].partition("```")[0]
        assert block
        (tmp_path / name).write_text(block)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:socket", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
