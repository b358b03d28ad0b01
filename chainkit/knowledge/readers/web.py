"""Web pages that the user named, fetched once with limits on size and time; nothing that they refer to is fetched."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import re
import socket
import urllib.error
import urllib.request
import zlib
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from chainkit.base.errors import DocumentError
from chainkit.base.timed_web import TimedWeb
from chainkit.knowledge.readers import charsets

LIMIT_BYTES = 20_000_000
LIMIT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 16
_MASK = "***"
_ENDINGS = {
    "text/html": ".html",
    "application/xhtml+xml": ".xhtml",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/pdf": ".pdf",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/x-ipynb+json": ".ipynb",
    "message/rfc822": ".eml",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
}
_TEXTS = frozenset((".html", ".xhtml", ".md", ".csv", ".tsv", ".jsonl", ".txt"))
_SECRET = re.compile(
    r"(?P<name>[?&;](?:[\w.-]{0,40}(?:token|secret|passw|signature|api[_-]?key|credential)[\w.-]{0,40}"
    r"|key|auth|sig|pwd|pass|code|session|sid)=)[^&;#]+",
    re.IGNORECASE,
)


def is_page(path: str) -> bool:
    """Whether a path is the address of a web page.

    >>> is_page("https://example.org/a"), is_page("docs/a.md"), is_page("file:///etc/passwd")
    (True, False, False)
    """
    return path.lower().startswith(("http://", "https://"))


def without_secrets(url: str) -> str:
    """An address as it may be shown and stored: passwords and keys in it are masked.

    >>> without_secrets("https://ada:4711@example.org/a?token=x&page=2")
    'https://***@example.org/a?token=***&page=2'
    """
    scheme, slashes, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if "@" in host:
        host = f"{_MASK}@{host.rpartition('@')[2]}"
    return _SECRET.sub(rf"\g<name>{_MASK}", f"{scheme}{slashes}{host}{slash}{path}")


def fetch(url: str, folder: Path, name: str) -> Path:
    """Download an address to a file of this name, with an ending that fits its type.

    Raises:
        DocumentError: There is no answer, an error, more than `LIMIT_BYTES`, or more than `LIMIT_SECONDS`; or it leads
            into the network that this computer is in, and the first address did not.
    """
    shown = without_secrets(url)
    if url == shown and _MASK in url:
        raise DocumentError(
            shown, "has a secret in its address, which is not stored; add it again with the whole address"
        )
    with _Deadline(shown, LIMIT_SECONDS) as deadline:
        try:
            with deadline.opener(_Redirects(deadline)).open(_request(url), timeout=LIMIT_SECONDS) as reply:
                data = _body(shown, reply, deadline)
                kind, charset = reply.headers.get_content_type(), reply.headers.get_content_charset()
        except urllib.error.HTTPError as error:
            error.close()
            astray = ", which leads in a circle or to no web page" if 300 <= error.code < 400 else ""
            raise DocumentError(shown, f"the server answers {_status(error.code)}{astray}") from None
        except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
            if deadline.over:
                raise DocumentError(shown, deadline.reason) from None
            raise DocumentError(shown, f"cannot be fetched ({_reason(error, url)})") from None
    ending = _ENDINGS.get(kind) or Path(unquote(urlsplit(url).path)).suffix.lower() or ".txt"
    file = folder / f"{name}{ending}"
    file.write_bytes(_as_utf8(data, charset) if ending in _TEXTS else data)
    return file


def _request(url: str) -> urllib.request.Request:
    """A request without the password in it, which goes to the first host alone."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(  # noqa: S310 - is_page has looked at the scheme
        urlunsplit(parts._replace(netloc=host)), headers={"User-Agent": "chainkit", "Accept-Encoding": "identity"}
    )
    if at:
        secret = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {secret}")
    return request


def _status(code: int) -> str:
    """A status with the words that belong to it: those of the server may be anything."""
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def _reason(error: Exception, url: str) -> str:
    reason = str(getattr(error, "reason", None) or error or type(error).__name__)
    reason = reason.replace(url, without_secrets(url))
    return "".join(letter if letter.isprintable() else " " for letter in reason)[:300]


def _body(shown: str, reply: Any, deadline: _Deadline) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := reply.read1(_CHUNK_BYTES):
        parts.append(chunk)
        size += len(chunk)
        if size > LIMIT_BYTES:
            raise DocumentError(shown, f"has more than {LIMIT_BYTES:,} bytes")
        if deadline.over:
            raise DocumentError(shown, deadline.reason)
    declared = reply.headers.get("Content-Length", "")
    if (declared.isdecimal() and size < int(declared)) or deadline.over:
        raise DocumentError(shown, deadline.reason if deadline.over else f"ended after {size:,} of {declared} bytes")
    return _unpacked(shown, b"".join(parts), reply.headers.get("Content-Encoding", "identity").strip().lower())


def _unpacked(shown: str, data: bytes, packing: str) -> bytes:
    """What a server has packed though it was asked not to."""
    if packing in ("", "identity"):
        return data
    if packing not in ("gzip", "x-gzip", "deflate"):
        raise DocumentError(shown, "is packed in a way that was not asked for")
    raw = packing == "deflate" and data[:1] != b"\x78"
    unpacker = zlib.decompressobj(-15 if raw else 47)
    whole = unpacker.decompress(data, LIMIT_BYTES + 1)
    if len(whole) > LIMIT_BYTES:
        raise DocumentError(shown, f"has more than {LIMIT_BYTES:,} bytes")
    if not unpacker.eof:
        raise DocumentError(shown, "ended before its end")
    return whole


def _as_utf8(data: bytes, charset: str | None) -> bytes:
    """What the server says to be another encoding, as UTF-8; without its word, the reader of files looks."""
    said = charsets.codec(charset)
    if said is None or said == "utf-8":
        return data
    return charsets.of_bytes(data, said).decode(data).encode("utf-8", "replace")


def is_inside(host: str) -> bool:
    """Whether a host is this computer or lies in a private network, as far as its name tells.

    >>> is_inside("127.0.0.1"), is_inside("169.254.169.254"), is_inside("[::ffff:10.0.0.1]"), is_inside("example.org")
    (True, True, True, False)
    """
    name = host.strip("[]").lower().rstrip(".")
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name == "localhost" or name.endswith((".localhost", ".local", ".internal"))
    address = getattr(address, "ipv4_mapped", None) or address
    return not address.is_global


class _Deadline(TimedWeb):
    """The end of a fetch, and where it may lead: to no place inside the network that the first address was not in."""

    def __init__(self, shown: str, seconds: float) -> None:
        super().__init__(seconds)
        self.reason = f"takes longer than {seconds:.0f} seconds"
        self._shown = shown
        self._first_inside: bool | None = None

    def connect(self, address: tuple[str, int], timeout: Any = None, source_address: Any = None) -> socket.socket:
        """A connection that ends with the time.

        Raises:
            DocumentError: It leads inside, and the first did not.
        """
        opened = super().connect(address, timeout, source_address)
        inside = is_inside(str(opened.getpeername()[0]))
        if self._first_inside is None:
            self._first_inside = inside
        elif inside and not self._first_inside:
            opened.close()
            raise DocumentError(self._shown, "leads into the network that this computer is in")
        return opened

    def refuse_inside(self, host: str) -> None:
        """Refuse a redirect by its name, before anything is looked up.

        Raises:
            DocumentError: It leads inside, and the first address did not.
        """
        if is_inside(host) and not self._first_inside:
            raise DocumentError(self._shown, "leads into the network that this computer is in")


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def __init__(self, deadline: _Deadline) -> None:
        self._deadline = deadline

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Only to another web page, and not to one inside."""
        if not is_page(newurl):
            raise DocumentError(without_secrets(req.full_url), "leads to something that is not a web page")
        self._deadline.refuse_inside(urlsplit(newurl).hostname or "")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # pyright: ignore
