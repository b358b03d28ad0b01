"""E-mail: the subject, who wrote to whom, and the text; attachments are named, not opened."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.errors import MessageError
from email.message import EmailMessage
from pathlib import Path

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers import html
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.faults import FAULTS, refuse_large, unreadable
from chainkit.knowledge.readers.text import paragraphs

LIMIT_BYTES = 50_000_000
_HEADERS = ("From", "To", "Cc", "Date")


def read(path: Path) -> Iterator[Block]:
    """The subject as a heading, the address lines, the paragraphs of the text.

    Raises:
        DocumentError: The file is not an e-mail.
    """
    refuse_large(path, LIMIT_BYTES, "e-mail")
    try:
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        if not message.keys():
            raise DocumentError(path, "is not an e-mail (it has no headers)")
        yield from _blocks(message)
    except (MessageError, *FAULTS) as error:
        raise unreadable(path, "e-mail", error) from error


def _blocks(message: EmailMessage) -> Iterator[Block]:
    if subject := str(message.get("Subject", "")).strip():
        yield Block(" ".join(subject.split()), "heading", 1)
    attached = [name for part in message.iter_attachments() if (name := part.get_filename())]
    lines = [f"{name}: {message[name]}" for name in _HEADERS if message[name]]
    lines += [f"Attachments: {', '.join(attached)}"] if attached else []
    if lines:
        yield Block("\n".join(lines))
    body = message.get_body(("plain", "html"))
    if body is None:
        return
    text = str(body.get_content())
    blocks = html.blocks(text) if body.get_content_subtype() == "html" else paragraphs(enumerate(text.split("\n"), 1))
    for block in blocks:
        yield Block(block.text, block.kind, block.level and min(6, block.level + 1))
