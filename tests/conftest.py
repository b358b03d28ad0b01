"""What every test can rely on: no keys, no network, a home of its own."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import hypothesis
import pytest

SLOW = [hypothesis.HealthCheck.too_slow]  # a busy machine is not a fault of the code
# The same examples every time, so that a change is what turns the suite red; `make fuzz` looks for new ones.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=SLOW)
hypothesis.settings.register_profile("fuzz", max_examples=1000, deadline=None, suppress_health_check=SLOW)
hypothesis.settings.load_profile(os.environ.get("CHAINKIT_HYPOTHESIS", "steady"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; tests interrupt what they run
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
    monkeypatch.setenv("CHAINKIT_PREFIX_CACHE", "off")  # a test that wants it says so
    monkeypatch.setattr("chainkit.base.keys.ENV_FILE", str(home / ".env"))


@pytest.fixture
def other_host(monkeypatch: pytest.MonkeyPatch) -> str:
    """Another name of 127.0.0.1; not every machine knows "localhost"."""
    name, resolve = "other.test", socket.getaddrinfo

    def resolved(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host == name else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return name
