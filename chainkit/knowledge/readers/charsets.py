"""Detect the encoding of bytes, and decode them without losing the text around a bad byte."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from chainkit.base.errors import DocumentError, MissingLibrary

CHUNK_BYTES = 1 << 20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\b\x1b"))
# Names that the web and mail programs use, and what they mean by them (https://encoding.spec.whatwg.org/#names-and-labels)
_MEANT = {
    "iso8859-1": "cp1252", "ascii": "cp1252", "ansi": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874",
    "tis-620": "cp874", "windows-874": "cp874", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932",
    "euc_kr": "cp949", "ks_c_5601-1987": "cp949", "big5": "big5hkscs", "utf8mb4": "utf-8", "utf8mb3": "utf-8",
    "mac-roman": "mac_roman", "macintosh": "mac_roman", "mac-cyrillic": "mac_cyrillic", "user-defined": "cp1252",
    "sjis": "cp932", "unicode": "utf-16", "windows-31j": "cp932", "euc": "euc_jp", "unicode-1-1-utf-8": "utf-8",
}  # fmt: skip
_NOT_OF_TEXTS = frozenset(
    ("punycode", "idna", "utf-7", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem")
)
_DECLARED = re.compile(
    rb"""<\?xml[^>]{0,200}?encoding\s{0,9}=\s{0,9}["']([\w.:-]{1,40})|"""
    rb"""<meta\b[^>]{0,400}?charset\s{0,9}=\s{0,9}["']?\s{0,9}([\w.:-]{1,40})""",
    re.IGNORECASE,
)
_DECLARED_BYTES = 16_384
_FEW = 8
# In a text that is Western: runs of letters beyond ASCII, signs inside words, and what no Western code has
_ODD = re.compile(
    r"[À-ÖØ-öø-ÿ¡-¿]{4,}|(?<=\w)[¡-§©¬®±-¶¸-¿‚ƒ„†‡ˆ‰‹Œ•˜™›](?=\w)|\ufffd|[\x80-\x9f]|"
    r"(?<=[a-zß-ÿ])[À-ÖØ-ÞŸ](?=[a-zß-ÿ])"
)
_BAD_BYTES = "chainkit-windows-1252"
_BEYOND = re.compile(r"[^\x00-\x7f]")
_ESCAPED = re.compile(r"[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding detected for a text, with the evidence.

    Attributes:
        name: For Python's codecs.
        errors: What becomes of bytes that do not fit: "strict", or that they are read as Windows-1252.
        note: What a reader of the answers should know; empty where there is no doubt.
    """

    name: str
    errors: str = "strict"
    note: str = ""

    def decode(self, data: bytes) -> str:
        """Bytes as text; those that do not fit never raise."""
        return data.decode(self.name, _BAD_BYTES)


def codec(label: str | None) -> str | None:
    """The codec that a label in a page, a mail or a header means; None for none that decodes text.

    >>> codec("ISO-8859-1"), codec("x-gbk"), codec("iso-8859-8-i"), codec("punycode"), codec("nonsense")
    ('cp1252', 'gb18030', 'iso8859-8', None, None)
    """
    name = (label or "").strip().strip("\"'").lower()
    for tried in (
        name,
        name.removeprefix("x-"),
        re.sub(r"-[ei]$", "", name),
        re.sub(r"^(cp|ibm|x-windows|dos)[-_ ]", "cp", name),
    ):
        meant = _MEANT.get(tried)
        try:
            found = codecs.lookup(meant or tried)
        except (LookupError, ValueError):
            continue
        if found._is_text_encoding and found.name.replace("_", "-") not in _NOT_OF_TEXTS:  # pyright: ignore[reportAttributeAccessIssue]
            return _MEANT.get(found.name, found.name)
    return None


def declared(data: bytes) -> str | None:
    """The codec that a page or an XML file names for itself in its first bytes."""
    found = _DECLARED.search(data[:_DECLARED_BYTES])
    return codec((found[1] or found[2]).decode("ascii", "replace")) if found else None


def of_bytes(data: bytes, said: str | None = None) -> Encoding:
    """The encoding of a text that is at hand.

    Args:
        said: The codec that a header or the text itself names; valid UTF-8 is stronger, as wrong names are common.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return Encoding(name)
    good, bad = _counted(data)
    if good and not bad:
        return Encoding("utf-8")
    if said and said != "utf-8":
        return _as_said(data, said)
    if not bad:
        return Encoding("iso2022_jp" if b"\x1b$B" in data or b"\x1b$@" in data else "utf-8")
    return _repaired(data, good, bad)


def of_file(path: Path) -> Encoding:
    """The encoding of a text file, found by reading it once, in bounded memory.

    Raises:
        DocumentError: The file is not text.
    """
    with path.open("rb") as file:
        head = file.read(CHUNK_BYTES)
        for mark, name in _MARKS:
            if head.startswith(mark):
                return Encoding(name)
        if wide := _wide(head):
            return wide
        if b"\0" in head or len(head.translate(None, _CONTROL)) < 0.9 * len(head):
            raise DocumentError(path, "is not text (binary data)")
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        good = bad = 0
        chunk = head
        while chunk:
            if b"\0" in chunk:
                raise DocumentError(path, "is not text (binary data)")
            if not chunk.isascii() or decoder.getstate()[0]:
                more, worse = _counts(decoder.decode(chunk))
                good, bad = good + more, bad + worse
            chunk = file.read(CHUNK_BYTES)
        more, worse = _counts(decoder.decode(b"", final=True))
        good, bad = good + more, bad + worse
    if bad:
        return _repaired(_high_part(path), good, bad)
    return Encoding("iso2022_jp" if b"\x1b$B" in head or b"\x1b$@" in head else "utf-8")


def _as_said(data: bytes, said: str) -> Encoding:
    try:
        data.decode(said)
    except UnicodeError:
        return Encoding(said, _BAD_BYTES, f"holds bytes that are not {said.upper()}")
    return Encoding(said)


def _repaired(sample: bytes, good: int, bad: int) -> Encoding:
    """For a text that is not valid UTF-8: with a few bad bytes in it, or of another encoding."""
    if good > bad:
        few = f"{bad} bytes are" if bad > 1 else "1 byte is"
        return Encoding("utf-8", _BAD_BYTES, f"{few} not valid UTF-8; read as Windows-1252")
    name = _guessed(sample)
    shown = "Windows-1252" if name == "cp1252" else name.upper()
    return Encoding(name, _BAD_BYTES, f"is not valid UTF-8; read as {shown}")


def _guessed(sample: bytes) -> str:
    """Windows-1252 unless something speaks against it; short texts of other encodings look like anything."""
    western = sample.decode("cp1252", "replace")
    beyond = _BEYOND.findall(western)
    odd = sum(len(found) for found in _ODD.findall(western))
    if sum(map(str.isalpha, beyond)) < _FEW and odd < 0.25 * len(beyond):
        return "cp1252"
    try:
        import chardet
    except ImportError as error:
        raise MissingLibrary("chardet", extra="knowledge") from error
    return codec(chardet.detect(sample)["encoding"]) or "cp1252"


def _high_part(path: Path) -> bytes:
    """Up to 64 KB of a file from the first byte beyond ASCII on, with some text before it."""
    with path.open("rb") as file:
        done = 0
        while chunk := file.read(CHUNK_BYTES):
            if not chunk.isascii():
                first = next(place for place, byte in enumerate(chunk) if byte > 127)
                file.seek(max(0, done + first - 2_048))
                return file.read(65_536)
            done += len(chunk)
    return b""


def _counted(data: bytes) -> tuple[int, int]:
    return (0, 0) if data.isascii() else _counts(data.decode("utf-8", "surrogateescape"))


def _counts(text: str) -> tuple[int, int]:
    """Characters that took several bytes, and bytes that belong to none, as `surrogateescape` leaves them."""
    if text.isascii():
        return 0, 0
    bad = len(_ESCAPED.findall(text))
    return len(_BEYOND.findall(text)) - bad, bad


def _wide(head: bytes) -> Encoding | None:
    """UTF-16 without a mark: every other byte of most texts is then NUL."""
    sample = head[: min(len(head), 4_096) & ~1]
    if len(sample) < 4:
        return None
    for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, others = sample[offset::2].count(0), sample[1 - offset :: 2].count(0)
        if zeros > 0.7 * len(sample) / 2 and not others:
            return Encoding(name, note=f"has no mark of its encoding; read as {name.upper()}")
    return None


def _as_windows_1252(error: UnicodeError) -> tuple[str, int]:
    """What a codec could not decode, byte by byte."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return wrong.decode("cp1252", "replace"), error.end


codecs.register_error(_BAD_BYTES, _as_windows_1252)
