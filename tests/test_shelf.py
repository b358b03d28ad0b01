"""The public shelf: what users may rely on is reachable, shown by Tab and help, and all that the docs use is on it."""

from __future__ import annotations

import ast
import importlib
import json
import pydoc
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import chainkit
from tests.test_docs import PAGES, ROOT, blocks

MODULES = ["chainkit", *(f"chainkit.{name}" for name in chainkit.__all__ if name[0].islower())]
SHELF = {name: module for name in MODULES if isinstance(module := pydoc.locate(name), ModuleType)}
EXAMPLES = [*sorted((ROOT / "examples").glob("*.py")), *sorted((ROOT / "examples").glob("*.ipynb"))]
DOTTED = re.compile(r"`(chainkit\.[\w.]+)")


def test_the_shelf_has_the_modules_that_users_may_rely_on() -> None:
    promised = ("constraints", "errors", "knowledge", "programs", "sizing", "testing", "tuning")
    assert {"chainkit", *(f"chainkit.{name}" for name in promised)} <= set(SHELF)


def test_no_function_of_a_lazy_module_has_the_name_of_a_file_in_it() -> None:
    """Importing the file would put the module where the function was."""
    for name, module in SHELF.items():
        if hasattr(module, "_HOMES") and hasattr(module, "__path__"):
            files = {path.stem for folder in module.__path__ for path in Path(folder).iterdir()}
            clash = {one for one in module.__all__ if one in files and not isinstance(getattr(module, one), ModuleType)}
            assert not clash, name


@pytest.mark.parametrize("name", SHELF)
def test_dir_and_all_of_a_public_module_agree_and_every_name_is_there(name: str) -> None:
    module = SHELF[name]
    assert dir(module) == sorted(module.__all__)
    assert all(getattr(module, one) is not None for one in module.__all__)
    assert module.__doc__


@pytest.mark.parametrize("name", SHELF)
def test_a_type_checker_sees_the_names_that_are_there(name: str) -> None:
    tree = ast.parse(Path(SHELF[name].__file__ or "").read_text("utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname or alias.name for node in imports for alias in node.names}
    assert {one for one in SHELF[name].__all__ if one != "__version__"} <= seen


@pytest.mark.parametrize("name", SHELF)
def test_help_names_what_a_module_has(name: str) -> None:
    text = pydoc.plain(pydoc.render_doc(SHELF[name]))
    names = {*SHELF[name].__all__} - {"__version__"}  # help has a heading for it
    missing = [one for one in names if not re.search(rf"\b{one}\b", text)]
    assert not missing


@pytest.mark.parametrize("name", SHELF)
def test_a_wrong_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        SHELF[name].no_such_name  # noqa: B018


def code_of(path: Path) -> str:
    """All Python of a page, a notebook or a file; blocks that are not run included."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        return "\n".join(block.code for block in blocks(path) if block.language == "python")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        lines = [line for cell in cells for line in "".join(cell["source"]).splitlines()]
        return "\n".join(line for line in lines if not line.startswith(("%", "!")))
    return text


def used(code: str) -> Iterator[str]:
    """Dotted names below chainkit that code imports or reads."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "chainkit":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "chainkit")
        elif isinstance(node, ast.Attribute) and (dotted := ast.unparse(node)).startswith("chainkit."):
            yield dotted if re.fullmatch(r"[\w.]+", dotted) else "chainkit"


def on_the_shelf(dotted: str) -> bool:
    module, rest = chainkit, dotted.split(".")[1:]
    while rest and isinstance(module, ModuleType) and module.__name__ in SHELF:
        name, *rest = rest
        if name not in module.__all__:
            return False
        module = getattr(module, name)
    return True


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=lambda path: str(path.relative_to(ROOT)))
def test_what_the_docs_use_is_on_the_shelf(path: Path) -> None:
    prose = DOTTED.findall(path.read_text("utf-8")) if path.suffix == ".md" else []
    assert not [name for name in {*used(code_of(path)), *prose} if not on_the_shelf(name.rstrip("."))]


def test_the_shelf_knows_what_is_not_on_it() -> None:
    assert not on_the_shelf("chainkit.base.errors")
    assert not on_the_shelf("chainkit.knowledge.index.index.Index")
    assert on_the_shelf("chainkit.knowledge.Index.open")


def test_the_errors_module_is_light() -> None:
    statement = "import sys, chainkit.errors; print(any(name in sys.modules for name in ('numpy', 'langchain_core')))"
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_typed_constructors_need_no_spec() -> None:
    model = chainkit.GGUFModel(model=str(ROOT / "examples" / "demo_model" / "demo-q8_0.gguf"))
    assert model.session is not None
    assert importlib.import_module("chainkit.registry").llm(f"gguf:{model.model}").__class__ is chainkit.GGUFModel
