"""What libraries say to a user who did not ask: their warnings become errors, and their notices are found."""

from __future__ import annotations

import os
import re

_NOTICE = re.compile(r"\bwarn(?:ing)?s?\b|deprecated|\[[WE]:\w+:", re.IGNORECASE)


def strict() -> dict[str, str]:
    """The environment of a child process in which any warning is an error.

    Programs that print letters of any script need a pipe for any script, as Python itself demands; what chainkit's
    own commands do on another one is tested where they are.
    """
    return os.environ | {"PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"}


def notices(stderr: str) -> list[str]:
    """The lines that look like a warning, written by a logger or by native code."""
    return [line for line in stderr.splitlines() if _NOTICE.search(line)]
