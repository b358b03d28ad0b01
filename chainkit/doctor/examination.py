"""An examination of one server: findings so far, and requests for more."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from chainkit.backends.openai.access import NO_KEY, Access, checked_url, find_access
from chainkit.backends.openai.client import Connection
from chainkit.backends.openai.services import COMPATIBLE, SERVICES, Service
from chainkit.base.errors import ChainkitError, KeyWithheld
from chainkit.doctor.finding import Finding
from chainkit.doctor.wire import Wire, WireReply

ANSWER_TOKENS = 64
THINKING_TOKENS = 1024  # a reasoning model has said nothing yet when the smaller limit ends it


@dataclass
class Examination:
    """Findings on a server so far, and requests for more.

    Attributes:
        wire: The way to the server.
        service: The service whose own host this is; None for any other server.
        model: The model that is asked; empty until one is chosen.
        embedding_model: Likewise for vectors.
        models: The names that the server lists.
        listed: Its data on each model.
        context: Context length in tokens, if known.
        limit_field: What the server calls the limit on new tokens; empty if it takes none.
        answer_tokens: That limit.
        findings: Findings by feature.
    """

    wire: Wire
    service: Service | None
    key_variable: str = ""
    model: str = ""
    embedding_model: str = ""
    models: list[str] = field(default_factory=list[str])
    listed: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    context: int | None = None
    limit_field: str = "max_tokens"
    answer_tokens: int = ANSWER_TOKENS
    findings: dict[str, Finding] = field(default_factory=dict[str, Finding])

    @property
    def base_url(self) -> str:
        """The address that is examined."""
        return self.wire.connection.access.base_url

    def ask(self, text: str, **options: Any) -> WireReply:
        """What the server answers to one message of a user."""
        return self.chat([{"role": "user", "content": text}], **options)

    def chat(self, messages: list[dict[str, Any]], **options: Any) -> WireReply:
        """What the server answers to messages; an option that is None is not sent."""
        limit = {self.limit_field: self.answer_tokens} if self.limit_field else {}
        body = {"model": self.model, "messages": messages, **limit, **options}
        return self.wire.post("/chat/completions", {name: value for name, value in body.items() if value is not None})

    def lacks(self, feature: str) -> bool:
        """Whether the server was seen to refuse or to ignore a feature."""
        return feature in self.findings and self.findings[feature].state in ("ignored", "refused")

    def works(self, feature: str) -> bool:
        """Whether a feature was found to work."""
        return feature in self.findings and self.findings[feature].works


@contextmanager
def open_examination(
    base_url: str,
    *,
    model: str = "",
    embedding_model: str = "",
    key_variable: str = "",
    context: int | None = None,
    timeout_seconds: float = 30.0,
    total_seconds: float = 300.0,
    most_requests: int = 60,
) -> Iterator[Examination]:
    """An examination of the server at an address.

    Args:
        base_url: The address, up to and including `/v1`.
        model: The model to ask; empty takes a small one of those that the server lists.
        embedding_model: The model to ask for vectors; empty looks for one in the list.
        key_variable: The environment variable that holds the key; empty uses the key of the service whose own host
            this is, and none for any other.
        context: How many tokens the model can read, to see how too long a prompt is refused.
        timeout_seconds: Longest time for one answer.
        total_seconds: After this time nothing more is asked.
        most_requests: After this many nothing more is asked.

    Raises:
        ChainkitError: The address is not a URL, the variable is not set, or the service's key is missing.
    """
    access, service = _access(base_url, key_variable)
    connection = Connection(
        provider=service.name if service else "the server",
        access=access,
        variables=(key_variable,) if key_variable else service.variables if service else (),
        timeout=timeout_seconds,
        connect_timeout=min(10.0, timeout_seconds),
    )
    with Wire(connection, time.monotonic() + total_seconds, most_requests) as wire:
        yield Examination(
            wire,
            service,
            key_variable=key_variable,
            model=model,
            embedding_model=embedding_model,
            context=context,
        )


def _access(base_url: str, key_variable: str) -> tuple[Access, Service | None]:
    try:
        url = checked_url(base_url)
    except ValueError as error:
        raise ChainkitError(str(error).replace("base_url", f"BASE_URL '{base_url}'", 1)) from None
    secret = os.environ.get(key_variable, "").strip() if key_variable else None
    if secret == "":
        raise ChainkitError(f"--key-env {key_variable}: this variable is not set; export {key_variable}=... first")
    if url.path in {"", "/"}:
        base_url = f"{base_url.rstrip('/')}/v1"
    for service in SERVICES.values():
        hosts = [checked_url(service.base_url).host] if service.keys and service.base_url else []
        own = url.host in hosts or any(url.host.endswith(name.lstrip("*")) for name in service.own_hosts)
        if own and url.scheme == "https":
            return find_access(service, base_url, secret), service
    try:
        return find_access(COMPATIBLE, base_url, secret), None
    except KeyWithheld:  # nobody knows yet whether it wants a key
        return Access(base_url, NO_KEY, "", own=False), None
