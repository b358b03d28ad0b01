"""Which address is asked, and with which key: a key goes to its provider's own hosts and nowhere else."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field

from chainkit.backends.openai.services import Service
from chainkit.base.errors import KeyWithheld, MissingKey
from chainkit.base.keys import Key, checked_key, find_key
from chainkit.base.redaction import remember

try:
    import httpx2
except ImportError as error:
    from chainkit.base.errors import MissingLibrary

    raise MissingLibrary("openai", extra="openai") from error

EXAMPLE = "http://localhost:8000/v1"
NO_KEY = "none"
"""Key sent to a self-hosted service that needs none."""


@dataclass(frozen=True)
class Access:
    """An address and its key.

    Attributes:
        base_url: Where requests go.
        key: The secret; left out of `repr`.
        source: Where the key came from: an environment variable, a file, `api_key`, or empty.
        own: Whether the address belongs to the provider itself.
    """

    base_url: str
    key: str = field(repr=False)
    source: str
    own: bool


def find_accesses(service: Service, base_url: str | None, api_key: str | None) -> tuple[Access, ...]:
    """The address and the key of each server of a model; addresses have commas between them.

    Raises:
        ValueError: An address is not a plain http or https URL, or the key holds what cannot be sent.
        MissingKey: There is no key.
        KeyWithheld: There may be one, but one of these hosts does not get it.
    """
    several = addresses(base_url if base_url is not None else _usual_address(service))
    if len(several) < 2:
        return (find_access(service, base_url, api_key),)
    usual = addresses(_usual_address(service)) if base_url is None else []
    return tuple(find_access(service, one, api_key, trusted=one in usual) for one in several)


def addresses(text: str) -> list[str]:
    """The addresses in a text that has commas between them.

    >>> addresses("http://a:8000/v1, http://b:8000/v1")
    ['http://a:8000/v1', 'http://b:8000/v1']
    """
    return list(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


def find_access(service: Service, base_url: str | None, api_key: str | None, *, trusted: bool = False) -> Access:
    """The address and the key of a model.

    A key that was found (in the environment or stored) is sent to the provider's own hosts over https, and to the
    address that the user's environment names in `base_url_variable`. Any other address needs its own `api_key`; one
    on this machine or in a private network is asked without a key.

    Args:
        service: Whose habits and key apply.
        base_url: The address; None for the usual one.
        api_key: The key that the user gave for this address.
        trusted: Whether `base_url` is one that the user's environment names.

    Raises:
        ValueError: The address is not a plain http or https URL, or the key holds what cannot be sent.
        MissingKey: There is no key.
        KeyWithheld: There may be one, but this host does not get it.
    """
    address = base_of(base_url if base_url is not None else _usual_address(service))
    if not address:
        raise ValueError(f"{service.name} has no default address; give base_url or set {service.base_url_variable}")
    url = checked_url(address)
    own = _is_own(service, url)
    if api_key:
        return _access(service, address, api_key, "api_key", own)
    trusted = trusted or own or base_url is None
    found = _find(service) if trusted else None
    if found:
        return _access(service, address, found.secret, found.source, own)
    if _is_near(url.host):
        return Access(address, NO_KEY, "", own)
    if trusted:
        raise MissingKey(service.keys or service.name, service.variables)
    raise KeyWithheld(service.name, service.variables, url.host)


def _access(service: Service, address: str, secret: str, source: str, own: bool) -> Access:
    """Access with a key that can be sent, and that no message will show."""
    key = checked_key(secret, service.name if source == "api_key" else f"{service.name} in {source}")
    remember(key)
    return Access(address, key, source, own)


def _find(service: Service) -> Key | None:
    """The key of a service: environment first, then the stored one."""
    for variable in service.variables:
        if secret := os.environ.get(variable, "").strip():
            return Key(service.name, variable, secret)
    return find_key(service.keys) if service.keys else None


def checked_url(address: str) -> httpx2.URL:
    """The parsed address, by the library that will send to it.

    Raises:
        ValueError: It is not a plain http or https URL.
    """
    if re.search(r"[\s\\\x00-\x1f]", address):
        raise ValueError("base_url must not hold spaces, backslashes or control characters")
    try:
        url = httpx2.URL(address)
    except httpx2.InvalidURL as error:
        raise ValueError(f"base_url is not a URL: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"base_url must begin with http:// or https:// and name a host, like {EXAMPLE}")
    if url.userinfo or url.query or url.fragment:
        raise ValueError(f"base_url must hold no user, password, query or fragment, like {EXAMPLE}")
    return url


_ENDPOINTS = re.compile(r"/(?:chat/completions|completions|responses|embeddings|models)/?$")


def base_of(address: str) -> str:
    """The address up to `/v1`, where that of an endpoint was given.

    >>> base_of("http://localhost:8000/v1/chat/completions")
    'http://localhost:8000/v1'
    """
    return _ENDPOINTS.sub("", address)


def _usual_address(service: Service) -> str:
    chosen = os.environ.get(service.base_url_variable, "") if service.base_url_variable else ""
    return chosen.strip() or service.base_url


def _is_own(service: Service, url: httpx2.URL) -> bool:
    if url.scheme != "https":
        return False
    main = httpx2.URL(service.base_url or "https://")
    if url.host == main.host:
        return url.port == main.port
    suffixes = [pattern.removeprefix("*") for pattern in service.own_hosts if pattern.startswith("*.")]
    return url.host in service.own_hosts or any(url.host.endswith(suffix) for suffix in suffixes)


def _is_near(host: str) -> bool:
    """Whether a host is this machine or in a private network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal")) or "." not in host
    return address.is_private or address.is_loopback
