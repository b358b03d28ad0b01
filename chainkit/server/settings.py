"""Server settings: address, keys, origins and limits, validated on creation."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from pathlib import Path

from chainkit.base.errors import ChainkitError, of_system

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """Limits of one server.

    Attributes:
        body_bytes: Longest request.
        arriving_bytes: Bytes of all requests that are on their way.
        upload_bytes: Longest request with documents.
        prompt_tokens: Longest prompt; None leaves it to the model's context.
        new_tokens: Most tokens that one answer may be asked for; None leaves it to the model's context.
        choices: Most answers to one prompt (`n`).
        inputs: Most texts of one request for vectors, or documents of one request for an order.
        running: Requests that are computed at once; a local model takes them into shared passes.
        waiting: Requests that wait for those; the next one is refused with 429.
        seconds: Longest time for one request, the wait included.
        header_seconds: Longest time in which a client sends the head of a request; the body may take as long again.
        drain_seconds: How long a stopping server waits for running requests.
    """

    body_bytes: int = 4 << 20
    arriving_bytes: int = 256 << 20
    upload_bytes: int = 64 << 20
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    choices: int = 16
    inputs: int = 2048
    running: int = 32
    waiting: int = 128
    seconds: float = 600.0
    header_seconds: float = 15.0
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name in ("body_bytes", "arriving_bytes", "upload_bytes", "choices", "inputs", "running"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("prompt_tokens", "new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, or None, got {value}")
        if self.waiting < 0:
            raise ValueError(f"waiting must be 0 or more, got {self.waiting}")
        for name in ("seconds", "header_seconds", "drain_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Where a server listens and who may ask it.

    Attributes:
        host: The address to listen on.
        port: The port; 0 takes a free one.
        keys: The API keys that are let in; none lets in everybody who reaches the address.
        insecure: Listen on other addresses than loopback without a key.
        allowed_hosts: Names besides addresses and "localhost" that a request's Host may have.
        allowed_origins: Web sites, like "https://example.org", whose pages may ask; "*" for all.
        limits: Limits on requests.

    Raises:
        ChainkitError: The address can be reached from elsewhere, and there is neither a key nor `insecure`.
    """

    host: str = LOOPBACK
    port: int = 8000
    keys: tuple[str, ...] = ()
    insecure: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    limits: ServerLimits = field(default_factory=ServerLimits)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be between 0 and 65535, got {self.port}")
        if not all(self.keys):
            raise ChainkitError("an API key is empty; give one with characters in it, or none")
        if not (self.keys or self.insecure or is_loopback(self.host)):
            raise ChainkitError(
                f"{self.host} can be reached from other machines, and there is no key: give one with --key or "
                f"--key-file, listen on {LOOPBACK}, or say --insecure if everybody there may use the models"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_keys(path: str | Path) -> tuple[str, ...]:
    """The API keys of a file: one a line; empty lines and lines that begin with # are not keys.

    Raises:
        ChainkitError: The file cannot be read, or holds no key.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        reason = of_system(error) if isinstance(error, OSError) else "is not text"
        raise ChainkitError(f"{path}: {reason}") from error
    keys = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not keys:
        raise ChainkitError(f"{path}: holds no key; write one in each line")
    return keys


def own_names() -> frozenset[str]:
    """The names that this machine calls itself by."""
    name = socket.gethostname().lower()
    return frozenset({"localhost", name, f"{name}.local", name.partition(".")[0]})
