"""PDF: the text of each page."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from chainkit.base.errors import DocumentError, MissingLibrary
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.faults import FAULTS, refuse_large, unreadable

LIMIT_BYTES = 200_000_000
# pypdf tells of each fault in a file without naming the file; Python prints that unless somebody takes it
logging.getLogger("pypdf").addHandler(logging.NullHandler())
_HYPHEN = re.compile(r"(?<=[a-z])-\n(?=[a-z])")


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
    refuse_large(path, LIMIT_BYTES, "PDF")
    empty = True
    try:
        with pypdf.PdfReader(path) as reader:
            if reader.is_encrypted and not reader.decrypt(""):
                raise DocumentError(path, "is protected by a password")
            for number, page in enumerate(reader.pages, 1):
                for block in _paragraphs(page.extract_text(), number):
                    empty = False
                    yield block
    except (PyPdfError, *FAULTS) as error:
        raise unreadable(path, "PDF", error) from error
    if empty:
        raise DocumentError(path, "holds no text; scanned pages need text recognition first")


def _paragraphs(text: str, page: int) -> Iterator[Block]:
    for part in re.split(r"\n\s*\n", _HYPHEN.sub("", text)):
        if part.strip():
            yield Block(part.strip("\n"), "paragraph", page=page)
