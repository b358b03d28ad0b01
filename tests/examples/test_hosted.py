from __future__ import annotations

import pytest

from chainkit.base.errors import MissingKey
from chainkit.testing.server.openai import serve
from examples import hosted


def test_the_example_runs_against_a_service_without_a_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as address:
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        hosted.main()
    said = capsys.readouterr().out
    assert "how can I help you today?" in said
    assert "total_tokens" in said
    assert "City(name=" in said


def test_the_example_says_that_the_key_is_missing() -> None:
    with pytest.raises(MissingKey, match="OPENAI_API_KEY"):
        hosted.main()
