"""Memory as the system tells it: control groups count, odd systems say nothing and nothing is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainkit.sizing.memory import available_memory, total_memory

MEMINFO = "MemTotal:       8000000 kB\nMemFree:         100000 kB\nMemAvailable:   6000000 kB\n"
KB = 1024


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "meminfo").write_text(MEMINFO)
    return folder


V2 = ("memory.max", "memory.current", "")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")


def group(folder: Path, limit: str, used: int, inactive: int, names: tuple[str, str, str] = V2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(limit)
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(
        f"anon 1\n{names[2]}inactive_file {inactive // 4}\n{names[2]}active_file {inactive * 3 // 4}\n"
    )


def test_without_limits_it_is_what_the_kernel_says(proc: Path, tmp_path: Path) -> None:
    assert available_memory(proc, tmp_path) == 6_000_000 * KB
    assert total_memory(proc, tmp_path) == 8_000_000 * KB


@pytest.mark.parametrize("path", ["/", "/system.slice/docker-1.scope", "/not/seen/from/in/here"])
def test_a_container_has_what_its_group_leaves_it(proc: Path, tmp_path: Path, path: str) -> None:
    (proc / "self/cgroup").write_text(f"0::{path}\n")
    group(tmp_path / "cg", "2000000000\n", 1_500_000_000, 400_000_000)
    assert available_memory(proc, tmp_path / "cg") == 900_000_000  # files that were only read can go
    assert total_memory(proc, tmp_path / "cg") == 2_000_000_000


def test_the_tightest_of_nested_groups_counts(proc: Path, tmp_path: Path) -> None:
    (proc / "self/cgroup").write_text("0::/a/b\n")
    group(tmp_path / "cg" / "a", "3000000000", 1_000_000_000, 0)
    group(tmp_path / "cg" / "a" / "b", "max", 10, 0)
    assert available_memory(proc, tmp_path / "cg") == 2_000_000_000


def test_groups_of_the_first_version_count_and_their_no_limit_does_not(proc: Path, tmp_path: Path) -> None:
    (proc / "self/cgroup").write_text("9:cpu:/x\n4:memory:/job\n")
    group(tmp_path / "cg/memory", "9223372036854771712", 5, 0, V1)
    assert available_memory(proc, tmp_path / "cg") == 6_000_000 * KB
    group(tmp_path / "cg/memory/job", "1000000000", 700_000_000, 100_000_000, V1)
    assert available_memory(proc, tmp_path / "cg") == 400_000_000


def test_a_group_that_is_over_its_limit_has_nothing_left(proc: Path, tmp_path: Path) -> None:
    (proc / "self/cgroup").write_text("0::/\n")
    group(tmp_path / "cg", "100", 200, 0)
    assert available_memory(proc, tmp_path / "cg") == 0


@pytest.mark.parametrize("text", ["", "MemAvailable: many kB\n", "MemAvailable:\n", "\0\0"])
def test_a_system_that_says_nothing_is_not_guessed_at(tmp_path: Path, text: str) -> None:
    (tmp_path / "meminfo").write_text(text)
    assert available_memory(tmp_path, tmp_path) is None
    assert available_memory(tmp_path / "nowhere", tmp_path) is None


def test_here_it_is_a_sensible_number() -> None:
    free, total = available_memory(), total_memory()
    assert free is None or total is None or 0 < free <= total
