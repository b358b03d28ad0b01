"""E-mail: the subject, who wrote to whom, and all text; attachments are named, not opened."""

from __future__ import annotations

import email
import email.header
import email.policy
import re
from collections.abc import Iterator
from email.errors import MessageError
from email.message import Message
from typing import Any

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers import charsets, html
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.source import Source
from chainkit.knowledge.readers.text import paragraphs

MESSAGE_BYTES = 50_000_000
_HEADERS = ("From", "To", "Cc", "Date")
_DEPTH = 20
_STAND_IN = 0.3  # a plain text shorter than this share of the HTML beside it only says that there is HTML
_FOLDED = re.compile(r"\r?\n[ \t]")
_EVENT = {"SUMMARY": "", "DTSTART": "Begins: ", "DTEND": "Ends: ", "LOCATION": "Place: ", "DESCRIPTION": ""}
_POSTMARK = re.compile(rb"From \S")


def read(source: Source) -> Iterator[Block]:
    """The subject as a heading, the address lines, the paragraphs of all parts that are text.

    Raises:
        DocumentError: The file is not an e-mail.
    """
    data = source.path.read_bytes()
    if source.path.suffix.lower() == ".emlx":  # Apple's first line says how many bytes follow
        count, _, rest = data.partition(b"\n")
        data = rest[: int(count)] if count.strip().isdigit() else data
    message = email.message_from_bytes(data.lstrip(b"\r\n"), policy=email.policy.compat32)
    if not message.keys():
        raise DocumentError(source.path, "is not an e-mail (it has no headers)")
    yield from _message(source, message, 1)


def read_mbox(source: Source) -> Iterator[Block]:
    """The messages of a mailbox, one after another, each with its line numbers."""
    for data, first, last in _messages(source):
        message = email.message_from_bytes(data, policy=email.policy.compat32)
        for block in _message(source, message, 1):
            yield Block(block.text, block.kind, block.level, first, last)


def _messages(source: Source) -> Iterator[tuple[bytes, int, int]]:
    """Bytes, first and last line of each message; a message begins after a blank line with the word From."""
    gathered: list[bytes] = []
    size, first, blank = 0, 1, True
    number = 0
    with source.path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MESSAGE_BYTES), b""), 1):
            if blank and _POSTMARK.match(line):
                if gathered:
                    yield b"".join(gathered), first, number - 1
                gathered, size, first = [], 0, number
            elif size < MESSAGE_BYTES:
                gathered.append(line[1:] if re.match(rb">+From ", line) else line)
            else:
                source.note(f"messages are read up to {MESSAGE_BYTES:,} bytes")
            size += len(line)
            blank = not line.strip()
    if gathered:
        yield b"".join(gathered), first, number


def _message(source: Source, message: Message, depth: int) -> Iterator[Block]:
    if subject := _header(message, "Subject"):
        yield Block(subject, "heading", min(6, depth))
    attached: list[str] = []
    body = list(_parts(source, message, attached, depth))
    lines = [f"{name}: {value}" for name in _HEADERS if (value := _header(message, name))]
    lines += [f"Attachments: {', '.join(attached)}"] if attached else []
    if lines:
        yield Block("\n".join(lines))
    yield from body


def _parts(source: Source, part: Message, attached: list[str], depth: int) -> Iterator[Block]:
    """The blocks of a part and of those inside it, in their order."""
    kind = part.get_content_type()
    if depth > _DEPTH:
        source.note("holds messages inside messages, too deep to be read")
    elif kind == "message/rfc822":
        for inner in part.get_payload() if part.is_multipart() else ():
            yield from _message(source, inner, depth + 1)  # pyright: ignore[reportArgumentType]
    elif part.is_multipart():
        inner = [one for one in part.get_payload() if isinstance(one, Message)]
        if kind == "multipart/encrypted":
            source.note("is encrypted")
        elif kind == "multipart/alternative":
            yield from _best(source, inner, attached, depth)
        else:
            for one in inner:
                yield from _parts(source, one, attached, depth)
    elif part.get_content_disposition() == "attachment" or not kind.startswith(("text/", "multipart/")):
        attached.append(_filename(part) or kind)
    else:
        yield from _text(source, part, kind, depth)


def _best(source: Source, parts: list[Message], attached: list[str], depth: int) -> Iterator[Block]:
    """Of several alternatives the plain text, unless it is blank or only a placeholder."""
    forms = [list(_parts(source, part, attached, depth)) for part in parts]
    sizes = [sum(len(block.text) for block in form) for form in forms]
    largest = max(sizes, default=0)
    for form, size in zip(forms, sizes, strict=True):
        if size and size >= _STAND_IN * largest:
            yield from form
            return


def _text(source: Source, part: Message, kind: str, depth: int) -> Iterator[Block]:
    data = part.get_payload(decode=True)
    data = data if isinstance(data, bytes) else str(part.get_payload()).encode("utf-8", "surrogateescape")
    said = charsets.codec(str(part.get_param("charset", "") or ""))
    is_html = kind == "text/html" or (kind != "text/plain" and data.lstrip()[:1] == b"<")
    found = charsets.of_bytes(data, said or (charsets.declared(data) if is_html else None))
    if found.note:
        source.note(f"a part {found.note}")
    text = found.decode(data).replace("\r\n", "\n")
    if kind == "text/calendar":
        blocks = _event(text)
    elif is_html:
        blocks = iter(html.blocks(text))
    else:
        blocks = paragraphs(enumerate(text.split("\n"), 1))
    for block in blocks:
        yield Block(block.text, block.kind, block.level and min(6, block.level + depth))


def _event(text: str) -> Iterator[Block]:
    """What an invitation says, for people."""
    lines: list[str] = []
    for line in _FOLDED.sub("", text).split("\n"):
        name, _, value = line.strip().partition(":")
        label = _EVENT.get(name.partition(";")[0].upper())
        if label is not None and value:
            lines.append(label + value.replace("\\n", "\n").replace("\\,", ",").replace("\\;", ";"))
    if lines:
        yield Block("\n".join(lines))


def _header(message: Message, name: str) -> str:
    """A header as text, whatever encoded it."""
    return _decoded(next((value for key, value in message.raw_items() if key.lower() == name.lower()), ""))


def _filename(part: Message) -> str:
    return _decoded(part.get_filename() or "")


def _decoded(raw: Any) -> str:
    """Encoded words (RFC 2047), and bytes that no header should hold."""
    data = str(raw).encode("utf-8", "surrogateescape")
    text = charsets.of_bytes(data).decode(data)
    parts: list[str] = []
    try:
        pieces = email.header.decode_header(_FOLDED.sub(" ", text))
    except MessageError:
        return " ".join(text.split())
    for piece, label in pieces:
        if isinstance(piece, str):
            parts.append(piece)
        else:
            # text outside of encoded words comes in this encoding
            parts.append(
                charsets.of_bytes(piece, charsets.codec(label)).decode(piece)
                if label
                else piece.decode("raw-unicode-escape")
            )
    return " ".join("".join(parts).split())
