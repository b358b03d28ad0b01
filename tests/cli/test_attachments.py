from __future__ import annotations

import json
from pathlib import Path

import pytest

from chainkit.testing.server.openai import running

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 8


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("openai")
    with running(key=None) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-abcdef0123456789")
        yield server


def test_images_and_texts_are_sent_beside_the_question_and_stay_in_the_conversation(run, service) -> None:
    Path("a.png").write_bytes(PNG)
    Path("b.md").write_text("# Bees")
    result = run("chat", "-m", "openai:gpt-4o", "say:seen", "-a", "a.png", "-a", "b.md")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("seen")
    text, image, other = service.bodies[-1]["messages"][0]["content"]
    assert text == {"type": "text", "text": "say:seen"}
    assert image["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert other["text"] == "b.md:\n# Bees"
    run("chat", "-c", "say:again")
    assert service.bodies[-1]["messages"][0]["content"][1] == image
    assert "[image]" in run("chats", "show").stdout


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_conversation_goes_on_through_the_other_api(run, service, api: str) -> None:
    other = {"chat": "responses", "responses": "chat"}[api]
    run("chat", "-m", f"openai:gpt-4o?api={api}", "-s", "Be brief.", "say:one")
    result = run("chat", "-c", "-m", f"openai:gpt-4o?api={other}", "say:two")
    assert (result.exit_code, result.stdout) == (0, "two\n"), result.stderr
    assert result.stdout == "two\n"
    sent = service.bodies[-1].get("messages") or service.bodies[-1]["input"]
    assert [one["role"] for one in sent] == ["system", "user", "assistant", "user"]
    assert "one" in json.dumps(sent[2])
    run("chat", "-c", "-m", f"openai:gpt-4o?api={api}", "say:three")
    assert len(service.bodies[-1].get("messages") or service.bodies[-1]["input"]) == 6


def test_a_model_that_goes_on_gets_its_own_answers_with_the_ids_of_its_service(run, service) -> None:
    run("chat", "-m", "OpenAI:gpt-4o?api=responses&temperature=0", "say:one")
    run("chat", "-c", "say:two")
    run("chat", "-c", "-m", "openai:gpt-4o?api=responses", "say:three")
    assert [bool(one.get("id")) for one in service.bodies[-1]["input"]] == [False, True, False, True, False]
    run("chat", "-c", "-m", "openai:gpt-4o-mini?api=responses", "say:four")
    assert not any(one.get("id") for one in service.bodies[-1]["input"])


def test_a_model_that_reads_text_alone_is_told_of_earlier_images_and_refuses_new_ones(run, service) -> None:
    demo = Path(__file__).parents[2] / "examples" / "demo_model" / "demo-q8_0.gguf"
    Path("a.png").write_bytes(PNG)
    run("chat", "-m", "openai:gpt-4o", "say:seen", "-a", "a.png")
    went_on = run("chat", "-c", "-m", str(demo), "--max-tokens", "2", "And?")
    assert went_on.exit_code == 0
    assert "reads text alone: images and files are named to it, not shown (1)" in went_on.stderr
    refused = run("chat", "-m", str(demo), "--max-tokens", "2", "And?", "-a", "a.png")
    assert refused.exit_code == 1
    assert "reads text alone; a model that takes images and files is named with -m" in refused.stderr


def test_files_that_cannot_be_shown_are_refused(run) -> None:
    Path("a.bin").write_bytes(b"\xff\xfe\xff")
    Path("big.png").write_bytes(b"0" * 20_000_001)
    for name, told in [
        ("none.png", "there is no such file"),
        ("a.bin", "is not UTF"),
        ("big.png", "larger than 20 MB"),
    ]:
        result = run("chat", "-m", "fake:", "x", "-a", name)
        assert result.exit_code == 1
        assert told in result.stderr
