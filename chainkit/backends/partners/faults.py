"""Translate errors of partner packages; no message holds a key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from chainkit.base.errors import (
    AuthenticationFailed,
    ChainkitError,
    ConnectionFailed,
    MalformedReply,
    ProviderError,
    RequestTooLong,
    TimedOut,
    error_of_status,
)
from chainkit.base.hiding import shows_key
from chainkit.base.redaction import Redaction

LONGEST_QUOTE = 500
# Classes of libraries that are not imported here, by their names or those of their base classes.
_SLOW = frozenset({"APITimeoutError", "TimeoutException", "ConnectTimeoutError", "ReadTimeoutError", "TimeoutError"})
_UNREACHABLE = frozenset(
    {"APIConnectionError", "TransportError", "HTTPClientError", "ConnectionError", "ClientConnectionError"}
)
_NOT_UNDERSTOOD = frozenset({"JSONDecodeError", "ResponseParserError", "APIResponseValidationError"})
_NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"})
_TOO_LONG = re.compile(
    r"prompt is too long|input is too long|too many (?:input )?tokens|exceeds the maximum number of tokens"
    r"|maximum context|context (?:window|length)",
    re.IGNORECASE,
)


def named(error: Exception, provider: str) -> Exception:
    """An error of a package as one of chainkit's, with itself as the cause.

    What says neither a status nor that nobody answered, and shows no key, may be a fault of the program and stays.
    """
    redaction = Redaction()
    if isinstance(error, ChainkitError):
        return error
    found = _translated(error, provider, redaction)
    if found is None and shows_key(error, redaction):
        found = ProviderError(f"{provider}: {_words(error, redaction)}", provider=provider)
    if found is None:
        return error
    found.__cause__ = error
    return found


def _translated(error: Exception, provider: str, redaction: Redaction) -> ProviderError | None:
    names = {kind.__name__ for one in _causes(error) for kind in type(one).__mro__}
    words = _words(error, redaction)
    status = next((found for one in _causes(error) if (found := _status(one))), None)
    if status is not None and status >= 400:
        kind = error_of_status(status)
        if status < 500 and _TOO_LONG.search(words):
            kind = RequestTooLong
        return kind(f"{provider} answered {status}: {words}", provider=provider, status=status)
    if names & _NO_CREDENTIALS:
        return AuthenticationFailed(f"{provider} found no credentials: {words}", provider=provider)
    if names & _SLOW:
        return TimedOut(f"{provider} did not answer in time: {words}", provider=provider)
    if names & _UNREACHABLE:
        return ConnectionFailed(f"no connection to {provider}: {words}", provider=provider)
    if names & _NOT_UNDERSTOOD:
        return MalformedReply(f"{provider} sent what its package cannot read: {words}", provider=provider)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__


def _status(error: BaseException) -> int | None:
    """The HTTP status, where each package keeps it: Anthropic and Cohere, Google, botocore."""
    for name in ("status_code", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int) and 100 <= value < 600:
            return value
    reply = getattr(error, "response", None)
    about: Any = reply.get("ResponseMetadata") if isinstance(reply, Mapping) else None
    value = about.get("HTTPStatusCode") if isinstance(about, Mapping) else None
    return value if isinstance(value, int) else None


def _words(error: BaseException, redaction: Redaction) -> str:
    """What the service said, if the package keeps it apart, else the words of the error."""
    body = getattr(error, "body", None)
    while isinstance(body, Mapping) and (inner := body.get("error") or body.get("message")):
        body = inner
    message = body if isinstance(body, str) and body else str(error)
    text = redaction.text(" ".join(message.split())) or type(error).__name__
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]} ..."
