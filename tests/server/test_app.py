from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import RunnableGenerator, RunnableLambda
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import chainkit
from chainkit.server import ServerSettings, served_chain, served_documents, served_embeddings, served_model
from chainkit.server.services import services_of
from chainkit.server.wire import JSONReply
from chainkit.vectors.cached import CachedEmbeddings
from tests.backends.llama_cpp import tiny

HELLO = {"model": "echo", "messages": [{"role": "user", "content": "one two"}]}


def events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_chat_is_answered_in_openai_s_form(serve) -> None:
    server = serve(served_model("fake:", "echo"))
    answer = server.post("/v1/chat/completions", HELLO)
    assert answer.status_code == 200
    body = answer.json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "echo"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "one two", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert body["usage"]["total_tokens"] == 4


def test_a_stream_begins_with_the_role_and_ends_with_the_reason_and_the_usage(serve) -> None:
    server = serve(served_model("fake:", "echo"))
    body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
    found = events(server.post("/v1/chat/completions", body).text)
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in found[:-1]) == "one two"
    assert [one["usage"] for one in found[:-1]] == [None] * (len(found) - 1)
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert (found[-1]["choices"], found[-1]["usage"]["completion_tokens"]) == ([], 2)


def test_n_answers_come_in_one_stream_each_with_its_number(serve) -> None:
    server = serve(served_model("fake:", "echo"))
    found = events(server.post("/v1/chat/completions", {**HELLO, "stream": True, "n": 3}).text)
    texts = ["", "", ""]
    for one in found:
        choice = one["choices"][0]
        texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == ["one two"] * 3


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"model": "eco"}, 404, "model_not_found", "model"),
        ({"messages": []}, 400, "invalid_value", "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "invalid_value", "messages.0.role"),
        ({"max_tokens": -1}, 400, "invalid_value", "max_tokens"),
        ({"temperature": "0.5"}, 400, "invalid_value", "temperature"),
        ({"wisdom": 1}, 400, "unknown_parameter", "wisdom"),
        ({"n": 17}, 400, "invalid_value", "n"),
        ({"top_k": 5}, 400, "unsupported", None),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "unsupported", None),
        ({"stream": True, "top_k": 5}, 400, "unsupported", None),
    ],
)
def test_a_wrong_request_names_what_is_wrong(
    serve, change: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    server = serve(served_model("fake:", "echo"))
    answer = server.post("/v1/chat/completions", {**HELLO, **change})
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert error["message"]


def test_models_are_listed_and_told_apart_by_what_they_can_do(serve) -> None:
    server = serve(served_model("fake:", "echo"))
    (row,) = server.http.get("/v1/models").json()["data"]
    assert (row["id"], row["abilities"]) == ("echo", ["chat", "text", "decisions"])
    assert server.http.get("/v1/models/echo").json() == row
    assert server.http.get("/v1/models/other").status_code == 404


def test_health_and_metrics_tell_what_was_done(serve) -> None:
    server = serve(served_model("fake:", "echo"))
    server.post("/v1/chat/completions", HELLO)
    assert server.http.get("/health").json() == {"status": "ok", "running": 0, "waiting": 0}
    told = server.http.get("/metrics").text
    assert 'chainkit_requests_total{path="/v1/chat/completions",status="200"} 1' in told
    assert 'chainkit_tokens_total{model="echo",direction="completion"} 2' in told


def test_an_unknown_address_and_method_are_told_in_the_same_form(serve) -> None:
    server = serve(served_model("fake:", "echo"))
    assert server.http.get("/nothing").json()["error"]["code"] == "unknown_url"
    refused = server.http.put("/v1/models")
    assert (refused.status_code, refused.json()["error"]["code"]) == (405, "not_allowed")


def test_further_routes_share_the_services_and_can_be_open_without_a_key(serve) -> None:
    async def names(request: Request) -> Response:
        return JSONReply([model.name for model in services_of(request).catalogue])

    settings = ServerSettings(port=0, keys=("right",))
    route = Route("/page/names", names)
    server = serve(served_model("fake:", "echo"), settings=settings, routes=[route], open_paths=["/page/"])
    assert server.http.get("/page/names").json() == ["echo"]
    assert server.http.get("/v1/models").status_code == 401
    assert server.http.get("/v1/models", headers={"authorization": "Bearer right"}).status_code == 200


@pytest.mark.parametrize("kind", ["function", "generator"])
def test_a_chain_whose_parts_only_stream_in_threads_is_streamed_from_one(serve, kind: str) -> None:
    def words(text: str) -> Iterator[str]:
        yield from text.split()

    def each(texts: Iterator[str]) -> Iterator[str]:
        for text in texts:
            yield from text.split()

    chain = RunnableLambda(words) if kind == "function" else RunnableGenerator(each)
    server = serve(served_chain(chain, "words"))
    body = {"model": "words", "messages": [{"role": "user", "content": "one two three"}]}
    for _ in range(2):
        assert server.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"] == "onetwothree"
        streamed = events(server.post("/v1/chat/completions", {**body, "stream": True}).text)
        assert [one["choices"][0]["delta"].get("content") for one in streamed[1:-1]] == ["one", "two", "three"]


def test_a_served_folder_cites_and_lists_paths_within_it(serve, tmp_path: Path) -> None:
    (tmp_path / "notes" / "animals").mkdir(parents=True)
    for name, text in {"animals/bees.md": "Bees make honey from nectar.", "rain.md": "Rain falls from clouds."}.items():
        (tmp_path / "notes" / name).write_text(f"# Notes\n\n{text}\n")
    documents = served_documents(tmp_path / "notes", embeddings="fake:", min_confidence=0.0)
    one = served_documents(tmp_path / "notes" / "rain.md", "one", embeddings="fake:", min_confidence=0.0)
    server = serve(documents, one, page=True)
    asked = [{"role": "user", "content": "What do bees make from nectar?"}]
    whole = server.post("/v1/chat/completions", {"model": "notes", "messages": asked}).json()
    (cited, *_) = [place["url_citation"] for place in whole["choices"][0]["message"]["annotations"]]
    assert (cited["path"], cited["title"]) == ("animals/bees.md", "bees.md")
    assert cited["url"].startswith("animals/bees.md#L3")
    newer = server.post("/v1/responses", {"model": "notes", "input": asked}).json()
    assert newer["output"][0]["content"][0]["annotations"][0]["path"] == "animals/bees.md"
    assert str(tmp_path) not in json.dumps([whole, newer])
    listed = server.http.get("/v1/documents", params={"model": "notes"}).json()
    assert sorted(row["path"] for row in listed["data"]) == ["animals/bees.md", "rain.md"]
    shown = server.post("/v1/documents/passages", {"model": "notes", "path": cited["path"], "quote": cited["quote"]})
    assert [row["text"] for row in shown.json()["passages"] if row["cited"]] == ["Bees make honey from nectar."]
    assert server.http.get("/v1/documents", params={"model": "one"}).json()["data"][0]["path"] == "rain.md"
    outside = {"model": "notes", "path": "../../etc/passwd"}
    assert server.post("/v1/documents/passages", outside).status_code == 404


@pytest.mark.parametrize("page", [False, True])
def test_the_openapi_document_holds_every_endpoint(serve, page: bool) -> None:
    server = serve(served_model("fake:", "echo"), page=page)
    told = server.http.get("/openapi.json").json()
    there = {
        (re.sub(r":path(?=})", "", route.path), method)
        for route in server.app.routes
        for method in route.methods - {"HEAD"}
        if route.path.startswith(("/v1", "/health", "/metrics"))
    }
    assert {(path, method.upper()) for path, methods in told["paths"].items() for method in methods} == there
    for path, methods in told["paths"].items():
        for one in methods.values():
            names = {each["name"] for each in one.get("parameters", ()) if each["in"] == "path"}
            assert names == set(re.findall(r"{(\w+)}", path))
    assert ("/v1/own/{id}/{name}" in server.http.get("/openapi").text) is page


def test_a_base_model_continues_text_and_says_why_it_does_not_chat(serve, tmp_path: Path) -> None:
    file = tiny.write_model(tmp_path / "base.gguf", template=None)
    server = serve(served_model(f"gguf:{file}"), served_model("fake:", "echo"))
    (row, _) = server.http.get("/v1/models").json()["data"]
    assert row["abilities"] == ["text", "decisions"]
    told = server.post("/v1/completions", {"model": "base", "prompt": ["the cat", "a dog"], "max_tokens": 3}).json()
    assert [choice["finish_reason"] for choice in told["choices"]] == ["length", "length"]
    assert told["usage"]["completion_tokens"] == 6
    for path, body in (("chat/completions", {"messages": HELLO["messages"]}), ("responses", {"input": "x"})):
        refused = server.post(f"/v1/{path}", {"model": "base", **body})
        assert refused.status_code == 400
        message = refused.json()["error"]["message"]
        assert "no chat template: ask /v1/completions, or serve it with chat_template=" in message
        assert message.endswith("models that can: echo")


def test_the_usage_of_vectors_is_what_was_counted_and_null_where_nobody_counts(serve, tmp_path: Path) -> None:
    class Uncounted(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[1.0, 0.0] for _ in texts]

        def embed_query(self, text: str) -> list[float]:
            return [1.0, 0.0]

    service = serve(served_embeddings("fake:", "words"))
    hosted = chainkit.embeddings(f"openai:words?base_url={service.base_url}", api_key="none", batch_size=1)
    cached = CachedEmbeddings("fake:", tmp_path / "vectors.sqlite")
    served = {"hosted": hosted, "cached": cached, "uncounted": Uncounted()}
    server = serve(*(served_embeddings(model, name) for name, model in served.items()))
    body = {"input": ["the cat sat", "a dog"]}
    usages = {
        name: server.post("/v1/embeddings", {**body, "model": name}).json()["usage"] for name in (*served, "cached")
    }
    five = {"prompt_tokens": 5, "total_tokens": 5}
    assert usages == {"hosted": five, "cached": five, "uncounted": None}
    assert 'chainkit_tokens_total{model="hosted",direction="prompt"} 5' in server.http.get("/metrics").text
