"""What a file is: by its first bytes where they tell, else by its ending; and which reader it has."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from chainkit.base.errors import DocumentError

HEAD_BYTES = 4_096
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of document.

    Attributes:
        name: For messages.
        reader: Module below `chainkit.knowledge.readers` and function.
        limit_bytes: The largest file that is read.
        light: Whether a small file of it is safe and quick to read in any process: text that cannot unfold.
    """

    name: str
    reader: str
    limit_bytes: int = 100 * MEGABYTE
    light: bool = False


TEXT = FileKind("text", "text:read", light=True)
_CODE = FileKind("text", "code:read", light=True)
_MARKDOWN = FileKind("text", "markdown:read", 20 * MEGABYTE, light=True)
_CSV = FileKind("CSV", "records:read_csv")
_JSON_LINES = FileKind("JSON lines", "records:read_jsonl")
_HTML = FileKind("HTML", "html:read", 20 * MEGABYTE)
_MAIL = FileKind("e-mail", "mail:read", 50 * MEGABYTE)
_MBOX = FileKind("mbox", "mail:read_mbox", 2_000 * MEGABYTE)
_NOTEBOOK = FileKind("notebook", "notebook:read", 50 * MEGABYTE)
_PDF = FileKind("PDF", "pdf:read", 200 * MEGABYTE)
_RTF = FileKind("RTF", "rtf:read", 20 * MEGABYTE)
_SHEET = FileKind("spreadsheet", "sheets:read")
_DOCX = FileKind("DOCX", "docx:read")
_PPTX = FileKind("PPTX", "pptx:read")
_ODF = FileKind("OpenDocument", "odf:read")
_EPUB = FileKind("EPUB", "epub:read")

_LANGUAGES = """
.c .cc .cpp .cs .cxx .dart .ex .exs .go .h .hpp .hs .java .jl .js .jsx .kt .lua .m .php .pl .pm .py .pyi .r .rb
.rs .scala .sh .sql .swift .ts .tsx .zig
"""
BY_ENDING: dict[str, FileKind] = {
    **dict.fromkeys(_LANGUAGES.split(), _CODE),
    **dict.fromkeys((".md", ".markdown", ".mdx"), _MARKDOWN),
    **dict.fromkeys((".csv", ".tsv"), _CSV),
    **dict.fromkeys((".jsonl", ".ndjson"), _JSON_LINES),
    **dict.fromkeys((".htm", ".html", ".xhtml", ".xht"), _HTML),
    **dict.fromkeys((".eml", ".emlx", ".mht", ".mhtml"), _MAIL),
    **dict.fromkeys((".mbox", ".mbx"), _MBOX),
    ".ipynb": _NOTEBOOK,
    ".pdf": _PDF,
    ".rtf": _RTF,
    **dict.fromkeys((".docx", ".docm", ".dotx", ".dotm"), _DOCX),
    **dict.fromkeys((".pptx", ".pptm", ".ppsx", ".ppsm", ".potx"), _PPTX),
    **dict.fromkeys((".xlsx", ".xlsm", ".xltx", ".xlsb", ".xls", ".ods", ".ots"), _SHEET),
    **dict.fromkeys((".odt", ".ott", ".odp", ".otp", ".odm"), _ODF),
    ".epub": _EPUB,
}
"""Ending -> kind; a file with any other ending is plain text, unless its first bytes say otherwise."""

IN_ZIP: tuple[tuple[str, FileKind], ...] = (
    ("word/", _DOCX), ("ppt/", _PPTX), ("xl/", _SHEET), ("META-INF/container.xml", _EPUB),
)  # fmt: skip
"""First name in a ZIP archive -> kind of document."""

IN_MIMETYPE: tuple[tuple[str, FileKind], ...] = (
    ("application/epub+zip", _EPUB),
    ("application/vnd.oasis.opendocument.spreadsheet", _SHEET),
    ("application/vnd.oasis.opendocument.", _ODF),
)

_ZIP = FileKind("ZIP archive", "zipped:read")
_CONTAINERS = (_DOCX, _PPTX, _SHEET, _ODF, _EPUB)
_OLE = FileKind("old Office file", "sheets:read_ole")
_TABS = FileKind("CSV", "records:read_csv")
_SHEET_XML = FileKind("spreadsheet", "sheets:read_xml", 50 * MEGABYTE)

_PICTURE = "is a picture ({}); text in pictures is not read"
_SOUND = "is a recording ({}); speech is not read"
_ARCHIVE = "is an archive ({}); unpack it to have its files read"
_PROGRAM = "is a program, not a document"
_FONT = "is a font, not a document"
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n", _PICTURE.format("PNG")), (b"\xff\xd8\xff", _PICTURE.format("JPEG")),
    (b"GIF8", _PICTURE.format("GIF")), (b"II*\0", _PICTURE.format("TIFF")), (b"MM\0*", _PICTURE.format("TIFF")),
    (b"BM", _PICTURE.format("BMP")), (b"8BPS", _PICTURE.format("Photoshop")), (b"\0\0\1\0", _PICTURE.format("icon")),
    (b"ID3", _SOUND.format("MP3")), (b"\xff\xfb", _SOUND.format("MP3")), (b"OggS", _SOUND.format("Ogg")),
    (b"fLaC", _SOUND.format("FLAC")), (b"\x1aE\xdf\xa3", _SOUND.format("Matroska or WebM")),
    (b"7z\xbc\xaf", _ARCHIVE.format("7z")), (b"Rar!", _ARCHIVE.format("RAR")),
    (b"\x1f\x8b\x08", _ARCHIVE.format("gzip")), (b"BZh", _ARCHIVE.format("bzip2")),
    (b"\xfd7zXZ", _ARCHIVE.format("xz")),
    (b"\x28\xb5\x2f\xfd", _ARCHIVE.format("zstd")), (b"!<arch>", _ARCHIVE.format("ar")),
    (b"\x7fELF", _PROGRAM), (b"MZ", _PROGRAM), (b"\xca\xfe\xba\xbe", _PROGRAM),
    (b"wOFF", _FONT), (b"wOF2", _FONT), (b"\0\1\0\0\0", _FONT), (b"OTTO", _FONT),
    (b"SQLite format 3\0", "is a SQLite database, which is not read"), (b"GGUF", "is a model (GGUF), not a document"),
    (b"PAR1", "is a Parquet table, which is not read; save it as CSV"), (b"\x89HDF", "is HDF5 data, which is not read"),
    (b"AT&TFORM", "is DjVu, which is not read; save it as PDF"),
    (b"%!PS", "is PostScript, which is not read; save it as PDF"),
)  # fmt: skip
"""First bytes -> message for known kinds of files that are not read."""

_BY_NAME = {
    ".doc": "is an old Word file", ".ppt": "is an old PowerPoint file", ".msg": "is an Outlook message",
    ".vsd": "is a Visio drawing", ".pub": "is a Publisher file", ".mpp": "is a Project file",
}  # fmt: skip
_MARKUP = re.compile(rb"\s*(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SHEET_NAME = b'xmlns="urn:schemas-microsoft-com:office:spreadsheet"'  # Excel's XML of 2003
_MHTML = re.compile(
    rb"MIME-Version: |[\w-]{1,40}: .{0,4000}\nContent-Type: multipart/related", re.IGNORECASE | re.DOTALL
)
_POSTMARK = re.compile(rb"From \S{1,300} [^\n]{0,60}\d\d:\d\d[^\n]{0,60}\r?\n[\w-]{1,60}:")


def kind_of(path: Path) -> FileKind:
    """The kind of a file.

    Raises:
        DocumentError: It is of a kind that is known and not read; the error names it.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    ending = path.suffix.lower()
    named = BY_ENDING.get(ending, TEXT)
    if b"%PDF-" in head[:1024] and (named is _PDF or head.lstrip()[:5] == b"%PDF-"):
        return _PDF
    if head.startswith(b"PK\3\4"):
        return replace(_ZIP, name=named.name) if named in _CONTAINERS else _ZIP
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return _OLE
    if head.lstrip().startswith(b"{\\rtf"):
        return _RTF
    _refuse_known(path, head)
    if named is TEXT and not ending and _POSTMARK.match(head):
        return _MBOX
    if ending in (".doc", ".xls", ".docx", ".xlsx"):
        if _MARKUP.match(head):
            return _HTML
        if _MHTML.match(head):
            return _MAIL
        if ending == ".xls" and b"\t" in head and (b"\0" not in head or head.startswith(_UTF_16)):
            return _TABS
    return _SHEET_XML if ending in (".xls", ".xml") and _SHEET_NAME in head else named


def refused_ole(path: Path) -> DocumentError:
    """The error for a file in an old Office format that is not read."""
    what = _BY_NAME.get(path.suffix.lower(), "is an old Office file")
    return DocumentError(path, f"{what}, which is not read; save it in a newer format or as PDF")


def _refuse_known(path: Path, head: bytes) -> None:
    for magic, reason in _MAGIC:
        if head.startswith(magic) and (len(magic) > 2 or b"\0" in head):
            raise DocumentError(path, reason)
    if head[4:8] == b"ftyp":
        reason = _PICTURE.format("HEIF") if head[8:12] in (b"heic", b"mif1", b"avif") else _SOUND.format("MP4")
        raise DocumentError(path, reason)
    if head.startswith(b"RIFF"):
        reason = _PICTURE.format("WebP") if head[8:12] == b"WEBP" else _SOUND.format("RIFF")
        raise DocumentError(path, reason)
    if head[60:68] == b"BOOKMOBI":
        raise DocumentError(path, "is a Kindle book, which is not read; save it as EPUB")
    if head[257:262] == b"ustar":
        raise DocumentError(path, _ARCHIVE.format("tar"))
