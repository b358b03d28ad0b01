"""Why no answer came, and what to do about it."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Iterator, Mapping

from chainkit.base.errors import MissingLibrary

try:
    import httpx2
except ImportError as error:
    raise MissingLibrary("openai", extra="openai") from error

_SIGNER = (
    "set SSL_CERT_FILE to a file with the certificate of its issuer, if you know it to be right; a network that "
    "looks into connections has one of its own"
)
# The words are OpenSSL's; the HTTP client keeps them, and not the error with its number.
_BY_WORDS = {
    "not yet valid": "is this machine's clock right?",
    "has expired": "the server needs a new one, unless this machine's clock is wrong",
    "self-signed": _SIGNER,
    "self signed": _SIGNER,
    "issuer certificate": _SIGNER,
    "mismatch": "it is for another host; use the name that it was made for",
}


def why(error: Exception, address: str) -> str:
    """The innermost words of an error, and advice; may hold what the address holds, but no password of a proxy."""
    words = next((text for cause in reversed(list(causes(error))) if (text := str(cause))), "it was closed at once")
    if about_tls(error):
        return f"TLS failed ({words}); {_tls_advice(error, address)}"
    if proxy := _proxy(address):
        return f"{words}; it was tried by way of the {proxy}; is that right, and is it running?"
    return f"{words}; is the address right and the service running?"


def about_tls(error: Exception) -> bool:
    """Whether TLS failed."""
    return any(isinstance(cause, ssl.SSLError) or "SSL" in str(cause) for cause in causes(error))


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _tls_advice(error: Exception, address: str) -> str:
    words = " ".join(str(cause) for cause in causes(error))
    for part, advice in _BY_WORDS.items():
        if part in words:
            return advice
    if "WRONG_VERSION" in words or "RECORD_LAYER" in words:
        plain = address.replace("https://", "http://", 1)
        return f"does the service speak TLS at all? Without it, its address is {plain}"
    return "check the address and the system's certificates"


def _bypassed(host: str, named: Mapping[str, str]) -> bool:
    names = [name.strip().lstrip(".") for name in named.get("no", "").split(",")]
    return "*" in names or any(name and (host == name or host.endswith(f".{name}")) for name in names)


def _proxy(address: str) -> str:
    """The proxy that the environment names for an address, without its password; empty if there is none."""
    url = httpx2.URL(address)
    named = urllib.request.getproxies_environment()
    variable = next((name for name in (url.scheme, "all") if named.get(name)), None)
    if variable is None or _bypassed(url.host, named):
        return ""
    place = named[variable].rpartition("@")[2].removeprefix("http://").removeprefix("https://").rstrip("/")
    return f"proxy {place} that the environment variable {variable}_proxy names"
