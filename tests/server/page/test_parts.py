from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from chainkit.programs.run.runnable import program
from chainkit.server import served_embeddings, served_model, served_program
from chainkit.server.page.programs import WaitingRuns
from chainkit.testing import Scripted

TEXTS = ["red fox", "brown fox", "tax law", "law of taxes", "red fox"]


def events(reply: Any) -> list[Any]:
    assert reply.status_code == 200, reply.text
    lines = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def cosines_of(told: list[Any], count: int) -> np.ndarray:
    found = np.zeros((count, count))
    for one in told:
        if "cosines" not in one:
            continue
        data = np.frombuffer(base64.b64decode(one["cosines"]), np.uint8)
        row = one["first"]
        while len(data):
            found[row, : row + 1] = data[: row + 1] / 127.5 - 1
            data, row = data[row + 1 :], row + 1
    return found


def test_similarities_come_row_by_row_and_are_those_of_the_library(serve, monkeypatch) -> None:
    from chainkit import similarity

    monkeypatch.setattr("chainkit.server.page.clusters._BATCH", 2)
    server = serve(served_embeddings("fake:", "vectors"), page=True)
    told = events(server.post("/v1/clusters", {"model": "vectors", "input": TEXTS, "k": 2}))
    assert [one["first"] for one in told[:-1]] == [0, 2, 4]
    assert np.abs(cosines_of(told, len(TEXTS)) - np.tril(similarity(TEXTS, "fake:"))).max() <= 1 / 255 + 1e-6
    end = told[-1]
    assert sorted(end["order"]) == list(range(len(TEXTS)))
    assert sorted(row for group in end["groups"] for row in group["members"]) == list(range(len(TEXTS)))
    assert len(end["groups"]) == 2


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": ["one"]}, "input"),
        ({"input": ["a", " "]}, "input.1"),
        ({"input": ["a", "a"], "k": 2}, "k"),
        ({"k": 0}, "k"),
        ({"input": "text"}, "input"),
        ({"input": ["x"] * 1001}, "input"),
    ],
)
def test_sentences_that_cannot_be_grouped_are_refused(serve, change: dict[str, Any], param: str) -> None:
    server = serve(served_embeddings("fake:", "vectors"), page=True)
    reply = server.post("/v1/clusters", {"model": "vectors", "input": TEXTS, **change})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_a_run_tells_where_each_part_came_from(serve) -> None:
    made = program("Dear {{name}},{{gen 'rest' stop='.'}}.", Scripted(" it rains. And more."))
    server = serve(served_program(made, "letter"), page=True)
    assert server.http.get("/v1/programs/letter").json() == {
        "id": "letter", "object": "program", "text": made.text, "variables": ["name"],
    }  # fmt: skip
    told = events(server.post("/v1/programs/runs", {"model": "letter", "variables": {"name": "<b>Ada</b>"}}))
    written = [(one["source"], one["text"]) for one in told if "source" in one]
    assert "".join(text for _, text in written) == "Dear <b>Ada</b>, it rains."
    assert "".join(text for source, text in written if source == "model") == " it rains"
    assert "".join(text for source, text in written if source == "variable") == "<b>Ada</b>"
    assert told[-1]["variables"] == {"name": "<b>Ada</b>", "rest": " it rains"}
    assert told[-1]["waiting"] is None


def test_a_run_that_waits_goes_on_once_with_the_variable(serve) -> None:
    made = program("Name: {{await 'name'}}. {{gen 'hello' stop='.'}}", Scripted("Hello. x"))
    server = serve(served_program(made, "greeting"), page=True)
    first = events(server.post("/v1/programs/runs", {"model": "greeting", "variables": {}}))[-1]
    assert first["waiting"] == "name"
    body = {"model": "greeting", "run": first["run"], "variables": {"name": "Ada"}}
    told = events(server.post("/v1/programs/runs", body))
    assert "Name: " not in "".join(one.get("text", "") for one in told)
    assert told[-1]["variables"]["hello"] == "Hello"
    assert server.post("/v1/programs/runs", body).json()["error"]["code"] == "unknown_run"


def test_runs_that_wait_are_forgotten_before_they_fill_the_memory() -> None:
    waiting = WaitingRuns(most=2)
    names = [waiting.keep("m", object()) for _ in range(3)]  # type: ignore[arg-type]
    assert len(set(names)) == 3
    assert len(waiting._runs) == 2
    with pytest.raises(Exception, match="not kept any more"):
        waiting.take("m", names[0])


def test_a_missing_variable_and_a_model_that_is_no_program_are_told(serve) -> None:
    made = program("Dear {{name}} and {{other}}.")
    server = serve(served_program(made, "letter"), served_model("fake:", "echo"), page=True)
    reply = server.post("/v1/programs/runs", {"model": "letter", "variables": {"name": "x"}})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "missing_variable")
    assert "other" in reply.json()["error"]["message"]
    assert server.post("/v1/programs/runs", {"model": "echo"}).status_code == 400
    assert server.http.get("/v1/programs/echo").status_code == 400
    assert server.http.get("/v1/programs/none").status_code == 404


def test_tokens_are_those_of_the_model_and_the_next_ones_have_their_chances(serve) -> None:
    from chainkit import llm
    from tests.programs.test_models import DEMO

    server = serve(served_model(DEMO, "demo"), page=True)
    told = server.post("/v1/tokens", {"model": "demo", "input": "Hello wörld", "next": 3}).json()
    model = llm(DEMO)
    assert [one["id"] for one in told["tokens"]] == [one.id for one in model.tokens("Hello wörld")]
    assert b"".join(bytes(one["bytes"]) for one in told["tokens"]).decode().strip() == "Hello wörld"
    assert [one["id"] for one in told["next"]] == [one.id for one in model.next_tokens("Hello wörld", 3)]


@pytest.mark.parametrize("change", [{"input": ""}, {"input": "x" * 20_001}, {"next": 101}, {"next": -1}, {"more": 1}])
def test_a_text_that_is_not_cut_says_why(serve, change: dict[str, Any]) -> None:
    server = serve(served_model("fake:", "echo"), page=True)
    reply = server.post("/v1/tokens", {"model": "echo", "input": "text", **change})
    assert reply.status_code == 400
    assert server.post("/v1/tokens", {"model": "echo", "input": "x"}).json()["error"]["code"] == "unsupported"


BIG = 10**30
HOSTILE: list[tuple[str, Any, int]] = [
    ("documents/passages", '{"model": "letter", "path": "\\ud800"}', 400),
    ("documents/passages", '{"model": "letter", "path": NaN}', 400),
    ("documents/passages", "[" * 100_000, 400),
    ("documents/passages", b"\xff", 400),
    ("documents/passages", {"model": "letter", "path": "x", "page": BIG}, 400),
    ("programs/runs", {"model": "letter", "variables": []}, 400),
    ("programs/runs", {"model": "letter", "variables": {"name": {"a": [None, 1e308]}}, "seed": BIG}, 200),
    ("programs/runs", {"model": "letter", "variables": {"name": "x", "": "\0"}, "seed": -1}, 200),
    ("programs/runs", {"model": "letter", "run": "../run"}, 404),
    ("clusters", {"model": "vectors", "input": ["a", "b"], "k": BIG}, 400),
    ("clusters", {"model": "vectors", "input": ["a\0", "<script>"], "k": 1}, 200),
    ("clusters", {"model": "vectors", "input": ["x" * 10_001, "b"]}, 400),
    ("tokens", {"model": "vectors", "input": "x"}, 400),
    ("tokens", {"model": "letter", "input": "\0", "next": BIG}, 400),
]


def test_hostile_bodies_are_refused_with_a_reason_and_nothing_fails(serve) -> None:
    made = program("Dear {{name}},{{gen 'rest' stop='.'}}.", Scripted(" it rains. And more."))
    server = serve(served_program(made, "letter"), served_embeddings("fake:", "vectors"), page=True)
    for path, body, status in HOSTILE:
        content = body if isinstance(body, str | bytes) else json.dumps(body)
        reply = server.http.post(f"/v1/{path}", content=content, headers={"content-type": "application/json"})
        assert reply.status_code == status, (path, body, reply.text)
        assert "internal_error" not in reply.text, (path, body)
        if status != 200:
            assert reply.json()["error"]["message"]
