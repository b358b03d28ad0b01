"""Web pages and LangChain loaders as sources of an index."""

from __future__ import annotations

import threading
import time
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
        ((302, {"Location": "file:///etc/passwd"}, b""), "not allowed"),
        ((302, {"Location": "ftp://127.0.0.1/x"}, b""), "no web page"),
        ((302, {"Location": "/page"}, b""), "infinite loop"),
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
