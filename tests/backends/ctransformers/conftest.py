"""The tiny file, written once per test run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("ctransformers")

from chainkit.backends.ctransformers.models import CTransformersModel
from tests.backends.ctransformers import tiny


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("old") / "gpt2-tiny.bin")


@pytest.fixture(scope="session")
def model(file: Path) -> Iterator[CTransformersModel]:
    model = CTransformersModel(model=str(file), max_tokens=16)
    yield model
    model.unload()
