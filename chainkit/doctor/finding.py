"""A finding about one feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["works", "ignored", "refused", "failed", "unclear", "unknown", "skipped"]
"""`ignored`: taken without effect; `unclear`: taken, and whether it has an effect cannot be seen from outside;
`unknown`: no answer came in time, or the time was up before it was asked; `skipped`: it needs what does not work."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A finding about one feature.

    Attributes:
        feature: Its name, as in `tools`.
        state: See `State`.
        detail: The observation, or the server's message, without any key.
        status: The HTTP status, or None if nothing was asked or nothing came.
        facts: Numbers and names for programs, such as `first_token_seconds`.
    """

    feature: str
    state: State
    detail: str = ""
    status: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def works(self) -> bool:
        """Whether the feature can be relied on."""
        return self.state == "works"
