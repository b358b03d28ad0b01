"""What parsers let through on files that are not what they claim to be, besides their own errors."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from chainkit.base.errors import DocumentError

FAULTS: tuple[type[Exception], ...] = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RecursionError,
    NotImplementedError, EOFError, struct.error, zlib.error,
)  # fmt: skip


def refuse_large(path: Path, limit_bytes: int, kind: str) -> None:
    """Refuse a file that a parser would have to hold whole.

    Raises:
        DocumentError: It has more bytes than the limit.
    """
    size = path.stat().st_size
    if size > limit_bytes:
        raise DocumentError(path, f"has {size:,} bytes; {kind} files are read up to {limit_bytes:,} bytes")


def unreadable(path: Path, kind: str, error: Exception) -> DocumentError:
    """The error for a file that its parser gave up on."""
    return DocumentError(path, f"is not a readable {kind} ({type(error).__name__}: {str(error)[:120]})")
