"""Files that are shown to a model beside a question."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chainkit.base.errors import DocumentError
from chainkit.cli.rows import decoded

MOST_BYTES = 20_000_000

_KINDS = {"image": "image", "audio": "audio", "video": "video"}


def with_files(question: str, paths: Sequence[str]) -> str | list[Any]:
    """The question with these files as content blocks: images, recordings and PDF as they are, all others as text.

    Raises:
        DocumentError: A file is larger than 20 MB, or is neither of a known kind nor UTF-8.
        OSError: It cannot be read.
    """
    if not paths:
        return question
    blocks = [_block(Path(path)) for path in paths]
    return [*([{"type": "text", "text": question}] if question else []), *blocks]


def _block(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MOST_BYTES:
        raise DocumentError(path, f"is larger than {MOST_BYTES / 1e6:g} MB, which no service takes in a question")
    data = path.read_bytes()
    mime = mimetypes.guess_type(path.name)[0] or ""
    kind = _KINDS.get(mime.partition("/")[0]) or ("file" if mime == "application/pdf" else None)
    if kind is None:
        return {"type": "text", "text": f"{path.name}:\n{decoded(str(path), data)}"}
    coded = base64.b64encode(data).decode()
    return {"type": kind, "base64": coded, "mime_type": mime, "extras": {"filename": path.name}}
