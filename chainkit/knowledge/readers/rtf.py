"""RTF: paragraphs and rows of tables."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chainkit.base.errors import MissingLibrary
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.source import Source

_HIDDEN = re.compile(r"\{\\(?:\*\\[a-z]+|[a-z0-9\\ ]{0,200})?\\v\b(?!0)[^{}\\]{0,10000}\}")


def read(source: Source) -> Iterator[Block]:
    """The paragraphs, in their order.

    Raises:
        MissingLibrary: striprtf is not installed.
    """
    try:
        from striprtf.striprtf import rtf_to_text
    except ImportError as error:
        raise MissingLibrary("striprtf", extra="knowledge") from error
    text = _HIDDEN.sub("", source.path.read_bytes().decode("latin-1"))
    for line in rtf_to_text(text, errors="replace").split("\n"):
        cells = [" ".join(cell.split()) for cell in line.split("|")]
        if len(cells) > 1 and line.rstrip().endswith("|"):
            if row := " | ".join(filter(None, cells)):
                yield Block(row, "table")
        elif line.strip():
            yield Block(line.strip())
