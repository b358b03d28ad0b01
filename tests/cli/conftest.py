"""Ways to run the command: inside the test, or as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chainkit.cli.main import cli

Run = Callable[..., Result]
Spawn = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Run:
    """Call the command in this process: `run("embed", "a.txt", input="...")`."""

    def call(*arguments: str, input: str | bytes | None = None) -> Result:  # noqa: A002 - as click calls it
        return CliRunner().invoke(cli, list(arguments), input=input, prog_name="chainkit")

    return call


@pytest.fixture
def spawn() -> Spawn:
    """Run the command as a process, without a terminal."""

    def call(*arguments: str, input: bytes = b"", environment: Mapping[str, str] | None = None) -> object:  # noqa: A002
        return subprocess.run(
            [sys.executable, "-m", "chainkit", *arguments],
            input=input,
            capture_output=True,
            env=os.environ | dict(environment or {}),
            timeout=120,
            check=False,
        )

    return call
