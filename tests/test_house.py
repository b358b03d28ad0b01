"""The tables of the house agree with each other: code, extras, pages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from chainkit.registry import ALIASES, CHAT_MODELS, EMBEDDINGS, LLMS
from tests import drawing, house, words

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
SOURCES = sorted((ROOT / "chainkit").rglob("*.py"))
NAMED_EXTRA = re.compile(r"""(?:extra=|chainkit\[)["']?([a-z0-9-]+)""")


def everything_in(extra: str) -> set[str]:
    """The requirements of an extra, those of the extras it names included."""
    wanted: set[str] = set()
    for item in EXTRAS[extra]:
        own = re.fullmatch(r"chainkit\[(.+)\]", item)
        wanted |= set().union(*(everything_in(name) for name in own[1].split(","))) if own else {item}
    return wanted


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_extra_that_an_error_names_exists(path: Path) -> None:
    assert set(NAMED_EXTRA.findall(path.read_text("utf-8"))) - {"allow", "forbid"} <= set(
        EXTRAS
    )  # pydantic has one too


def test_every_extra_installs_something() -> None:
    assert all(EXTRAS.values())


def test_the_default_install_has_no_torch() -> None:
    wanted = set(PROJECT["dependencies"]) | everything_in("all")
    assert not [item for item in wanted if re.match(r"(torch|transformers|sentence.transformers)\b", item)]


def test_the_readme_names_every_extra_for_users() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    missing = [
        name
        for name in EXTRAS
        if not name.startswith("test") and name not in {"bench", "dev", "dist", "docs"} and f"`{name}`" not in readme
    ]
    assert not missing


def test_an_alias_is_no_row_and_leads_to_one() -> None:
    tables = LLMS.keys() | CHAT_MODELS.keys() | EMBEDDINGS.keys()
    assert not ALIASES.keys() & tables
    assert set(ALIASES.values()) <= tables


@pytest.mark.parametrize("folder", [path for path in (ROOT / "chainkit").rglob("*") if (path / "__init__.py").exists()])
def test_a_folder_says_what_it_is_for(folder: Path) -> None:
    assert (folder / "__init__.py").read_text("utf-8").startswith('"""')


def test_the_house_has_no_circle_and_no_class_name_twice() -> None:
    assert house.count(ROOT / "chainkit").faults() == []


def test_circles_and_shared_names_are_seen(tmp_path: Path) -> None:
    package = tmp_path / "small"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from small import b\n\n\nclass One: ...\n")
    (package / "b.py").write_text("def late():\n    from small.c import x\n    return x\n")
    (package / "c.py").write_text("import small.a\n\nx = 1\n\n\nclass One: ...\n\n\nclass _Two: ...\n")
    (package / "d.py").write_text("import small.a\n\n\nclass _Two: ...\n")
    found = house.count(package)
    assert found.circles == (("small.a", "small.b", "small.c"),)
    assert found.shared == {"One": ("small.a", "small.c")}
    assert (found.lines, found.files, found.longest_file, found.longest_function) == (
        20,
        5,
        (9, "small.c"),
        (3, "small.b.late"),
    )
    assert "circle: small.a small.b small.c" in found.faults()
    assert "class One: small.a small.c" in found.faults()


def test_the_architecture_page_is_drawn_from_the_code() -> None:
    text = drawing.PAGE.read_text("utf-8")
    assert drawing.drawn(text) == text, "python -m tests.drawing draws it anew"


def test_the_architecture_page_names_exactly_the_folders_that_exist() -> None:
    named = re.findall(r"^\| `(chainkit[\w/]*)` \|", drawing.PAGE.read_text("utf-8"), re.MULTILINE)
    there = {str(path.parent.relative_to(ROOT)) for path in (ROOT / "chainkit").rglob("*.py")}
    assert sorted(named) == sorted(there)


def test_the_package_is_written_in_plain_words() -> None:
    assert words.mannered() == []


@pytest.mark.parametrize("page", words.pages())
def test_a_page_opens_with_search_words_and_an_example_and_has_its_words(page: str) -> None:
    assert words.faults(page) == []
