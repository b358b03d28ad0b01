from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("gguf")

from chainkit.sizing.header import read_header
from tests.backends.llama_cpp.old_files import write_old


@pytest.fixture
def old(tmp_path: Path) -> str:
    path = tmp_path / "old.ggmlv3.bin"
    write_old(path)
    return str(path)


def test_an_old_file_becomes_gguf_after_its_plan_was_shown(run, old: str) -> None:
    result = run("convert", old, "new.gguf", "--context", "1234")
    assert result.stdout == "new.gguf\n"
    assert "Llama of" in result.stderr
    assert read_header(Path("new.gguf"))["llama.context_length"] == 1234


def test_a_dry_run_writes_nothing(run, old: str) -> None:
    told = json.loads(run("convert", old, "new.gguf", "--dry-run", "--json").stdout)
    assert not Path("new.gguf").exists()
    assert told["written"] is False
    written = json.loads(run("convert", old, "new.gguf", "--json").stdout)
    assert Path("new.gguf").stat().st_size == written["bytes"] == told["bytes"]


def test_a_file_that_is_there_stays_unless_it_may_go(run, old: str) -> None:
    Path("new.gguf").write_bytes(b"mine")
    result = run("convert", old, "new.gguf")
    assert result.exit_code == 1
    assert "is there already" in result.stderr
    assert Path("new.gguf").read_bytes() == b"mine"
    assert run("convert", old, "new.gguf", "--overwrite").exit_code == 0
    assert read_header(Path("new.gguf")).architecture == "llama"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["old.ggmlv3.bin", "new.bin"], "must end in .gguf"),
        (["old.ggmlv3.bin", "no/where.gguf"], "there is no folder no"),
        (["nothing.bin", "new.gguf"], "there is no such file"),
        (["old.ggmlv3.bin", "new.gguf", "--rms-eps", "2"], "rms_eps must be between 0 and 1"),
        (["old.ggmlv3.bin", "new.gguf", "--rms-eps", "0"], "rms_eps must be between 0 and 1"),
        (["old.ggmlv3.bin", "new.gguf", "--rope-base", "0.5"], "rope_base must be above 1"),
    ],
)
def test_wrong_requests_leave_no_file(run, old: str, arguments: list[str], complaint: str) -> None:
    result = run("convert", *arguments)
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert [path.name for path in Path().iterdir()] == ["old.ggmlv3.bin"]


def test_a_file_that_was_cut_leaves_nothing_behind(run, old: str) -> None:
    Path(old).write_bytes(Path(old).read_bytes()[:-100])
    assert "cut short" in run("convert", old, "new.gguf").stderr
    assert [path.name for path in Path().iterdir()] == ["old.ggmlv3.bin"]
