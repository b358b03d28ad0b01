"""Which errors of a model another model can make up for."""

from __future__ import annotations

from chainkit.base.errors import (
    AuthenticationFailed,
    BadRequest,
    ChainkitError,
    ConnectionFailed,
    ContextOverflow,
    MalformedReply,
    MissingKey,
    MissingLibrary,
    ModelNotFound,
    PermissionDenied,
    RateLimited,
    Refused,
    ServerFailed,
    StreamBroken,
)

PASSING = (ConnectionFailed, RateLimited, ServerFailed, MalformedReply, StreamBroken, ConnectionError, TimeoutError)
"""The service is in trouble now."""

LASTING = (AuthenticationFailed, PermissionDenied, ModelNotFound, MissingKey, MissingLibrary)
"""This model cannot be used from here until somebody sets something right."""

NEVER = (BadRequest, ContextOverflow, Refused)
"""The request is the trouble: another model must not get it unasked."""

_STATUSES = frozenset({401, 403, 404, 408, 409, 425, 429})
# Errors of libraries that are not imported here, by the names of their classes or base classes.
_FOREIGN = frozenset({"APIConnectionError", "APITimeoutError", "TransportError", "ConnectTimeout", "ReadTimeout"})


def moves_on(error: Exception) -> bool:
    """Whether the next model should be asked after this error.

    Yes for a service that cannot be reached, is too slow, limits its rate, or fails (429, 5xx, a malformed reply), and
    for a model that cannot be used at all: no library, no key, a wrong key (401, 403), no such model (404). No for a
    request that is wrong or too long (400, 422), for a refusal, and for anything that may be a fault of the program.
    Errors of other libraries are recognised by their HTTP status, or by the name of their class.

    >>> moves_on(RateLimited("slow down")), moves_on(BadRequest("what?")), moves_on(KeyError("x"))
    (True, False, False)
    """
    if isinstance(error, NEVER):
        return False
    if isinstance(error, PASSING + LASTING):
        return True
    if isinstance(error, ChainkitError):
        return False
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status in _STATUSES or status >= 500
    return any(kind.__name__ in _FOREIGN for kind in type(error).__mro__)


def lasting(error: Exception) -> bool:
    """Whether the error will come again until somebody sets something right."""
    return isinstance(error, LASTING) or getattr(error, "status_code", None) in {401, 403, 404}
