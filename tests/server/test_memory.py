"""Models that come into memory and go out of it: by lack of room, by time, and with who uses them."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from chainkit.backends.llama_cpp import runtime as llama
from chainkit.backends.llama_cpp import weights as files
from chainkit.backends.llama_cpp.reranker import GGUFReranker
from chainkit.backends.llama_cpp.vectors import GGUFEmbeddings
from chainkit.local import scheduler
from chainkit.server import (
    Catalogue,
    ServerSettings,
    create_app,
    in_background,
    served_documents,
    served_embeddings,
    served_model,
    served_program,
    served_reranker,
)
from chainkit.sizing import room
from tests.backends.llama_cpp import test_reranker, tiny, tiny_bert
from tests.server.test_hostile import CHAT, post

ASKED = [{"role": "user", "content": "the cat sat"}]
LONG = {"type": "json_schema", "json_schema": {"name": "long", "schema": {"type": "string", "minLength": 20_000}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def first(folder: Path) -> str:
    return f"gguf:{tiny.write_model(folder / 'first.gguf', context=4096)}?n_threads=1"


@pytest.fixture(scope="module")
def second(folder: Path) -> str:
    return f"gguf:{tiny.write_model(folder / 'second.gguf', seed=1)}?n_threads=1"


@pytest.fixture(scope="module")
def vectors(folder: Path) -> str:
    return f"gguf:{tiny_bert.write(folder / 'vectors.gguf')}"


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that holds the weights of one model."""
    real = room.require_room

    def require_room(needed: Any, **options: Any) -> None:
        others = in_memory() - {Path(needed.model.name).stem}
        monkeypatch.setattr(room, "available_memory", lambda: 1 if others else 1 << 40)
        real(needed, **options)

    monkeypatch.setattr(files, "require_room", require_room)


def in_memory() -> set[str]:
    """Which of this file's models are in memory; those of other tests may be as well."""
    return {weights.path.stem for weights in files._loaded.values()} & {"first", "second", "vectors", "reranker"}


def chat(server: Any, name: str, **more: Any) -> Any:
    return server.post(CHAT, {"model": name, "messages": ASKED, "max_tokens": 4, **more})


def loaded(server: Any) -> list[str]:
    return [row["id"] for row in server.http.get("/v1/models").json()["data"] if row["loaded"]]


def test_what_nobody_uses_makes_room_for_what_is_asked(serve, one_at_a_time, first: str, second: str, vectors: str):
    server = serve(served_model(first), served_model(second), served_embeddings(vectors))
    for name in ("first", "second", "first"):
        assert chat(server, name).status_code == 200
        assert (loaded(server), in_memory()) == ([name], {name})
    assert server.post("/v1/embeddings", {"model": "vectors", "input": "the cat"}).status_code == 200
    assert (loaded(server), in_memory()) == (["vectors"], {"vectors"})
    assert "chainkit_models_unloaded_total 3" in server.http.get("/metrics").text


def test_a_reranker_makes_room_and_says_what_it_read(serve, one_at_a_time, first: str, folder: Path):
    file = test_reranker.write(folder / "reranker.gguf")
    server = serve(served_model(first), served_reranker(f"gguf:{file}"))
    assert chat(server, "first").status_code == 200
    texts = test_reranker.TEXTS
    body = {"model": "reranker", "query": test_reranker.QUERY, "documents": texts, "top_n": 3, "return_documents": True}
    answer = server.post("/v1/rerank", body).json()
    assert in_memory() == {"reranker"}
    scores = [one["relevance_score"] for one in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert len({one["index"] for one in answer["results"]}) == 3
    assert all(one["document"]["text"] == texts[one["index"]] for one in answer["results"])
    tokenize = GGUFReranker(model=str(file)).embedder.vocabulary.tokenize
    question = len(tokenize(test_reranker.QUERY, whole=True))
    wanted = sum(question + len(tokenize(text, whole=True)) - 1 for text in texts)  # one [CLS] for both
    assert answer["usage"]["prompt_tokens"] == wanted > sum(len(text.split()) for text in texts)
    wrong = server.post("/v1/rerank", {**body, "model": "first"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "unsupported")
    assert server.post("/v1/rerank", {**body, "documents": []}).status_code == 400
    assert server.post("/v1/rerank", {**body, "documents": ["x"] * 3000}).status_code == 400
    assert server.post("/v1/rerank", {**body, "documents": ["red " * 2000]}).json()["error"]["code"] == (
        "context_length_exceeded"
    )


def test_what_is_in_use_stays_and_the_other_is_told_to_come_again(serve, one_at_a_time, first: str, second: str):
    server = serve(served_model(first), served_model(second))
    body = {"model": "first", "messages": ASKED, "max_tokens": 4000, "stream": True, "response_format": LONG}
    with server.http.stream("POST", CHAT, json=body) as stream:
        lines = stream.iter_lines()  # it ends the answer when it goes
        assert next(lines)
        refused = chat(server, "second")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "out_of_memory")
        assert int(refused.headers["retry-after"]) >= 1
    deadline = time.monotonic() + 20
    while chat(server, "second").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert in_memory() == {"second"}


def test_documents_programs_and_decisions_give_their_models_back_too(
    serve, one_at_a_time, first: str, second: str, tmp_path: Path
):
    (tmp_path / "notes.md").write_text("The cat sat on the mat.\n")
    (tmp_path / "go.ck").write_text("the cat {{gen 'rest' max_tokens=3}}")
    server = serve(
        served_model(first),
        served_model(second),
        served_documents(tmp_path / "notes.md", "notes", model=first, embeddings="fake:", min_confidence=0.0),
        served_program(tmp_path / "go.ck", model=first),
    )
    question = {"type": "noul", "instructions": "Is it a cat?"}
    uses = {
        "notes": lambda: chat(server, "notes"),
        "go": lambda: chat(server, "go", max_tokens=None),
        "decisions": lambda: server.post(
            "/v1/decisions", {"model": "first", "state": "a cat", "questions": {"a": question}}
        ),
    }
    for name, use in uses.items():
        assert use().status_code == 200, (name, use().text)
        assert in_memory() == {"first"}, name
        assert chat(server, "second").status_code == 200, name
        assert in_memory() == {"second"}, name


def test_a_model_that_nobody_asks_for_long_is_unloaded(first: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("chainkit.server.app._LOOK_SECONDS", 0.05)
    catalogue, settings = Catalogue(unload_seconds=0.3), ServerSettings(port=0)
    catalogue.add(served_model(first))
    with in_background(create_app(catalogue, settings), settings) as address:
        body = {"model": "first", "messages": ASKED, "max_tokens": 2}
        assert httpx2.post(address + CHAT, json=body, timeout=30).status_code == 200
        assert in_memory() == {"first"}
        deadline = time.monotonic() + 20
        while in_memory():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert httpx2.post(address + CHAT, json=body, timeout=30).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_sequence(serve, first: str, stream: bool):
    server = serve(served_model(f"{first}&n_sequences=2&stop_repetition=false", "first"))
    assert chat(server, "first").status_code == 200
    (runtime,) = [one for one in llama._runtimes.values() if one.weights.path.stem == "first"]
    tasks = scheduler.scheduler_of(runtime)
    long = {"model": "first", "messages": ASKED, "max_tokens": 3900, "stream": stream, "response_format": LONG}
    host, _, port = server.address.removeprefix("http://").partition(":")
    for _ in range(3):  # more often than there are sequences
        connection = socket.create_connection((host, int(port)))
        connection.sendall(post(json.dumps(long).encode()))
        wait_for(lambda: len(tasks._active) == 1)
        connection.close()
        wait_for(lambda: not tasks._active and not tasks._queue)
    assert server.http.get("/health").json()["running"] == 0
    begin = time.monotonic()
    assert chat(server, "first").status_code == 200
    assert time.monotonic() - begin < 5


def wait_for(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_embeddings_say_how_many_tokens_were_read(serve, vectors: str):
    server = serve(served_embeddings(vectors), served_embeddings("fake:", "words"))
    texts = ["the cat sat on the mat", "red house"]
    vocabulary = GGUFEmbeddings(model=vectors.removeprefix("gguf:")).embedder.vocabulary
    wanted = sum(len(vocabulary.tokenize(text, whole=True)) for text in texts)
    for more in ({}, {"encoding_format": "base64"}, {"input_type": "query"}):
        usage = server.post("/v1/embeddings", {"model": "vectors", "input": texts, **more}).json()["usage"]
        assert usage == {"prompt_tokens": wanted, "total_tokens": wanted}
    assert wanted > sum(len(text.split()) for text in texts)  # the special ones are read as well
    assert server.post("/v1/embeddings", {"model": "words", "input": texts}).json()["usage"]["prompt_tokens"] == 8
    assert f'model="vectors",direction="prompt"}} {3 * wanted}' in server.http.get("/metrics").text


@pytest.mark.filterwarnings("ignore:1 of 2 texts is longer")
def test_minilm_counts_the_tokens_that_it_reads(serve):
    server = serve(served_embeddings("minilm"))
    answer = server.post("/v1/embeddings", {"model": "minilm", "input": ["a cat", "word " * 1000]}).json()
    assert answer["usage"]["prompt_tokens"] == (2 + 2) + 256  # what the second has beyond is not read
