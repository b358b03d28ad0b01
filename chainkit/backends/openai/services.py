"""What differs between the services that speak OpenAI's API: data, no code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service, described.

    Attributes:
        provider: Its name in specs, keys and metadata.
        base_url: Its address; empty if every user has another one.
        base_url_variable: The environment variable with which its users change the address.
        own_hosts: Hosts, beside that of `base_url`, that the provider's key may be sent to; `*.` stands for subdomains.
        max_tokens_field: What the service calls the limit on new tokens.
        translator: The name under which langchain-core knows the shape of its replies.
    """

    provider: str
    base_url: str = ""
    base_url_variable: str = ""
    own_hosts: tuple[str, ...] = ()
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    translator: str = "openai_compatible"


OPENAI = Service(
    provider="openai",
    base_url="https://api.openai.com/v1",
    base_url_variable="OPENAI_BASE_URL",
    own_hosts=("*.api.openai.com",),
    max_tokens_field="max_completion_tokens",
    translator="openai",
)

COMPATIBLE = Service(provider="openai")
"""Any other service behind `openai:name?base_url=...`."""
