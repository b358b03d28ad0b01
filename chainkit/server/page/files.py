"""The page's files, with the headers that keep a browser from running anything else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from chainkit.server.faults import RequestFault

FOLDER = Path(__file__).parent / "static"
INDEX = "index.html"

_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # an assignment to innerHTML fails
        "trusted-types 'none'",
    )
)
"""The Content-Security-Policy: files of this server alone, no script or style inside a page, no text as HTML."""

HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file ready to be sent.

    Attributes:
        data: Its bytes.
        media_type: Its Content-Type.
        etag: Changes when it does.
    """

    data: bytes
    media_type: str
    etag: str


@cache
def page_files() -> Mapping[str, PageFile]:
    """All files by their path below `static`; only these are ever sent."""
    found: dict[str, PageFile] = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix in _TYPES:
            data = path.read_bytes()
            etag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
            found[path.relative_to(FOLDER).as_posix()] = PageFile(data, _TYPES[path.suffix], etag)
    return found


async def index(request: Request) -> Response:
    """The page."""
    return _reply(request, INDEX)


async def file(request: Request) -> Response:
    """A file of the page."""
    return _reply(request, request.path_params["name"])


def _reply(request: Request, name: str) -> Response:
    found = page_files().get(name)
    if found is None:
        raise RequestFault(404, f"the page has no file {name!r}", code="unknown_url")
    headers = {**HEADERS, "etag": found.etag}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    return Response(found.data, headers=headers, media_type=found.media_type)
