"""A small Hugging Face hub on loopback: the pages of its API that are used, large files behind a redirect, faults."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
LARGE = 4096  # from this size on a file is stored with Git LFS


@dataclass
class Hub:
    """What the hub holds and has seen.

    Attributes:
        repos: Repository -> name of a file -> content.
        gated: Repositories that want `token`.
        lies: Files (by name) whose content is another one of the same length.
        cut_after: Break the connection when so many bytes of a file were sent, from then on at once; None never does.
        drips: "head" or "body": send that letter by letter, as long as it is set.
        requests: Method, path, range and authorization of each request.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    token: str = "hf_letmein"
    lies: set[str] = field(default_factory=set)
    cut_after: int | None = None
    drips: str = ""
    requests: list[tuple[str, str, str, str]] = field(default_factory=list)
    address: str = ""

    def downloads(self) -> list[tuple[str, str]]:
        """Path and range of each GET of a file's content."""
        return [(path, span) for method, path, span, _ in self.requests if method == "GET" and "/cdn/" in path]


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = self.headers
        self.hub.requests.append((self.command, path, headers.get("Range", ""), headers.get("Authorization", "")))
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self.about("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
        elif parts[0] == "cdn":
            self.content("/".join(parts[1:3]), "/".join(parts[3:]))
        else:
            self.resolve("/".join(parts[:2]), "/".join(parts[4:]))

    def about(self, repo: str, revision: str) -> None:
        if not self.allowed(repo):
            return
        if revision not in ("main", COMMIT):
            self.answer(404, {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [entry(name, data) for name, data in self.hub.repos[repo].items()]
        self.answer(
            200, {"Content-Type": "application/json"}, json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings})
        )

    def resolve(self, repo: str, name: str) -> None:
        if not self.allowed(repo):
            return
        data = self.hub.repos[repo].get(name)
        if data is None:
            self.answer(404, {"X-Error-Code": "EntryNotFound"})
            return
        if self.hub.drips == "head":
            self.drip(b"HTTP/1.1 302 Found\r\nX-Endless: " + b"x" * 4_000)
            return
        about = entry(name, data)
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{about["blobId"]}"',
            "X-Linked-Size": str(len(data)),
            "Location": f"{self.hub.address}/cdn/{repo}/{name}",
        }
        if "lfs" in about:
            headers["X-Linked-ETag"] = f'"{about["lfs"]["sha256"]}"'
        self.answer(302, headers)

    def drip(self, data: bytes) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            for byte in data:
                if self.hub.drips:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.02)

    def content(self, repo: str, name: str) -> None:
        data = self.hub.repos[repo][name]
        if name in self.hub.lies:
            data = bytes(byte ^ 1 for byte in data)
        start, end = 0, len(data)
        if span := self.headers.get("Range"):
            first, _, last = span.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1 if last else end, end)
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.send_header("Content-Length", str(end - start))
        self.send_header("ETag", '"' + hashlib.sha256(data).hexdigest() + '"')
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.drips == "body":
            self.drip(data[start:end])
            return
        if self.hub.cut_after is not None:
            end = min(end, max(start, self.hub.cut_after))
            self.close_connection = True
        self.wfile.write(data[start:end])

    def allowed(self, repo: str) -> bool:
        if repo not in self.hub.repos:
            self.answer(401 if not self.headers.get("Authorization") else 404, {"X-Error-Code": "RepoNotFound"})
            return False
        if repo in self.hub.gated and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self.answer(403 if self.headers.get("Authorization") else 401, {"X-Error-Code": "GatedRepo"})
            return False
        return True

    def answer(self, status: int, headers: dict[str, str], body: str = "") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        raw = body.encode()
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)


def entry(name: str, data: bytes) -> dict[str, object]:
    """What the API says about a file."""
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    found: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": blob}
    if len(data) >= LARGE:
        found["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 133}
    return found
