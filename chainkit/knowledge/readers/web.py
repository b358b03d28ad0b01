"""Web pages that the user named, fetched once with limits on size and time; nothing that they refer to is fetched."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from chainkit.base.errors import DocumentError

LIMIT_BYTES = 20_000_000
LIMIT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 16
_ENDINGS = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "application/pdf": ".pdf",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "message/rfc822": ".eml",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
}
_TEXTS = frozenset((".html", ".md", ".csv", ".jsonl", ".txt"))


def is_page(path: str) -> bool:
    """Whether a path is the address of a web page.

    >>> is_page("https://example.org/a"), is_page("docs/a.md"), is_page("file:///etc/passwd")
    (True, False, False)
    """
    return path.lower().startswith(("http://", "https://"))


def fetch(url: str, folder: Path, name: str) -> Path:
    """Store what is at an address in a file of this name, with an ending that says what it is.

    Raises:
        DocumentError: There is no answer, an error, more than `LIMIT_BYTES`, or more than `LIMIT_SECONDS`.
    """
    ends = time.monotonic() + LIMIT_SECONDS
    opener = urllib.request.build_opener(_Redirects)
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "chainkit", "Accept-Encoding": "identity"})  # noqa: S310
        with opener.open(request, timeout=LIMIT_SECONDS) as reply:
            data = _body(url, reply, ends)
            kind, charset = reply.headers.get_content_type(), reply.headers.get_content_charset()
    except urllib.error.HTTPError as error:
        error.close()
        raise DocumentError(url, f"the server answers {error.code} {error.reason}".rstrip()) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise DocumentError(url, f"cannot be fetched ({reason or type(error).__name__})") from error
    ending = _ENDINGS.get(kind) or Path(unquote(urlsplit(url).path)).suffix.lower() or ".txt"
    file = folder / f"{name}{ending}"
    file.write_bytes(_as_utf8(data, charset) if ending in _TEXTS else data)
    return file


def _body(url: str, reply: Any, ends: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := reply.read1(_CHUNK_BYTES):
        parts.append(chunk)
        size += len(chunk)
        if size > LIMIT_BYTES:
            raise DocumentError(url, f"has more than {LIMIT_BYTES:,} bytes")
        if time.monotonic() > ends:
            raise DocumentError(url, f"takes longer than {LIMIT_SECONDS:.0f} seconds")
    declared = reply.headers.get("Content-Length", "")
    if declared.isdecimal() and size < int(declared):
        raise DocumentError(url, f"ended after {size:,} of {declared} bytes")
    return b"".join(parts)


def _as_utf8(data: bytes, charset: str | None) -> bytes:
    """What the server says to be another encoding, as UTF-8; what does not hold is left to the reader of files."""
    if charset is None or charset in ("utf-8", "utf8", "us-ascii"):
        return data
    try:
        return data.decode(charset).encode()
    except (LookupError, UnicodeError):
        return data


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Only to another web page."""
        if not is_page(newurl):
            raise DocumentError(req.full_url, "leads to something that is no web page")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # pyright: ignore
