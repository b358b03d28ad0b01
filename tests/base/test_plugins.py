"""Providers of other packages: found by entry points, imported when used, refused by name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import chainkit
from chainkit import registry
from chainkit.base import plugins
from chainkit.base.errors import ModelFileError, SpecError, UnknownProvider

PAGE = (Path(__file__).parents[2] / "docs" / "providers.md").read_text("utf-8")


def install(folder: Path, package: str, points: dict[str, str], code: str) -> None:
    """Put a package into a folder as an installer would."""
    folder.mkdir(exist_ok=True)
    (folder / f"{package}.py").write_text(code)
    info = folder / f"{package}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 0.1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[chainkit.providers]\n{lines}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder on the path; what is known of plugins is forgotten before and after."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    plugins.installed.cache_clear()
    registry._plugin.cache_clear()
    yield tmp_path
    plugins.installed.cache_clear()
    registry._plugin.cache_clear()
    for name in [name for name in sys.modules if name.startswith("their_") and name not in before]:
        del sys.modules[name]


def test_the_package_of_the_page_is_a_provider_in_python_and_in_the_shell(tmp_path: Path) -> None:
    project = tomllib.loads(block(PAGE, "toml"))["project"]
    code = block(PAGE, "python", containing="class EchoChat")
    assert len([line for line in (block(PAGE, "toml") + code).splitlines() if line.strip()]) <= 30
    install(tmp_path, "chainkit_echo", project["entry-points"][plugins.GROUP], code)
    statement = "import chainkit; print(chainkit.chat_model('Echo:loud?times=2').invoke('hello').text)"
    assert python(tmp_path, "-c", statement) == "HELLO HELLO"
    assert re.search(r"echo[\s|]+chat[\s|]+ready", python(tmp_path, "-m", "chainkit", "models"))


def python(folder: Path, *words: str) -> str:
    program = [sys.executable, *words]
    done = subprocess.run(
        program, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(folder)}
    )
    return done.stdout.strip()


def block(page: str, language: str, containing: str = "") -> str:
    found = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    return next(code for code in found if containing in code)


FOUR = textwrap.dedent("""
    from langchain_core.embeddings import FakeEmbeddings
    import chainkit
    from chainkit.backends.fake import FakeChat, FakeLLM

    class Vectors(FakeEmbeddings):
        model: str = ""
        size: int = 3

    provider = chainkit.Provider(chat_model=FakeChat, llm="chainkit.backends.fake:FakeLLM", embeddings=Vectors)
""")


def test_a_provider_value_has_several_kinds_and_says_which_it_lacks(site: Path) -> None:
    install(site, "their_four", {"their-models": "their_four:provider"}, FOUR)
    assert "their_models" in chainkit.providers()
    assert chainkit.chat_model("their-models:?reply=yes").invoke("x").text == "yes"
    assert chainkit.llm("their_models:?reply=yes").invoke("x") == "yes"
    assert len(chainkit.embeddings("their_models:small?size=5").embed_query("x")) == 5
    with pytest.raises(SpecError, match="has no reranker"):
        chainkit.reranker("their_models:x")
    with pytest.raises(SpecError, match="no option 'sise'; did you mean 'size'"):
        chainkit.embeddings("their_models:small?sise=5")


def test_a_program_and_a_fallback_know_the_provider(site: Path) -> None:
    install(site, "their_four", {"theirs": "their_four:provider"}, FOUR)
    assert chainkit.fallback("theirs:?reply=first", "fake:").invoke("x").text == "first"
    assert registry.answering("theirs:?reply=yes").invoke("x").text == "yes"
    assert registry.continuing("theirs:?reply=yes").invoke("x") == "yes"


def test_nothing_is_imported_before_the_provider_is_used(site: Path) -> None:
    install(site, "their_broken", {"broken": "their_broken:Model"}, "import no_such_library\n")
    assert "broken" in chainkit.providers()
    with pytest.raises(SpecError, match=r"'broken' of their-broken .*cannot be loaded: No module named"):
        chainkit.chat_model("broken:x")


def test_an_entry_point_that_is_no_model_is_named(site: Path) -> None:
    install(site, "their_number", {"number": "their_number:FIVE"}, "FIVE = 5\n")
    with pytest.raises(SpecError, match=r"'number' is neither a chainkit.Provider nor a model class: 5"):
        chainkit.chat_model("number:x")


def test_two_packages_with_one_name_are_refused(site: Path) -> None:
    install(site, "their_one", {"same": "their_one:provider"}, FOUR)
    install(site, "their_two", {"Same": "their_two:provider"}, FOUR)
    with pytest.raises(SpecError, match=r"two packages bring a provider 'same': their-one .* their-two"):
        chainkit.chat_model("same:x")


def test_a_package_cannot_replace_a_provider_of_chainkit(site: Path) -> None:
    install(site, "their_fake", {"fake": "their_fake:nothing"}, "nothing = None\n")
    assert chainkit.chat_model("fake:?reply=ours").invoke("x").text == "ours"


def test_own_providers_are_used_without_a_search_for_packages(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **kw: pytest.fail("searched"))
    chainkit.chat_model("fake:")
    with pytest.raises(ModelFileError):
        chainkit.chat_model("./no-such-file.gguf")


def test_an_unknown_provider_is_compared_with_those_of_packages(site: Path) -> None:
    install(site, "their_four", {"melody": "their_four:provider"}, FOUR)
    assert entry_points(group=plugins.GROUP)
    with pytest.raises(UnknownProvider, match="did you mean 'melody'"):
        chainkit.chat_model("melodi:x")
