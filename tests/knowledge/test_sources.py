"""Web pages and LangChain loaders as sources of an index."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from chainkit.backends.fake import FakeEmbeddings
from chainkit.base.errors import DocumentError
from chainkit.knowledge import Index, ask
from chainkit.knowledge.readers import web

from . import samples


class Site(BaseHTTPRequestHandler):
    pages: dict = {}
    asked: list = []

    def do_GET(self):
        self.asked.append(self.path)
        status, headers, body = self.pages.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for part in [body] if isinstance(body, bytes) else body:
                self.wfile.write(part)
                self.wfile.flush()
        except OSError:  # the client has heard enough
            pass

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    """Serves what is put into `pages`, on loopback."""
    kind = type("Own", (Site,), {"pages": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    kind.url = f"http://127.0.0.1:{server.server_port}"
    yield kind
    server.shutdown()
    thread.join()
    server.server_close()


HTML = {"Content-Type": "text/html; charset=utf-8"}


def test_a_page_is_read_as_what_the_server_says_it_is_and_nothing_else_is_fetched(site):
    page = (
        b"<nav>Home</nav><h1>Bees</h1><p>Drones leave in autumn.</p><img src='/pixel.png'><script src='/x.js'></script>"
    )
    site.pages |= {
        "/bees": (200, HTML, page),
        "/paper": (200, {"Content-Type": "application/pdf"}, samples.pdf(["Wasps sting"])),
        "/old": (302, {"Location": "/bees"}, b""),
        "/notes.md": (200, {"Content-Type": "application/octet-stream"}, b"# Moths\n\nMoths fly at night.\n"),
        "/latin": (200, {"Content-Type": "text/plain; charset=windows-1251"}, "Пчёлы летают.".encode("windows-1251")),
    }
    with Index(None, FakeEmbeddings()) as index:
        report = index.add([site.url + path for path in ("/bees", "/paper", "/old", "/notes.md", "/latin")])
        assert report.skipped == []
        assert sorted(set(site.asked)) == ["/bees", "/latin", "/notes.md", "/old", "/paper"]
        hit = index.find("When do drones leave?", 1)[0]
        assert (hit.passage.path in (site.url + "/bees", site.url + "/old"), hit.passage.headings) == (True, ("Bees",))
        assert hit.passage.text == "Drones leave in autumn."
        assert index.find("wasps", 1)[0].passage.place == f"{site.url}/paper, page 1"
        assert index.find("moths", 1)[0].passage.headings == ("Moths",)
        assert index.find("Пчёлы летают", 1)[0].passage.text == "Пчёлы летают."


def test_a_page_is_embedded_again_only_when_it_changes_and_kept_while_it_cannot_be_had(site, tmp_path):
    site.pages["/a"] = (200, HTML, b"<p>Bees fly.</p>")
    with Index(tmp_path / "i.sqlite", FakeEmbeddings()) as index:
        index.add(f"{site.url}/a")
        assert index.update().unchanged == [f"{site.url}/a"]
        site.pages["/a"] = (503, {}, b"")
        report = index.update()
        assert [remark.reason for remark in report.skipped] == [
            "the server answers 503 Service Unavailable; its earlier version is kept"
        ]
        assert len(index) == 1
        site.pages["/a"] = (200, HTML, b"<p>Bees sleep.</p>")
        assert index.update().indexed == [f"{site.url}/a"]
        assert index.find("bees", 1)[0].passage.text == "Bees sleep."
        index.remove(f"{site.url}/a")
        assert len(index) == 0


def endless() -> Iterator[bytes]:
    while True:
        yield b"word " * 20_000


def slow() -> Iterator[bytes]:
    while True:
        time.sleep(0.02)
        yield b"word "


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ((404, {}, b""), "the server answers 404"),
        ((200, HTML, endless()), "has more than 1,000,000 bytes"),
        ((200, HTML, slow()), "takes longer than 0 seconds"),
        ((302, {"Location": "file:///etc/passwd"}, b""), "to no web page"),
        ((302, {"Location": "ftp://127.0.0.1/x"}, b""), "not a web page"),
        ((302, {"Location": "/page"}, b""), "leads in a circle"),
        ((200, {"Content-Length": "500"}, b"short"), "5 of 500 bytes"),
        ((200, {"Content-Type": "application/pdf"}, b"%PDF-1.4 broken"), "is not a readable PDF"),
        ((200, HTML, b""), "holds no text"),
    ],
)
def test_a_page_that_cannot_be_had_is_named_with_the_reason(site, monkeypatch, page, reason):
    monkeypatch.setattr(web, "LIMIT_BYTES", 1_000_000)
    if "seconds" in reason:
        monkeypatch.setattr(web, "LIMIT_SECONDS", 0.4)
    site.pages["/page"] = page
    with Index(None, FakeEmbeddings()) as index:
        report = index.add(f"{site.url}/page")
        (remark,) = report.skipped
        assert remark.path == f"{site.url}/page"
        assert reason in remark.reason
        assert len(index) == 0


def dripping(head: bytes, drop: bytes):
    """A server that sends `head` and then `drop` without an end; its address, and what ends it."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve():
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            connection.sendall(head)
            while not over.is_set():
                connection.sendall(drop)
                time.sleep(0.005)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}/page", lambda: (over.set(), thread.join(), listening.close())


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"", b" "),
        (b"HTTP/1.1 200 ", b"O"),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"x"),
    ],
)
def test_the_time_for_a_page_holds_whatever_drips(monkeypatch, head, drop):
    monkeypatch.setattr(web, "LIMIT_SECONDS", 0.4)
    url, end = dripping(head, drop)
    started = time.monotonic()
    try:
        with Index(None, FakeEmbeddings()) as index:
            (remark,) = index.add(url).skipped
    finally:
        end()
    assert any(reason in remark.reason for reason in ("takes longer than 0 seconds", "cannot be fetched"))
    assert time.monotonic() - started < 20


def test_a_redirect_into_the_own_network_is_refused_unless_the_first_address_was_there(site, monkeypatch):
    site.pages["/in"] = (302, {"Location": "http://169.254.169.254/latest/meta-data"}, b"")
    site.pages["/again"] = (302, {"Location": f"{site.url}/page"}, b"")
    site.pages["/page"] = (200, HTML, b"<p>Found.</p>")
    with Index(None, FakeEmbeddings()) as index:
        assert index.add(f"{site.url}/again").skipped == []
        monkeypatch.setattr(web, "is_inside", lambda host: host.startswith("169.254."))
        (remark,) = index.add(f"{site.url}/in").skipped
        assert remark.reason == "leads into the network that this computer is in"
        assert index.remove(f"{site.url}/in").skipped == []
    answers = iter([False, True])
    monkeypatch.setattr(web, "is_inside", lambda host: next(answers))
    monkeypatch.setattr(web._Deadline, "refuse_inside", lambda *_: None)  # a name that only its address tells of
    with Index(None, FakeEmbeddings()) as index:
        (remark,) = index.add(f"{site.url}/again").skipped
        assert remark.reason == "leads into the network that this computer is in"


def test_a_secret_in_an_address_is_sent_but_neither_shown_nor_stored(site, tmp_path):
    site.pages["/page?token=4711secret&n=1"] = (200, HTML, b"<p>Bees fly.</p>")
    site.pages["/old"] = (404, {}, b"")
    host = site.url.removeprefix("http://")
    with Index(tmp_path / "i.sqlite", FakeEmbeddings()) as index:
        report = index.add([f"{site.url}/page?token=4711secret&n=1", f"http://ada:4711secret@{host}/old"])
        assert report.indexed == [f"{site.url}/page?token=***&n=1"]
        assert "4711secret" not in repr(report)
        assert index.sources == sorted([f"{site.url}/page?token=***&n=1", f"http://***@{host}/old"])
        assert sorted(site.asked) == ["/old", "/page?token=4711secret&n=1"]
        assert index.update().unchanged == [f"{site.url}/page?token=***&n=1"]
    assert b"4711secret" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    with Index(tmp_path / "i.sqlite", FakeEmbeddings()) as index:
        reasons = {remark.reason for remark in index.update().skipped}
        assert {reason.rpartition("; ")[2] for reason in reasons} >= {"its earlier version is kept"}
        assert len(index) == 1


@pytest.mark.parametrize(
    ("headers", "body", "told"),
    [
        ({"Content-Encoding": "gzip"}, gzip.compress(b"<p>Bees fly.</p>", mtime=0), None),
        ({"Content-Encoding": "deflate"}, zlib.compress(b"<p>Bees fly.</p>"), None),
        ({"Content-Encoding": "br"}, b"x", "packed in a way that was not asked for"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b"x" * 9_000_000, mtime=0), "has more than 1,000,000 bytes"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b"<p>Bees fly.</p>", mtime=0)[:-9], "ended before its end"),
        ({"Content-Encoding": "gzip"}, b"nonsense", "cannot be fetched"),
    ],
)
def test_what_is_packed_unasked_is_unpacked_or_refused(site, monkeypatch, headers, body, told):
    monkeypatch.setattr(web, "LIMIT_BYTES", 1_000_000)
    site.pages["/page"] = (200, HTML | headers, body)
    with Index(None, FakeEmbeddings()) as index:
        report = index.add(f"{site.url}/page")
        if told:
            assert told in report.skipped[0].reason
        else:
            assert index.find("bees", 1)[0].passage.text == "Bees fly."


def test_a_slow_decoder_that_a_server_names_is_not_used(site):
    body = b"a-" * 300_000 + b"b\xe9"
    site.pages["/page"] = (200, {"Content-Type": "text/plain; charset=punycode"}, body)
    started = time.process_time()
    with Index(None, FakeEmbeddings()) as index:
        assert index.add(f"{site.url}/page").skipped == []
    assert time.process_time() - started < 20


def test_the_words_of_a_server_do_not_reach_the_terminal():
    url, end = dripping(b"HTTP/1.1 404 \x1b[31mGone\r\nContent-Length: 0\r\n\r\n", b"")
    try:
        with Index(None, FakeEmbeddings()) as index:
            (remark,) = index.add(url).skipped
    finally:
        end()
    assert remark.reason == "the server answers 404 Not Found"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "http://", "http://[broken/x", "http://a b/"])
def test_an_address_that_leads_nowhere_is_named(url):
    with pytest.raises(DocumentError, match="cannot be fetched|no host given"):
        ask("?", url, embeddings=FakeEmbeddings())


class Loader(BaseLoader):
    def __init__(self, *documents):
        self.documents = documents

    def lazy_load(self):
        yield from self.documents


def test_a_loader_is_a_source_whose_documents_are_split_and_kept(tmp_path):
    pages = [
        Document(f"Page {n} about bees. " * 30, metadata={"source": "wiki:Bees", "by": "Ada", "page": n, "tags": ["x"]})
        for n in range(3)
    ]
    with Index(tmp_path / "i.sqlite", FakeEmbeddings()) as index:
        report = index.load(Loader(*pages, Document("Wasps sting.", id="wasps")))
        assert report.indexed == ["wiki:Bees", "wasps"]
        assert len(index) > 4
        assert index.load(Loader(*pages)).unchanged == ["wiki:Bees"]
        (tmp_path / "a.md").write_text("Moths.")
        assert index.add(tmp_path / "a.md").removed == []
        hits = index.find("bees", 9, filter={"by": "Ada"})
        assert {hit.passage.path for hit in hits} == {"wiki:Bees"}
        documents = index.similarity_search("bees", 3, filter={"by": "Ada"})
        assert len({document.id for document in documents}) == 3
        assert [one.id for one in index.get_by_ids([document.id for document in documents])] == [
            d.id for d in documents
        ]
        assert index.load(Loader(Document("Bees sleep.", metadata={"source": "wiki:Bees"}))).indexed == ["wiki:Bees"]
        assert index.find("bees", 1)[0].passage.text == "Bees sleep."
        assert index.delete(["wiki:Bees"])
        assert "wiki:Bees" not in index.documents


def test_a_document_without_a_name_is_refused_and_an_empty_one_skipped():
    with Index(None, FakeEmbeddings()) as index:
        with pytest.raises(DocumentError, match="no 'source'"):
            index.load([Document("Bees fly.")])
        assert [remark.path for remark in index.load([Document(" ", id="empty")]).skipped] == ["empty"]
