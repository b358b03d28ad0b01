"""PDF: the text of each page."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from chainkit.base.errors import DocumentError, MissingLibrary
from chainkit.knowledge.blocks import Block

LIMIT_BYTES = 200_000_000
_HYPHEN = re.compile(r"(?<=[a-z])-\n(?=[a-z])")

# What pypdf lets through on files that are not what they claim to be, besides its own errors.
_FAULTS = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RecursionError,
    NotImplementedError, EOFError, struct.error, zlib.error,
)  # fmt: skip


def read(path: Path) -> Iterator[Block]:
    """The paragraphs of each page, with the page's number.

    Raises:
        DocumentError: The file is damaged, protected, or holds no text.
        MissingLibrary: pypdf is not installed.
    """
    try:
        import pypdf
        from pypdf.errors import PyPdfError
    except ImportError as error:
        raise MissingLibrary("pypdf", extra="knowledge") from error
    size = path.stat().st_size
    if size > LIMIT_BYTES:
        raise DocumentError(path, f"has {size:,} bytes; PDF files are read up to {LIMIT_BYTES:,} bytes")
    empty = True
    try:
        with pypdf.PdfReader(path) as reader:
            if reader.is_encrypted and not reader.decrypt(""):
                raise DocumentError(path, "is protected by a password")
            for number, page in enumerate(reader.pages, 1):
                for block in _paragraphs(page.extract_text(), number):
                    empty = False
                    yield block
    except (PyPdfError, *_FAULTS) as error:
        raise DocumentError(path, f"is not a readable PDF ({type(error).__name__}: {str(error)[:120]})") from error
    if empty:
        raise DocumentError(path, "holds no text; scanned pages need text recognition first")


def _paragraphs(text: str, page: int) -> Iterator[Block]:
    for part in re.split(r"\n\s*\n", _HYPHEN.sub("", text)):
        if part.strip():
            yield Block(part.strip("\n"), "paragraph", page=page)
