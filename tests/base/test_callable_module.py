import importlib
import inspect
import sys
from pathlib import Path

import pytest

from chainkit.base.callable_module import make_callable


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "doubled_for_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("'''Twice.'''\n")
    (folder / "work.py").write_text("def doubled(n, *, plus=0):\n    return 2 * n + plus\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder.name
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def test_a_package_is_called_and_still_has_its_modules(package: str) -> None:
    module = importlib.import_module(package)
    make_callable(package, f"{package}.work:doubled")
    assert f"{package}.work" not in sys.modules  # imported at the first call
    assert module(3, plus=1) == 7
    assert module.work.doubled(2) == 4
    assert module.__doc__ == "Twice."


def test_a_called_package_shows_the_parameters_of_its_function(package: str) -> None:
    module = importlib.import_module(package)
    make_callable(package, f"{package}.work:doubled")
    assert str(inspect.signature(module)) == "(n, *, plus=0)"
