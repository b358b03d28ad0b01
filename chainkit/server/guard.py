"""The door: hosts, origins and keys are looked at before anything of a request is read."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chainkit.server.faults import RequestFault
from chainkit.server.settings import ServerSettings, own_names
from chainkit.server.wire import fault_reply

_METHODS = "GET, POST, DELETE, OPTIONS"
_HEADERS = "authorization, content-type"
_HOST_CHARACTERS = 260  # of the longest name and a port


class Guard:
    """Refuses requests of other web sites, to other host names, or without a key.

    A page of another site can make a browser send requests here: with a foreign `Origin`, which is refused unless
    allowed, or to a host name that the attacker points to this address (DNS rebinding), which is refused as a `Host`
    that is neither an address nor a known name.

    Args:
        app: The wrapped application.
        settings: Hosts, origins and keys.
        open_paths: Paths that need no key; one that ends in "/" covers all below it.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, open_paths: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = own_names() | {host.lower() for host in (*settings.allowed_hosts, settings.host)}
        self._origins = frozenset(origin.rstrip("/").lower() for origin in settings.allowed_origins)
        self._keys = [_digest(key.encode()) for key in settings.keys]
        self._open = frozenset(path for path in open_paths if not path.endswith("/") or path == "/")
        self._open_below = tuple(path for path in open_paths if path.endswith("/") and path != "/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        try:
            self._check_head(headers)
            self._check_origin(scope, headers, origin)
            if scope["method"] == "OPTIONS" and origin is not None:
                await _preflight(origin)(scope, receive, send)
                return
            if self._keys and not self._is_open(scope["path"]):
                self._check_key(headers)
        except RequestFault as fault:
            reply = fault_reply(fault)
            reply.headers["connection"] = "close"  # what follows of a refused request is not read
            await reply(scope, receive, send)
            return
        await self._app(scope, receive, _allowing(send, origin) if origin is not None else send)

    def _check_head(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_known(hosts[0]):
            named = ", ".join(map(repr, hosts)) or "none"
            raise RequestFault(
                421, f"the host {named} is not served here; --allow-host lets in a name", code="unknown_host"
            )
        if "transfer-encoding" in headers and "content-length" in headers:
            raise RequestFault(400, "a request has a length or an encoding, not both", code="invalid_header")

    def _is_known(self, host: str) -> bool:
        name = _name(host) if len(host) <= _HOST_CHARACTERS else ""
        return bool(name) and (_is_address(name) or name in self._hosts)

    def _check_origin(self, scope: Scope, headers: Headers, origin: str | None) -> None:
        if origin is None:
            # a link or an address bar leads here from elsewhere, and nothing is changed by that
            navigates = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
            trusted = navigates or headers.get("sec-fetch-site") != "cross-site"
        else:
            own = origin != "null" and urlsplit(origin).netloc.lower() == headers["host"].lower()
            trusted = own or "*" in self._origins or origin.lower() in self._origins
        if not trusted:
            message = f"web pages of {origin or 'other sites'} may not ask this server; --allow-origin lets one in"
            raise RequestFault(403, message, code="foreign_origin")

    def _is_open(self, path: str) -> bool:
        return path in self._open or (bool(self._open_below) and path.startswith(self._open_below))

    def _check_key(self, headers: Headers) -> None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        digest = _digest(given.strip().encode("latin-1", "replace") if scheme.lower() == "bearer" else b"")
        # all are compared, so that the time does not tell which one was near
        matches = [hmac.compare_digest(digest, key) for key in self._keys]
        if not any(matches):
            raise RequestFault(
                401,
                "the API key is wrong" if given else "an API key is needed: send 'Authorization: Bearer KEY'",
                code="invalid_api_key",
            )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


@lru_cache(256)  # most clients send the same one each time
def _name(host: str) -> str:
    """A Host without its port; empty if it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "") if not set(host) & set("/?#@\\ ") else ""
    except ValueError:
        return ""


@lru_cache(256)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _preflight(origin: str) -> Response:
    return Response(
        status_code=204,
        headers={
            "access-control-allow-origin": origin,
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": _HEADERS,
            "access-control-max-age": "600",
            "vary": "origin",
        },
    )


def _allowing(send: Send, origin: str) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["access-control-allow-origin"] = origin
            headers.add_vary_header("origin")
        await send(message)

    return sent
