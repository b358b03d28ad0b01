from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import pytest

from chainkit.server import served_documents, served_embeddings, served_model
from chainkit.server.page import own
from chainkit.server.page.shelf import OwnLimits, OwnShelf
from chainkit.server.settings import ServerLimits, ServerSettings

BINARY = {"content-type": "application/octet-stream"}
BEES = b"# Bees\n\nBees make honey from nectar.\n\nThey live in hives.\n"


@pytest.fixture
def server(serve):
    limits = ServerLimits(upload_bytes=4096)
    return serve(
        served_embeddings("fake:", "vectors"),
        page=True,
        settings=ServerSettings(port=0, limits=limits),
    )


def made(server: Any) -> str:
    reply = server.http.post("/v1/own")
    assert reply.status_code == 201
    return reply.json()["id"]


def put(server: Any, index: str, name: str, data: bytes = BEES, *, timeout: float = 60, **headers: str) -> Any:
    return server.http.put(f"/v1/own/{index}/{name}", content=data, headers={**BINARY, **headers}, timeout=timeout)


def answer(server: Any, index: str, question: str) -> Any:
    body = {"model": index, "messages": [{"role": "user", "content": question}]}
    return server.post("/v1/chat/completions", body).json()["choices"][0]["message"]


def test_an_uploaded_document_answers_and_its_citation_opens_the_passage(server) -> None:
    index = made(server)
    assert put(server, index, "bees.md").status_code == 201
    said = answer(server, index, "What do bees make?")
    cited = said["annotations"][0]["url_citation"]
    assert "honey" in said["content"]
    assert (cited["title"], cited["first_line"]) == ("bees.md", 3)
    body = {"model": index, "path": cited["path"], "quote": cited["quote"], "first_line": cited["first_line"]}
    opened = server.post("/v1/documents/passages", body).json()
    assert [one["text"][:15] for one in opened["passages"] if one["cited"]] == ["Bees make honey"]
    assert (opened["title"], opened["total"]) == ("bees.md", len(opened["passages"]))


def test_indexes_of_ones_own_are_named_nowhere(server) -> None:
    index = made(server)
    put(server, index, "bees.md")
    answer(server, index, "What do bees make?")
    places = [server.http.get("/v1/models").text, server.http.get("/metrics").text]
    places.append(
        server.post("/v1/chat/completions", {"model": index[:-1], "messages": [{"role": "user", "content": "x"}]}).text
    )
    assert not any(index in place for place in places[:2])
    assert index not in places[2]
    assert 'model="own"' in places[1]


@pytest.mark.parametrize(
    "name", ["..", ".hidden", "a%2Fb.md", "..%2F..%2Fetc%2Fpasswd", "a%5Cb", "a%00b", "a%0Ab", "%20", "x" * 201]
)
def test_a_name_that_is_no_file_name_is_refused(server, name: str) -> None:
    reply = put(server, made(server), name)
    assert reply.status_code in (400, 404, 405), reply.text
    assert reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>.md", "a*[b]?.txt", "~root.md", "'; DROP TABLE.md", "文書.md"]
)
def test_a_strange_name_is_only_a_name(server, name: str) -> None:
    index = made(server)
    told = put(server, index, quote(name, safe="")).json()
    if not name.isascii() and sys.getfilesystemencoding() != "utf-8":
        assert "PYTHONUTF8=1" in told["error"]["message"]
        return
    assert [row["title"] for row in told["data"]] == [name]
    assert "honey" in answer(server, index, "What do bees make?")["content"]
    gone = server.http.delete(f"/v1/own/{index}/{quote(name, safe='')}").json()
    assert gone["data"] == []


def test_a_document_that_is_too_long_is_refused_whether_it_says_its_length_or_not(server) -> None:
    index = made(server)
    assert put(server, index, "long.txt", b"x" * 4097).status_code == 413

    def parts():
        for _ in range(5):
            yield b"y " * 512

    assert server.http.put(f"/v1/own/{index}/long.txt", content=parts(), headers=BINARY).status_code == 413
    assert server.http.get(f"/v1/own/{index}").json()["data"] == []
    assert put(server, index, "bees.md").status_code == 201


def test_all_documents_together_are_bounded_too(server) -> None:
    index = made(server)
    texts = [f"Sentence {number} of a document. ".encode() * 130 for number in range(5)]
    codes = [put(server, index, f"{number}.txt", text[:4000]).status_code for number, text in enumerate(texts)]
    assert codes == [201, 201, 201, 201, 413]


def test_the_number_of_documents_is_bounded(server) -> None:
    server.app.state.own_shelf = OwnShelf(OwnLimits(documents=1, bytes=1 << 20))
    index = made(server)
    assert put(server, index, "a.md").status_code == 201
    reply = put(server, index, "b.md")
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_many_documents")
    assert put(server, index, "a.md", b"# New\n\nBees sleep.\n").status_code == 201


def test_a_new_index_takes_the_place_of_one_that_nobody_uses_and_of_no_other(server) -> None:
    server.app.state.own_shelf = OwnShelf(OwnLimits(indexes=1, idle_seconds=1000))
    first = made(server)
    reply = server.http.post("/v1/own")
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "too_many_indexes")
    assert int(reply.headers["retry-after"]) > 0
    folder = server.app.state.own_shelf.find(first).folder
    server.app.state.own_shelf.limits = OwnLimits(indexes=1, idle_seconds=0)
    made(server)
    assert not folder.exists()
    assert server.http.get(f"/v1/own/{first}").status_code == 404


def test_a_document_that_cannot_be_read_leaves_nothing_behind(server) -> None:
    index = made(server)
    reply = put(server, index, "broken.pdf", b"%PDF-1.7 nothing follows")
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "unreadable_document")
    assert "broken.pdf" in reply.json()["error"]["message"]
    assert server.http.get(f"/v1/own/{index}").json()["data"] == []


def test_a_form_of_another_site_cannot_upload(server) -> None:
    index = made(server)
    assert put(server, index, "a.md", **{"content-type": "text/plain"}).status_code == 415
    assert put(server, index, "a.md", origin="https://evil.example").status_code == 403
    assert server.http.post("/v1/own", headers={"origin": "https://evil.example"}).status_code == 403
    assert server.http.post("/v1/own", headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_an_index_is_deleted_with_its_files(server) -> None:
    index = made(server)
    put(server, index, "a.md")
    folder = server.app.state.own_shelf.find(index).folder
    assert server.http.delete(f"/v1/own/{index}").json() == {"id": index, "deleted": True}
    assert not folder.exists()
    assert server.http.get(f"/v1/own/{index}").status_code == 404
    assert put(server, index, "a.md").json()["error"]["code"] == "unknown_index"


def test_the_files_are_gone_when_the_server_is(serve) -> None:
    from tests.server.conftest import running

    with running(served_embeddings("fake:", "vectors"), page=True) as server:
        index = made(server)
        put(server, index, "a.md")
        folder = server.app.state.own_shelf.find(index).folder
        assert folder.exists()
    assert not folder.exists()


def test_only_documents_of_the_index_are_opened(serve, tmp_path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "bees.md").write_bytes(BEES)
    (tmp_path / "secret.md").write_text("secret")
    server = serve(served_documents(tmp_path / "docs", embeddings="fake:"), served_model("fake:", "echo"), page=True)
    listed = server.http.get("/v1/documents", params={"model": "docs"}).json()
    assert [one["title"] for one in listed["data"]] == ["bees.md"]
    for path in (str(tmp_path / "secret.md"), "/etc/passwd", "../secret.md"):
        reply = server.post("/v1/documents/passages", {"model": "docs", "path": path})
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "unknown_document")
    assert server.post("/v1/documents/passages", {"model": "echo", "path": "x"}).status_code == 400
    assert server.post("/v1/documents/passages", {"model": "none", "path": "x"}).status_code == 404


def test_a_long_document_is_read_on_part_by_part(server) -> None:
    server.app.state.own_shelf = OwnShelf(OwnLimits(bytes=1 << 20))
    index = made(server)
    lines = "\n\n".join(f"# Part {number}\n\nThis is part {number} of it." for number in range(90))
    put(server, index, "long.md", lines.encode())
    path = server.http.get(f"/v1/own/{index}").json()["data"][0]["path"]
    body = {"model": index, "path": path, "quote": "This is part 50 of it."}
    opened = server.post("/v1/documents/passages", body).json()
    assert [one["headings"] for one in opened["passages"] if one["cited"]] == [["Part 50"]]
    assert opened["start"] == 42
    later = server.post("/v1/documents/passages", {"model": index, "path": path, "start": 82}).json()
    assert [one["headings"] for one in later["passages"]] == [[f"Part {number}"] for number in range(82, 90)]


def test_the_first_chat_model_writes_the_answers() -> None:
    import asyncio

    from chainkit.server import Catalogue

    catalogue = Catalogue()
    assert asyncio.run(own._model(catalogue)) is None
    catalogue.add(served_model("fake:", "echo"))
    assert type(asyncio.run(own._model(catalogue))).__name__ == "FakeChat"


def test_visitors_who_send_slowly_stop_no_other(server) -> None:
    host, port = server.address.removeprefix("http://").split(":")
    with ExitStack() as stack:
        for _ in range(3):
            slow = stack.enter_context(socket.create_connection((host, int(port))))
            path, kind = f"/v1/own/{made(server)}/slow.txt", "application/octet-stream"
            head = f"PUT {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {kind}\r\ncontent-length: 999\r\n\r\nx"
            slow.sendall(head.encode())
        assert put(server, made(server), "bees.md", timeout=20).status_code == 201


def test_all_visitors_together_are_bounded(server) -> None:
    first, second = made(server), made(server)
    shelf = server.app.state.own_shelf
    shelf.limits = OwnLimits(all_bytes=OwnLimits().all_bytes - shelf.room() + 2_000)
    assert put(server, first, "a.txt", b"a" * 1_500).status_code == 201
    assert put(server, second, "b.txt", b"b" * 1_500).status_code == 413
    server.http.delete(f"/v1/own/{first}")
    assert put(server, second, "b.txt", b"b" * 1_500).status_code == 201
