"""Locks: one exact version of everything that pyproject.toml asks for, and no word about where it comes from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from checks.lock import BUILD, ENVIRONMENTS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SYSTEMS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": system,
        "platform_machine": machine,
    }
    for python in ("3.11", "3.12", "3.13")
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("win32", "AMD64"))
]


def wanted(extra: str) -> Iterator[Requirement]:
    """What an extra asks for, with the extras of chainkit that it names."""
    for text in PROJECT["optional-dependencies"][extra]:
        requirement = Requirement(text)
        if requirement.name != "chainkit":
            yield requirement
        for inner in requirement.extras if requirement.name == "chainkit" else ():
            yield from wanted(inner)


def pins(name: str) -> list[Requirement]:
    lines = (ROOT / "locks" / f"{name}.txt").read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]


def chosen(name: str, system: dict[str, str]) -> dict[str, str]:
    """Versions by package name, as one system takes them."""
    fits = [pin for pin in pins(name) if pin.marker is None or pin.marker.evaluate(system)]
    assert len({pin.name for pin in fits}) == len(fits), f"two versions of one package for {system}"
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in fits}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_lock_has_a_version_of_every_dependency_within_its_range(name):
    asked = [Requirement(text) for text in [*PROJECT["dependencies"], *BUILD.split()]]
    asked += [requirement for extra in ENVIRONMENTS[name] for requirement in wanted(extra)]
    for system in SYSTEMS:
        versions = chosen(name, system)
        for requirement in asked:
            if requirement.marker is not None and not requirement.marker.evaluate(system):
                continue
            version = versions.get(canonicalize_name(requirement.name))
            assert version is not None, f"locks/{name}.txt lacks {requirement}; run: make lock"
            assert requirement.specifier.contains(version), f"locks/{name}.txt has {version}: {requirement}"


@pytest.mark.parametrize("name", ["all", *ENVIRONMENTS])
def test_every_line_of_a_lock_is_one_exact_version(name):
    assert all(re.fullmatch(r"==[\w.!]+", str(pin.specifier)) and pin.url is None for pin in pins(name))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_package_has_one_version_in_all_locks(name):
    for system in SYSTEMS:
        assert chosen(name, system).items() <= chosen("all", system).items()


def test_the_demo_installs_no_torch():
    assert "torch" not in chosen("demo", SYSTEMS[0])


def test_locks_name_no_host_and_leave_the_build_of_torch_open():
    for path in (ROOT / "locks").iterdir():
        text = path.read_text("utf-8")
        assert "://" not in text
        assert "--" not in text
        assert not re.search(r"^(nvidia|triton)|\+cpu|\+cu", text, re.MULTILINE)
