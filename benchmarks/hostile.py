"""Documents made to do harm, in one folder with good ones: what is indexed, what is named, what the worst file takes.

    python benchmarks/hostile.py [FOLDER]   makes the files in FOLDER (else a temporary one) and indexes them in one go

About 260 files: bombs, loops, cut and changed ones, encrypted ones, wrong endings, deep nesting, slow patterns. Each
hostile file must be named in the report, or be read. CPU seconds are those of this process and of its children while
the file is read, split, embedded by a stand-in and stored; MB are the most that one process held.
"""

from __future__ import annotations

import email.message
import io
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import docx
import openpyxl
import pptx
import pypdf

from chainkit.backends.fake import FakeEmbeddings
from chainkit.base.errors import DocumentError
from chainkit.knowledge import Index
from chainkit.knowledge.readers.reading import sized

HOLDS = "SELECT 1 FROM documents d JOIN passages p ON p.document = d.id WHERE d.path = ? AND instr(p.text, ?)"
COUNTS = "SELECT d.path, count(*) FROM documents d JOIN passages p ON p.document = d.id GROUP BY 1"
DAMAGED = (".docx", ".xlsx", ".pptx", ".odt", ".epub", ".pdf")
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
ODF = "urn:oasis:names:tc:opendocument:xmlns:"
LAUGHS = '<!DOCTYPE d [<!ENTITY a0 "ha">' + "".join(
    f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)
)  # to be closed with ]>
Made = Iterator[tuple[str, bytes | Callable[[Path], None]]]


# --- good documents of each kind


def word(text: str) -> bytes:
    document = docx.Document()
    document.add_heading("Good", 1)
    document.add_paragraph(text)
    return saved(document)


def sheet(text: str) -> bytes:
    book = openpyxl.Workbook()
    book.active.append(["Name", "Text"])
    book.active.append(["one", text])
    return saved(book)


def slides(text: str) -> bytes:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text, slide.placeholders[1].text = "Good", text
    return saved(deck)


def saved(document) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def zipped(parts: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return out.getvalue()


def odt(body: str, head: str = "") -> bytes:
    spaces = " ".join(f'xmlns:{name}="{ODF}{name}:1.0"' for name in ("office", "text", "table"))
    content = f"{head}<office:document-content {spaces}><office:body><office:text>{body}"
    content += "</office:text></office:body></office:document-content>"
    return zipped({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content})


def epub(chapter: str, spine: str = '<itemref idref="a"/>') -> bytes:
    return zipped({
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="c.opf"/></rootfiles></container>',
        "c.opf": f'<package><manifest><item id="a" href="a.xhtml"/></manifest><spine>{spine}</spine></package>',
        "a.xhtml": chapter,
    })  # fmt: skip


def pdf(*objects: bytes) -> bytes:
    """A PDF with these objects, numbered from 1; the first is the catalogue."""
    out, places = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n" % (len(places) + 1, table)
    return out + head + b"<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(places) + 1, len(out))


def stream(data: bytes, more: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), more, data)


def page(content: bytes, *more: bytes, resources: bytes = b"") -> bytes:
    """A PDF of one page; `more` are objects from 6 on."""
    fonts = b"/Font << /F1 5 0 R >> " + resources
    return pdf(
        b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << %s >> >>" % fonts,
        content, b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>", *more,
    )  # fmt: skip


def printed(text: str) -> bytes:
    return page(stream(b"BT /F1 12 Tf 50 700 Td (%s) Tj ET" % text.encode()))


def mail(text: str) -> bytes:
    message = email.message.EmailMessage()
    message["Subject"], message["From"] = "Good", "ada@example.org"
    message.set_content(text)
    return message.as_bytes()


def notebook(text: str) -> bytes:
    return json.dumps({"nbformat": 4, "cells": [{"cell_type": "markdown", "source": text}]}).encode()


GOOD: dict[str, Callable[[str], bytes]] = {
    ".docx": word, ".xlsx": sheet, ".pptx": slides, ".pdf": printed, ".eml": mail, ".ipynb": notebook,
    ".odt": lambda text: odt(f"<text:p>{text}</text:p>"),
    ".epub": lambda text: epub(f"<html><body><p>{text}</p></body></html>"),
    ".rtf": lambda text: rb"{\rtf1\ansi " + text.encode() + b"}",
    ".html": lambda text: f"<html><body><p>{text}</p></body></html>".encode(),
    ".csv": lambda text: f"Name,Text\none,{text}\n".encode(),
    ".jsonl": lambda text: json.dumps({"text": text}).encode() + b"\n",
    ".md": lambda text: f"# Good\n\n{text}\n".encode(),
    ".txt": lambda text: f"{text}\n".encode(),
    ".py": lambda text: f'"""{text}"""\n'.encode(),
}  # fmt: skip


# --- hostile ones: names and bytes, or what makes the file at a path


def damaged() -> Made:
    """Cut, with changed bytes, with a hole, of another kind than their ending says, empty."""
    random.seed(5)
    for ending in DAMAGED:
        data = GOOD[ending]("A sentence that may be lost.")
        for share in (1, 10, 50, 90, 99):
            yield f"cut{share}{ending}", data[: len(data) * share // 100]
        for number in range(4):
            changed = bytearray(data)
            for place in random.sample(range(4, len(data)), max(4, len(data) // 400)):
                changed[place] = random.randrange(256)
            yield f"changed{number}{ending}", bytes(changed)
        yield f"hole{ending}", data[: len(data) // 3] + bytes(len(data) // 3) + data[2 * len(data) // 3 :]
    for ending in (*GOOD, ".ods", ".xls", ".mbox"):
        yield f"empty{ending}", b""
        yield f"picture{ending}", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
    for ending in DAMAGED:
        yield f"program{ending}", b"\x7fELF" + bytes(5_000)
        yield f"noise{ending}", random.randbytes(100_000)
        yield f"archive{ending}", zipped({"a.txt": "not a document"})


def bombs() -> Made:
    """A few bytes that unfold to very many."""
    zeros = b"0" * 300_000_000
    yield "zeros.docx", zipped({"word/document.xml": zeros})
    yield "zeros.xlsx", zipped({"xl/workbook.xml": zeros})
    yield "zeros.pptx", zipped({"ppt/presentation.xml": zeros})
    yield "zeros.odt", zipped({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": zeros})
    yield "zeros.epub", epub(zeros.decode())
    del zeros
    many = "<w:p><w:r><w:t>word</w:t></w:r></w:p>" * 2_000_000
    yield "paragraphs.docx", zipped({"word/document.xml": f"<w:document {W}><w:body>{many}</w:body></w:document>"})
    wide = '<w:tc><w:tcPr><w:gridSpan w:val="100000000"/></w:tcPr><w:p/></w:tc>' * 1_000
    table = f"<w:tbl><w:tr>{wide}</w:tr></w:tbl>" * 50
    yield "spans.docx", zipped({"word/document.xml": f"<w:document {W}><w:body>{table}</w:body></w:document>"})
    for ending, part in (
        (".docx", "word/document.xml"),
        (".xlsx", "xl/workbook.xml"),
        (".pptx", "ppt/presentation.xml"),
    ):
        yield f"laughs{ending}", zipped({part: f"{LAUGHS}]><d>&a11;</d>"})
    yield "laughs.odt", odt("<text:p>&a11;</text:p>", f"{LAUGHS}]>")
    yield "laughs.epub", epub(f"{LAUGHS}]><html><body><p>&a11;</p></body></html>")
    yield "laughs.xhtml", f"{LAUGHS}]><html><body><p>&a11;</p></body></html>".encode()
    yield (
        "quadratic.odt",
        odt("<text:p>" + "&a;" * 20_000 + "</text:p>", f'<!DOCTYPE d [<!ENTITY a "{"x" * 100_000}">]>'),
    )
    yield "spaces.odt", odt('<text:p>a<text:s text:c="1000000000"/>b</text:p>')
    cell = '<table:table-cell table:number-columns-repeated="1000000"><text:p>x</text:p></table:table-cell>'
    yield (
        "repeated.odt",
        odt(
            f'<table:table><table:table-row table:number-rows-repeated="1000000">{cell}</table:table-row></table:table>'
        ),
    )
    yield "repeated.ods", zipped({
        "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
        "content.xml": f'<o:document-content xmlns:o="{ODF}office:1.0" xmlns:table="{ODF}table:1.0" '
        f'xmlns:text="{ODF}text:1.0">'
        f'<o:body><o:spreadsheet><table:table table:name="a"><table:table-row table:number-rows-repeated="1048576">'
        f'<table:table-cell o:value-type="string" table:number-columns-repeated="1024"><text:p>x</text:p>'
        f"</table:table-cell>"
        f"</table:table-row></table:table></o:spreadsheet></o:body></o:document-content>",
    })  # fmt: skip
    yield "wide.xlsx", corners()
    yield "strings.xlsx", shared_strings()
    yield "wide.csv", ("x" * 120_000 + "\n" + "a\n" * 20_000).encode()
    yield "names.csv", (",".join(f"column {n}" for n in range(3_000)) + "\n" + ("a," * 3_000 + "\n") * 4_000).encode()
    yield "small.csv", ("y" * 200 + "\n" + "a\n" * 49_000).encode()
    yield "keys.jsonl", (json.dumps({"k" * 50_000: list(range(1_000))}) + "\n").encode() * 200
    yield "deep-keys.jsonl", (('{"' + "k" * 100 + '":') * 500 + "1" + "}" * 500 + "\n").encode() * 1_000
    packed = packed_stream(b"BT (word ) Tj ET\n", 3_000)
    yield "flate.pdf", page(stream(packed, b"/Filter /FlateDecode"))
    yield "twice.pdf", page(stream(zlib.compress(packed, 9), b"/Filter [/FlateDecode /FlateDecode]"))
    yield "hex.pdf", page(stream(packed_stream(b"41" * 32, 8_000), b"/Filter [/FlateDecode /ASCIIHexDecode]"))
    picture = b"/Type /XObject /Subtype /Image /Width 60000 /Height 60000 /ColorSpace /DeviceGray /BitsPerComponent 8"
    image = stream(packed_stream(bytes(64), 40_000), picture + b" /Filter /FlateDecode")
    yield "picture-bomb.pdf", page(stream(b"/I Do"), image, resources=b"/XObject << /I 6 0 R >>")
    yield "attached.eml", mail("x").replace(b"text/plain", b"multipart/mixed") + b"--\n" * 500_000


def packed_stream(part: bytes, count: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(part * 4_096) for _ in range(count // 16)) + packer.flush()


def corners() -> bytes:
    book = openpyxl.Workbook()
    book.active["A1"], book.active["XFD1048576"] = "first", "last"
    return saved(book)


def shared_strings() -> bytes:
    """One string of a million letters, which 100,000 cells show."""
    with zipfile.ZipFile(io.BytesIO(sheet("x"))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["xl/sharedStrings.xml"] = (
        '<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        f"<si><t>{'word ' * 200_000}</t></si></sst>"
    )
    rows = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(1, 100_001))
    parts["xl/worksheets/sheet1.xml"] = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        f"<sheetData>{rows}</sheetData></worksheet>"
    )
    return zipped(parts)


def nested() -> Made:
    """Things in things in things."""
    for depth in (1_000, 100_000):
        yield f"divs{depth}.html", b"<div>" * depth + b"deep"
        yield f"tables{depth}.html", b"<table><tr><td>" * depth + b"deep"
        yield f"lists{depth}.html", b"<ul><li>" * depth + b"deep"
        yield f"bold{depth}.html", b"<p><b><i>" * depth + b"deep"
        yield f"quotes{depth}.md", b">" * depth + b" deep\n"
        yield f"items{depth}.md", b"- " * depth + b"deep\n"
        yield f"links{depth}.md", b"[" * depth + b"a" + b"](b)" * depth
        yield f"groups{depth}.rtf", rb"{\rtf1 " + b"{" * depth + b"deep" + b"}" * depth + b"}"
        yield f"lists{depth}.jsonl", b"[" * depth + b"]" * depth + b"\n"
        yield f"lists{depth}.ipynb", b"[" * depth + b"]" * depth
        yield (
            f"sections{depth}.odt",
            odt("<text:section>" * depth + "<text:p>deep</text:p>" + "</text:section>" * depth),
        )
        yield f"divs{depth}.epub", epub("<div>" * depth + "deep" + "</div>" * depth)
        body = "<w:tbl><w:tr><w:tc>" * depth + "<w:p/>" + "</w:tc></w:tr></w:tbl>" * depth
        yield (
            f"tables{depth}.docx",
            zipped({"word/document.xml": f"<w:document {W}><w:body>{body}</w:body></w:document>"}),
        )
        arrays = b"[" * depth + b"]" * depth
        yield f"arrays{depth}.pdf", page(stream(b"BT /F1 12 Tf (x) Tj ET"), arrays)
        forwarded = b"Content-Type: message/rfc822\n\n" * depth
        yield f"forwarded{depth}.eml", b"Subject: deep\n" + forwarded + b"Subject: x\n\ndeep\n"
        parts = b"".join(
            b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(min(depth, 20_000))
        )
        yield f"parts{depth}.eml", b"Subject: deep\n" + parts + b"\ndeep\n"
    bomb = zipped({"a.txt": "x"})
    for _ in range(20):
        bomb = zipped({"a.zip": bomb})
    yield "russian.zip", bomb


def loops() -> Made:
    """What refers to itself."""
    catalog = b"<< /Type /Catalog /Pages 2 0 R /Outlines 4 0 R >>"
    yield "pages.pdf", pdf(catalog, b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 >>")
    yield "parents.pdf", pdf(
        catalog, b"<< /Type /Pages /Kids [3 0 R] /Count 9 >>",
        b"<< /Type /Pages /Kids [2 0 R] /Count 9 /Parent 2 0 R >>",
        b"<< /First 4 0 R /Last 4 0 R >>",
    )  # fmt: skip
    yield (
        "count.pdf",
        pdf(catalog, b"<< /Type /Pages /Kids [3 0 R] /Count 2000000000 >>", b"<< /Type /Page /Parent 2 0 R >>"),
    )
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /A 6 0 R /B 7 0 R >> >>"
    twice = stream(b"/A Do /B Do /A Do /B Do", form)
    yield "forms.pdf", page(stream(b"/A Do"), twice, twice, resources=b"/XObject << /A 6 0 R >>")
    tower = [
        stream(
            b"/X Do " * 10,
            b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X %d 0 R >> >>" % n,
        )
        for n in range(7, 19)
    ]
    last = stream(b"BT /F1 9 Tf (x) Tj ET", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9]")
    yield "tower.pdf", page(stream(b"/X Do"), *tower, last, resources=b"/XObject << /X 6 0 R >>")
    yield "length.pdf", page(stream(b"x").replace(b"/Length 1", b"/Length 4 0 R"))
    yield "previous.pdf", printed("x").replace(b"/Root 1 0 R", b"/Root 1 0 R /Prev 9 /XRefStm 9")
    kids = b"".join(b"<< /T (a) /Parent 6 0 R /Kids [6 0 R] >>" for _ in range(1))
    yield (
        "fields.pdf",
        page(stream(b"")).replace(b"/Pages 2 0 R >>", b"/Pages 2 0 R /AcroForm << /Fields [6 0 R] >> >>") + kids,
    )
    yield "spine.epub", epub("<p>again and again</p>", '<itemref idref="a"/>' * 300_000)
    yield "frames.html", b"<iframe src='frames.html'></iframe>" * 10_000


def slow() -> Made:
    """What is quadratic, or worse, in a careless reader."""
    for name, piece in {
        "comment": b"<!--", "cdata": b"<![CDATA[", "open": b"<", "end": b"</", "attribute": b'<a b="', "nav": b"<nav>",
        "entity": b"&#", "title": b"<title>", "select": b"<select><option>", "script": b"<script>",
        "form": b"<form><p>",
    }.items():  # fmt: skip
        yield f"{name}.html", piece * 300_000
    yield "attributes.html", b"<p " + b" ".join(b"a%d=1" % n for n in range(200_000)) + b">text"
    yield "classes.html", (b"<div class='" + b"x " * 50_000 + b"'>text</div>") * 50
    for name, piece in {
        "stars": b"*a **b ", "brackets": b"[", "images": b"![a](", "ticks": b"`a ``b ", "angles": b"<a ",
        "rules": b"_a_ __",
        "references": b"[a]: b\n", "tables": b"|a", "escapes": b"\\", "autolinks": b"<http://", "entities": b"&amp;&#",
    }.items():  # fmt: skip
        yield f"{name}.md", piece * (90_000 // len(piece))
        yield f"{name}-long.md", piece * (1_000_000 // len(piece))
    yield "cells.md", b"|" + b"a|" * 5_000 + b"\n|" + b"-|" * 5_000 + b"\n" + (b"|" + b"a|" * 5_000 + b"\n") * 200
    yield "quotes.csv", b'a,b\n"' + b'x","y\n' * 100_000
    yield "open.csv", b'a,b\n"' + b"x,y\n" * 300_000
    yield "escapes.csv", b"a,b\n" + b'"\\"' * 500_000
    yield "header.eml", b"Subject: " + b"=?utf-8?q?a?= " * 300_000 + b"\n\ntext\n"
    yield "headers.eml", b"".join(b"X-%d: a\n" % n for n in range(300_000)) + b"\ntext\n"
    yield "addresses.eml", b"Subject: a\nTo: " + b"a@b.c, " * 200_000 + b"\n\ntext\n"
    yield (
        "parameters.eml",
        b"Subject: a\nContent-Type: text/plain; " + b"; ".join(b"a*%d=b" % n for n in range(60_000)) + b"\n\nx\n",
    )
    yield "boundaries.eml", b'Subject: a\nContent-Type: multipart/mixed; boundary="b"\n\n' + b"--b\n\nx\n" * 300_000
    yield "comments.eml", b"Subject: a\nFrom: " + b"(" * 50_000 + b"\n\nx\n"
    yield "many.mbox", b"From a@b Thu Jan  1 00:00:00 1970\nSubject: a\n\nx\n\n" * 50_000
    yield "punycode.html", b"<meta charset=punycode>" + b"a-" * 300_000 + b"\xe9"
    yield "escapes.txt", b"\x1b$B" + b"\x1b(J\x1b$B" * 300_000
    yield "words.txt", b"a. " * 700_000
    yield "signs.txt", b".!?" * 700_000
    yield "blank.txt", b"\n \t\n" * 2_000_000 + b"x"
    yield "rules.rst", b"====\n" * 2_000_000
    yield "line.txt", b"x" * 3_000_000
    yield "thai.txt", "กขคง".encode() * 150_000
    yield "marks.txt", ("a" + "\u0301" * 1_000_000).encode()
    yield "code.py", b"def a():\n" * 100_000
    yield "braces.rtf", rb"{\rtf1 " + rb"\'e9\u233? {\*\x " * 300_000
    yield "picture.rtf", rb"{\rtf1 {\pict " + b"ab" * 8_000_000 + b"}}"
    yield (
        "output.ipynb",
        json.dumps(
            {"cells": [{"cell_type": "code", "source": "x", "outputs": [{"text": "word " * 1_000_000}]}]}
        ).encode(),
    )


def locked() -> Made:
    """Encrypted, or not to be opened."""
    for method in ("RC4-40", "RC4-128", "AES-128", "AES-256"):
        writer = pypdf.PdfWriter(clone_from=io.BytesIO(printed("secret")))
        writer.encrypt("key", algorithm=method)
        out = io.BytesIO()
        writer.write(out)
        yield f"{method}.pdf", out.getvalue()
    for ending in (".docx", ".xlsx", ".xls", ".doc", ".ppt", ".msg"):
        yield f"ole{ending}", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(60_000)
    flagged = bytearray(word("secret"))
    for place in range(len(flagged) - 4):
        if flagged[place : place + 4] in (b"PK\3\4", b"PK\1\2"):
            flagged[place + (6 if flagged[place + 2] == 3 else 8)] |= 1
    yield "flagged.docx", bytes(flagged)
    method = bytearray(zipped({"word/document.xml": "x"}))
    method[8] = 99
    yield "method.docx", bytes(method)
    yield "half.jsonl", b'{"a": "caf\\ud83d"}\nnonsense\n'
    yield "utf16.txt", b"\xff\xfea\0b"
    yield "nul.txt", b"text" + b"\0" * 1_000
    for name, size in (("sparse.txt", 200 << 30), ("sparse.pdf", 200 << 30), ("sparse.mbox", 1_900_000_000)):
        yield name, lambda path, size=size: os.truncate(path, size) if path.touch() is None else None
    yield "pipe.txt", os.mkfifo
    yield "zero.txt", lambda path: path.symlink_to("/dev/zero")
    yield "gone.txt", lambda path: path.symlink_to(path.with_name("nowhere"))
    yield "out.txt", lambda path: path.symlink_to("/etc/hostname")


KINDS = (damaged, bombs, nested, loops, slow, locked)


def make(folder: Path) -> None:
    """Good documents and hostile ones, with a list of both beside the folder."""
    folder.mkdir(exist_ok=True)
    good: dict[str, str] = {}
    for ending, maker in GOOD.items():
        for number in range(4):
            path = folder / f"good{number}{ending}"
            good[str(path)] = f"Sentence {number} of a good document with the ending {ending[1:]}."
            path.write_bytes(maker(good[str(path)]))
    hostile: list[str] = []
    for kind in KINDS:
        for name, what in kind():
            path = folder / f"{kind.__name__}-{name}"
            if isinstance(what, bytes):
                path.write_bytes(what)
            else:
                what(path)
            hostile.append(str(path))
    folder.with_name("made.json").write_text(json.dumps([good, hostile]))


class Meter:
    """CPU seconds and memory between two steps of an update, in this process and its children."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.megabytes: list[float] = []
        self._last = self._cpu()

    def __call__(self, stage: str, done: int, total: int) -> None:
        cpu, most = self._cpu(), max(self._held())
        if stage == "indexing":
            self.seconds.append(cpu - self._last)
            self.megabytes.append(most)
            print(f"\r{done} of {total}", end="", file=sys.stderr, flush=True)
        self._last = cpu

    def _cpu(self) -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        ticks = 0
        for stat in self._living("stat"):
            fields = stat.rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return sum(one.ru_utime + one.ru_stime for one in used) + ticks / os.sysconf("SC_CLK_TCK")

    def _held(self) -> Iterator[float]:
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            yield resource.getrusage(who).ru_maxrss / 1_000
        for status in self._living("status"):
            yield from (int(line.split()[1]) / 1_000 for line in status.splitlines() if line.startswith("VmHWM"))

    def _living(self, what: str) -> Iterator[str]:
        for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split():
            try:
                yield Path(f"/proc/{pid}/{what}").read_text("utf-8", "replace")
            except OSError:  # ended meanwhile
                continue


def read_at_all(paths: list[str]) -> list[str]:
    """Those that are opened by a reader, in the order in which an update reads them."""
    kept = []
    for path in sorted(paths):
        try:
            if os.path.isfile(path) and os.path.realpath(path) == path:
                sized(Path(path))
                kept.append(path)
        except (DocumentError, OSError):
            continue
    return kept


def measure(folder: Path) -> None:
    good, hostile = json.loads(folder.with_name("made.json").read_text())
    print(f"{len(good)} good and {len(hostile)} hostile files", flush=True)
    meter = Meter()
    with Index(folder.with_name("index.sqlite"), FakeEmbeddings(dimensions=64)) as index:
        report = index.add(folder, progress=meter)
        found = {path for path, text in good.items() if index._store._db.all(HOLDS, path, text)}
        counts = dict(index._store._db.all(COUNTS))
    told: dict[str, str] = {}
    for remark in (*report.skipped, *report.notes):
        told.setdefault(remark.path, remark.reason)
    for path in hostile:
        print(f"  {Path(path).name:32} {counts.get(path, 0):6} passages  {told.get(path, '')[:110]}")
    silent = [path for path in hostile if path not in told and not counts.get(path)]
    read = sum(path not in told and path in counts for path in hostile)
    print(f"good files found by their sentence: {len(found)} of {len(good)}", *sorted(set(good) - found))
    print(f"hostile files: {sum(path in told for path in hostile)} named, {read} read, {len(silent)} neither", *silent)
    names = read_at_all([*good, *hostile])
    rows = sorted(zip(meter.seconds, names, strict=True), reverse=True)
    print("slowest:", ", ".join(f"{Path(name).name} {seconds:.1f} s" for seconds, name in rows[:8]))
    rises = zip(meter.megabytes, [0.0, *meter.megabytes], names, strict=False)
    print(
        "most memory of a process:",
        ", ".join(f"{now:.0f} MB from {Path(n).name} on" for now, old, n in rises if now > old),
    )


def main() -> None:
    if sys.argv[1:2] in (["_make"], ["_measure"]):
        (make if sys.argv[1] == "_make" else measure)(Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as root:
        folder = Path(os.path.realpath(sys.argv[1] if len(sys.argv) > 1 else root)) / "docs"
        steps = ["_measure"] if folder.with_name("made.json").exists() else ["_make", "_measure"]
        for step in steps:  # each in a process of its own, so that the memory of one is not counted to the other
            subprocess.run([sys.executable, __file__, step, str(folder)], check=True)


if __name__ == "__main__":
    main()
