"""What every test can rely on: no keys, no network, a home of its own."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, caches and models of the person who runs the tests are neither read nor written."""
    for variable in list(os.environ):
        if variable.endswith(("_API_KEY", "_API_TOKEN", "_BASE_URL")) or variable.startswith("CHAINKIT_MODEL"):
            monkeypatch.delenv(variable)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CHAINKIT_HOME", str(home))
    monkeypatch.setattr("chainkit.base.keys.ENV_FILE", str(home / ".env"))
