"""Tiny models, written once per test run."""

from pathlib import Path

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("gguf")

from chainkit.backends.llama_cpp.libraries import library
from chainkit.base.errors import MissingLibrary
from tests.backends.llama_cpp import tiny

try:
    library()
except MissingLibrary:
    collect_ignore_glob = ["test_*.py"]

DEMO = Path(__file__).parents[3] / "examples" / "demo_model" / "demo-q8_0.gguf"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def bpe_model(models: Path) -> Path:
    return tiny.write_model(models / "bpe.gguf")


@pytest.fixture(scope="session")
def spm_model(models: Path) -> Path:
    return tiny.write_model(models / "spm.gguf", tiny.spm(), seed=1)


@pytest.fixture(scope="session")
def quantized_model(models: Path) -> Path:
    return tiny.write_model(models / "q8.gguf", quantized=True)


@pytest.fixture(scope="session", params=["bpe", "spm", "q8"])
def any_model(request: pytest.FixtureRequest, bpe_model: Path, spm_model: Path, quantized_model: Path) -> Path:
    return {"bpe": bpe_model, "spm": spm_model, "q8": quantized_model}[request.param]


@pytest.fixture
def demo_model() -> Path:
    if not DEMO.exists():
        pytest.skip("the demo model is not there")
    return DEMO
