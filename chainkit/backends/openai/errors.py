"""Translate errors of a service; no message holds a key."""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chainkit.backends.openai.access import NO_KEY
from chainkit.backends.openai.client import Connection
from chainkit.backends.openai.segments import NO_HANDSHAKE
from chainkit.backends.openai.unreachable import about_tls, why
from chainkit.base.errors import (
    AuthenticationFailed,
    BadRequest,
    ChainkitError,
    ConnectionFailed,
    MalformedReply,
    MissingLibrary,
    ProviderError,
    RateLimited,
    RequestTooLong,
    TimedOut,
    error_of_status,
)
from chainkit.base.redaction import Redaction

try:
    import anyio
    import httpx2
except ImportError as error:
    raise MissingLibrary("openai", extra="openai") from error

LONGEST_QUOTE = 500
_TOO_LONG = re.compile(
    r"maximum context length|exceeds? the (?:available |model's )?context|context window|too large to process",
    re.IGNORECASE,
)
"""OpenAI's and vLLM's words, llama.cpp's, and others'."""

_ABOUT_MODEL = re.compile(r"model|deployment|engine", re.IGNORECASE)

NO_ANSWER = (httpx2.RequestError, OSError, anyio.EndOfStream)
"""What the HTTP client raises; the last two where it does not name what its own libraries raise."""

ODD = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading code raises when a reply has another shape than the API promises (pydantic's errors are ValueErrors)."""


@dataclass(frozen=True)
class Failed:
    """An answer with an error status; `content` is the beginning of its body."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


Failure = Failed | Exception
"""An answer with an error status, or one of `NO_ANSWER`."""


def odd(error: Exception, connection: Connection) -> ChainkitError:
    """The error for a reply that could not be read; chainkit's errors are returned unchanged."""
    if isinstance(error, ChainkitError):
        return error
    words = " ".join(str(error).split()) or type(error).__name__
    return malformed(connection, f"a reply that its API does not promise ({clean(words, connection)[:200]})")


def translated(failure: Failure, connection: Connection) -> ProviderError:
    """A failed try as one of chainkit's errors."""
    if isinstance(failure, Failed):
        return _from_status(failure, connection)
    if NO_HANDSHAKE in str(failure):
        plain = connection.access.base_url.replace("https://", "http://", 1)
        message = (
            f"{_place(connection)}: {NO_HANDSHAKE} within {connection.connect_timeout:g} s; does the service speak TLS?"
        )
        return TimedOut(f"{message} Without it, its address is {plain}", provider=connection.provider)
    if isinstance(failure, httpx2.TimeoutException):
        return TimedOut(
            f"{_place(connection)} did not answer in time (timeout {connection.timeout:g} s, "
            f"connect_timeout {connection.connect_timeout:g} s)",
            provider=connection.provider,
        )
    return _unreachable(failure, connection)


def may_pass(failure: Failure) -> bool:
    """Whether the same request may succeed a little later."""
    if not isinstance(failure, Failed):
        return not about_tls(failure) and NO_HANDSHAKE not in str(failure)
    if _error_body(failure).get("code") == "insufficient_quota":
        return False
    if (said := failure.headers.get("x-should-retry")) in {"true", "false"}:
        return said == "true"
    return failure.status_code in {408, 409, 429} or failure.status_code >= 500


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """What a Retry-After header asks for, in seconds, or None if there is none that can be read.

    >>> retry_after_seconds({"retry-after": "1.5"}), retry_after_seconds({"retry-after": "soon"})
    (1.5, None)
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{0,9})?", text):
            return float(text) * scale
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, date.timestamp() - time.time())


def malformed(connection: Connection, reason: str, body: str = "", *, request_id: str | None = None) -> MalformedReply:
    """The error for an answer that the API does not promise, with the beginning of that answer."""
    quote = f": {clean(body, connection)[:200]!r}" if body else ""
    message = f"{_place(connection)} sent {clean(reason, connection)}{quote}"
    return MalformedReply(message, provider=connection.provider, request_id=request_id)


def clean(text: str, connection: Connection) -> str:
    """A text of the service, shortened and without any key, which some services repeat."""
    secret = connection.access.key
    text = Redaction(secret if secret != NO_KEY else "").text(text)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]} ..."


def _from_status(response: Failed, connection: Connection) -> ProviderError:
    status, body = response.status_code, _error_body(response)
    said = clean(str(body["message"]), connection)
    id_ = response.headers.get("x-request-id")
    details: dict[str, Any] = {"provider": connection.provider, "status": status, "request_id": id_}
    if status == 401:
        return AuthenticationFailed(_about_key(connection), **details)
    if body.get("code") == "context_length_exceeded" or _TOO_LONG.search(said):
        return _too_long(said, connection, details)
    if status == 404 and not _ABOUT_MODEL.search(f"{said} {body.get('code')}"):
        return BadRequest(f"{_place(connection)} answered 404: {said}; {_nothing_served(connection)}", **details)
    error = error_of_status(status)(f"{_place(connection)} answered {status}: {said}", **details)
    if isinstance(error, RateLimited):
        error.retry_after_seconds = retry_after_seconds(response.headers)
    return error


def _nothing_served(connection: Connection) -> str:
    address = connection.access.base_url
    if re.search(r"/v\d+(?:beta\d*)?/?$", address):
        return f"nothing is served below {address} for this call; not every server offers every call"
    return f"nothing is served below {address}; most services want an address that ends in /v1"


def _error_body(response: Failed) -> Mapping[str, Any]:
    """What the body of an error says: at least a message, in the best case a code."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        text = re.sub(r"<[^<>]*>|\s+", " ", response.content[:4000].decode(errors="replace"))
        return {"message": re.sub(r" +", " ", text).strip() or "nothing more"}
    return _message(body)


def _message(body: Any) -> Mapping[str, Any]:
    """What OpenAI calls error.message; FastAPI's `detail` and others' bare texts likewise."""
    if isinstance(body, Mapping):
        for name in ("error", "detail"):
            if body.get(name):
                return _message(body[name])
        if "message" in body:
            return body
    return {"message": body}


def _about_key(connection: Connection) -> str:
    place, source = _place(connection), connection.access.source
    variables = " or ".join(connection.variables)
    if not source:
        return f"{place} wants an API key (401): give it with api_key=..."
    if source == "api_key":
        where = f"; {variables} is where it is looked for otherwise" if variables else ""
        return f"{place} refused the key given as api_key (401){where}"
    advice = f"set the right one in {variables}" if variables else "give the right one"
    return f"{place} refused the key from {source} (401): {advice}, or run: chainkit keys set {connection.provider}"


def _too_long(said: str, connection: Connection, details: dict[str, Any]) -> RequestTooLong:
    error = RequestTooLong(f"{_place(connection)} answered {details['status']}: {said}", **details)
    if limit := re.search(r"(?:maximum context length is|context size \(|context window of) ?(\d+)", said):
        error.limit = int(limit[1])
    if tokens := re.search(r"(?:resulted in|requested|contains? at least|request \(|input \() ?(\d+)", said):
        error.tokens = int(tokens[1])
    return error


def _unreachable(error: Exception, connection: Connection) -> ConnectionFailed:
    reason = clean(why(error, connection.access.base_url), connection)
    return ConnectionFailed(f"no connection to {_place(connection)}: {reason}", provider=connection.provider)


def _place(connection: Connection) -> str:
    return f"{connection.provider} at {httpx2.URL(connection.access.base_url).netloc.decode()}"
