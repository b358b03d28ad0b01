"""A hub repository, through huggingface_hub: list its files, and translate errors."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import quote

from chainkit.base.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    MissingLibrary,
    ModelNotFound,
    PermissionDenied,
    ProviderError,
)
from chainkit.base.hiding import hides_locals
from chainkit.base.keys import find_key
from chainkit.base.redaction import remember
from chainkit.base.timed_web import TimedWeb
from chainkit.hub.choice import HubFile
from chainkit.hub.names import HubName

try:
    import httpx2
    import huggingface_hub
    from huggingface_hub import errors
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status
except ImportError as error:
    raise MissingLibrary("huggingface_hub", extra="hub") from error

_HUB = "https://huggingface.co"
MOST_FILES = 20_000
_LIMIT_SECONDS = 30.0
_LONGEST_ERROR, _LONGEST_ANSWER = 1 << 16, 16_000_000
"""Bytes; the answer about 20,000 files has 6 million."""
LONGEST_NAME = 200
"""Bytes; file systems take 255, and a part of a download has a longer name."""
_ODD = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
"""What huggingface_hub raises where a page, or other JSON than a hub's, comes as an answer."""
_YES = {"1", "true", "yes", "on"}


@dataclass(frozen=True)
class Repository:
    """What a hub says about a repository.

    Attributes:
        name: As it was asked for.
        commit: The exact state that was looked at.
        files: All files.
        endpoint: The hub.
    """

    name: HubName
    commit: str
    files: tuple[HubFile, ...]
    endpoint: str

    def address(self, file: str) -> str:
        """Where a file can be had."""
        return f"{self.endpoint}/{self.name.repo}/resolve/{quote(self.commit, safe='')}/{quote(file)}"


def endpoint() -> str:
    """The hub that is asked: `HF_ENDPOINT`, else Hugging Face's own."""
    return os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or _HUB


def token() -> str | None:
    """The token that is sent to the hub: `HF_TOKEN`, the one stored by `hf auth login`, or chainkit's key."""
    found = huggingface_hub.get_token()
    if found:
        remember(found)
        return found
    key = find_key("huggingface")
    return key.secret if key else None


def offline() -> bool:
    """Whether the user wants the network left alone: `HF_HUB_OFFLINE`."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in _YES


@hides_locals
def look_up(name: HubName) -> Repository:
    """The files of a repository; one request.

    Raises:
        ModelNotFound: The hub has no such repository or revision, or does not show it without a login.
        AuthenticationFailed: It wants a login.
        PermissionDenied: Its owner has not let this account in.
        ConnectionFailed: No answer came, or offline mode is on.
    """
    refuse_offline(str(name))
    where = endpoint()
    with named_faults(name):
        try:
            if _needs_a_proxy_of_httpx():
                api = huggingface_hub.HfApi(endpoint=where, token=token() or False, library_name="chainkit")
                info = api.model_info(name.repo, revision=name.revision, files_metadata=True, timeout=_LIMIT_SECONDS)
            else:
                info = huggingface_hub.ModelInfo(**_asked(where, name))
            files = tuple(_file(found) for found in (info.siblings or ())[:MOST_FILES] if _harmless(found.rfilename))
        except _ODD as error:
            raise ProviderError(f"{where} does not answer as a hub does: {_brief(error)}", provider="hub") from error
    return Repository(name, info.sha or name.revision, files, where)


def _asked(where: str, name: HubName) -> dict[str, Any]:
    """What the hub says of a repository. HfApi.model_info asks the same, with no limit on time or size."""
    url = f"{where}/api/models/{name.repo}/revision/{quote(name.revision, safe='')}?blobs=true"
    headers = build_hf_headers(token=token() or False, library_name="chainkit")
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})  # noqa: S310 - HF_ENDPOINT is the user's
    for header, value in headers.items():
        request.add_unredirected_header(header, value)
    with TimedWeb(_LIMIT_SECONDS) as web:
        try:
            with _opened(web, request) as reply:
                status = int(reply.status)
                data = web.read(reply, _LONGEST_ANSWER if status < 400 else _LONGEST_ERROR)
                fields = [(key, value) for key, value in reply.headers.items() if key.lower() != "content-encoding"]
        except (TimeoutError, HTTPException, OSError) as error:
            late = f"it took longer than {web.seconds:g} s"
            raise ConnectionFailed(
                f"no answer from {where}: {late if web.over else _brief(error)}", provider="hub"
            ) from error
    hf_raise_for_status(httpx2.Response(status, headers=fields, content=data, request=httpx2.Request("GET", url)))
    if len(data) >= _LONGEST_ANSWER:
        raise ValueError(f"more than {_LONGEST_ANSWER:,} bytes about {name}")
    return json.loads(data)


def _needs_a_proxy_of_httpx() -> bool:
    """Whether the environment names a proxy that urllib does not use: ALL_PROXY, or one that speaks SOCKS."""
    named = urllib.request.getproxies()
    return "all" in named or any(address.lower().startswith("socks") for address in named.values())


def _opened(web: TimedWeb, request: urllib.request.Request) -> Any:
    try:
        return web.opener().open(request)
    except urllib.error.HTTPError as error:
        return error  # an answer all the same: hf_raise_for_status names it


def _file(found: Any) -> HubFile:
    """A file as the hub describes it; anything but a hash is dropped, since it becomes a part of a file's name here."""
    size = found.size or 0
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"the size of {found.rfilename[:80]!r} is {str(size)[:40]!r}")
    sha256 = found.lfs.sha256 if found.lfs else None
    return HubFile(found.rfilename, size, _hash(sha256, 64), _hash(found.blob_id, 40))


def _hash(value: Any, digits: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
        raise ValueError(f"{str(value)[:80]!r} is not a hash")
    return value


def _harmless(name: str) -> bool:
    """Whether a name that a hub gives stays in its folder, can be a file here, and hides nothing of ours there."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a file is called {str(name)[:80]!r}")
    return (
        all(len(part.encode("utf-8", "replace")) <= LONGEST_NAME for part in name.split("/"))
        and len(name) <= 4 * LONGEST_NAME
        and name.isprintable()
        and "\\" not in name
        and ":" not in name
        and not any(part in ("", "..") or part[0] == "." for part in name.split("/"))
    )


def refuse_offline(what: str) -> None:
    """Stop before anything is asked in offline mode.

    Raises:
        ConnectionFailed: It is on.
    """
    if offline():
        raise ConnectionFailed(f"offline mode is on (HF_HUB_OFFLINE), and {what} is not here", provider="hub")


@contextmanager
def named_faults(name: HubName) -> Iterator[None]:
    """Turn huggingface_hub's errors into chainkit's."""
    try:
        yield
    except errors.GatedRepoError as error:
        raise _gated(name, error) from error
    except errors.RepositoryNotFoundError as error:
        login = "" if token() else ", or it is private; set HF_TOKEN for that"
        raise ModelNotFound(f"{endpoint()} has no {name.repo}{login}", provider="hub", status=404) from error
    except errors.RevisionNotFoundError as error:
        reason = f"{name.repo} has no revision '{name.revision}'"
        raise ModelNotFound(reason, provider="hub", status=404) from error
    except errors.EntryNotFoundError as error:
        raise ModelNotFound(f"{name.repo} has no such file any more", provider="hub", status=404) from error
    except errors.OfflineModeIsEnabled as error:
        raise ConnectionFailed(
            f"offline mode is on (HF_HUB_OFFLINE), and {name} is not here", provider="hub"
        ) from error
    except errors.HfHubHTTPError as error:
        raise _refused(name, error) from error
    except (errors.HFValidationError, errors.FileMetadataError) as error:
        raise ProviderError(f"{endpoint()} does not answer as a hub does: {_brief(error)}", provider="hub") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ConnectionFailed(f"no answer from {endpoint()}: {_brief(error)}", provider="hub") from error


def _gated(name: HubName, error: errors.HfHubHTTPError) -> ProviderError:
    page = f"{endpoint()}/{name.repo}"
    if token():
        reason = f"{name.repo} is gated and this account was not let in; accept its terms at {page}"
        return PermissionDenied(reason, provider="hub", status=403)
    reason = f"{name.repo} is gated: accept its terms at {page} and set HF_TOKEN"
    return AuthenticationFailed(reason, provider="hub", status=401)


def _refused(name: HubName, error: errors.HfHubHTTPError) -> ProviderError:
    status = error.response.status_code if error.response is not None else None
    if status == 401:
        return AuthenticationFailed(
            f"{endpoint()} does not accept the token; check HF_TOKEN", provider="hub", status=401
        )
    if status == 403:
        return PermissionDenied(f"{endpoint()} does not let this account at {name.repo}", provider="hub", status=403)
    return ProviderError(f"{endpoint()} answered {status} for {name.repo}", provider="hub", status=status)


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
