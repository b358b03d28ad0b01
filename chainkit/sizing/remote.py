"""The first bytes of files that lie on a server, by range requests: a header of 1 MB instead of a model of 7 GB."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from chainkit.base.errors import ConnectionFailed, ModelFileError
from chainkit.base.hiding import hides_locals
from chainkit.base.redaction import remember
from chainkit.base.timed_web import TimedWeb
from chainkit.sizing.gguf import model_of
from chainkit.sizing.header import Beyond, Header, parse_start
from chainkit.sizing.model import ModelShape
from chainkit.sizing.transformers import model_of_folder, settings_of

_FIRST, _MOST = 1 << 20, 64 << 20
_GROWTH = 4
_LONGEST_JSON = 32 << 20
_SILENCE_SECONDS, _LIMIT_SECONDS = 30.0, 120.0
"""The longest wait for the next bytes, and for all that one request brings."""


@hides_locals
def remote_gguf(urls: list[str], token: str | None = None) -> ModelShape:
    """The model of a GGUF file on a server, or of all parts of one.

    Raises:
        ModelFileError: The server has no such file, or it is not a GGUF.
        ConnectionFailed: No answer came.
    """
    return model_of([_header(url, token) for url in urls])


@hides_locals
def remote_transformers(
    name: str, address: Callable[[str], str], files: list[str], token: str | None = None, dtype: str = "auto"
) -> ModelShape:
    """The model of a repository with config.json and safetensors.

    Args:
        name: For people.
        address: From the name of a file to where it is.
        files: The names that there are.
        token: Sent to the host of the address, and to no other.
        dtype: What the weights will be in memory; "auto" keeps what they are.

    Raises:
        ModelFileError: A file is missing or damaged, or there are no safetensors.
        ConnectionFailed: No answer came.
    """

    def read(file: str, start: int, length: int) -> bytes:
        return fetch(address(file), start, length, token)[0]

    def whole(file: str) -> Mapping[str, Any]:
        data, size = fetch(address(file), 0, _LONGEST_JSON, token)
        if size > len(data):
            raise ModelFileError(f"{name}/{file}", f"has {size} bytes, which is not a settings file")
        return settings_of(f"{name}/{file}", data)

    return model_of_folder(name, files, whole, read, dtype)


@hides_locals
def fetch(url: str, start: int, length: int, token: str | None = None) -> tuple[bytes, int]:
    """Bytes of a file from an offset, fewer if the file ends before, and the length of the whole file.

    Raises:
        ModelFileError: The server refuses, or has no such file.
        ConnectionFailed: No answer came.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ModelFileError(url, "is not the address of a web server")
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-{start + length - 1}"})  # noqa: S310 - checked
    request.add_header("Accept-Encoding", "identity")
    request.add_header("User-Agent", "chainkit")
    if token:
        remember(token)
        request.add_unredirected_header("Authorization", f"Bearer {token}")  # not to where we are sent on
    with TimedWeb(_LIMIT_SECONDS, _SILENCE_SECONDS) as web:
        try:
            with web.opener().open(request) as reply:
                return _received(web, reply, start, length)
        except urllib.error.HTTPError as error:
            error.close()
            raise ModelFileError(url, _refusal(error.code)) from error
        except (TimeoutError, HTTPException, OSError, ValueError) as error:
            reason = f"it took longer than {web.seconds:g} s" if web.over else getattr(error, "reason", error)
            raise ConnectionFailed(f"no answer from {urlsplit(url).netloc}: {reason}", provider="hub") from error


def _received(web: TimedWeb, reply: Any, start: int, length: int) -> tuple[bytes, int]:
    if reply.status == 206:
        data = web.read(reply, length)
        total = str(reply.headers.get("Content-Range", "")).rpartition("/")[2]
        return data, int(total) if total.isdecimal() else start + len(data)
    data = web.read(reply, start + length)[start:]  # a server that knows no ranges sends it from the beginning
    size = str(reply.headers.get("Content-Length", ""))
    return data, int(size) if size.isdecimal() else start + len(data)


def _refusal(status: int) -> str:
    reasons = {
        401: "needs a login (401): set HF_TOKEN",
        403: "is not open to this account (403): ask for access on its page",
        404: "is not there (404)",
        416: "is empty",
    }
    return reasons.get(status, f"cannot be had: the server answered {status}")


def _header(url: str, token: str | None) -> Header:
    name, wanted = Path(PurePosixPath(urlsplit(url).path).name), _FIRST
    data, size = fetch(url, 0, wanted, token)
    if not data:
        raise ModelFileError(url, "is empty")
    while True:
        try:
            return parse_start(name, data, size)
        except Beyond:
            if len(data) >= min(size, _MOST) or len(data) < wanted:
                raise ModelFileError(url, f"has a header longer than the {len(data)} bytes that came") from None
        wanted = min(wanted * _GROWTH, _MOST, size)
        data += fetch(url, len(data), wanted - len(data), token)[0]
