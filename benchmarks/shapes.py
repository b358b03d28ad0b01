"""A folder of documents as many programs make them: how much of each is found, in its order, with its place.

    PYTHON benchmarks/shapes.py make FOLDER [SEED]   makes the files, with whatever of the programs below is installed
    python benchmarks/shapes.py measure FOLDER       indexes the folder and looks for each sentence

PYTHON may be one with weasyprint, typst, reportlab, fpdf2, python-docx, html-for-docx, docxtpl, odfpy, ezodf, EbookLib,
mkepub, openpyxl, xlsxwriter, pandas, pyexcel-ods3, odswriter, xlwt, python-pptx, PyRTF3, nbformat, jupytext, Markdown,
mammoth, odfdo, mistune, markdown2 and xhtml2pdf; of programs pandoc, soffice, groff, gs, chromium, s-nail, mpack and
rst2html are used. Another SEED makes other texts. A place is the page, the line, the row, or the heading above:
whatever the kind of file has.
"""

from __future__ import annotations

import csv
import email.message
import html
import io
import json
import mailbox
import random
import re
import subprocess
import sys
import tempfile
import traceback
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

THINGS = (
    "boiler,ferry,greenhouse,archive,turbine,orchard,lighthouse,sawmill,reservoir,tramway,observatory,bakery,quarry"
)
PLACES = "Ålesund,Graz,Łódź,Porto,Bergen,Zürich,Kraków,Nîmes,Malmö,Trier,Győr,Évora,Tartu,Ghent"
PEOPLE = "Müller,O’Brien,Nuñez,Færch,Çelik,Dvořák,Grönqvist,Weiß,Lefèvre,Kovács,Østby,Marín"
FORMS = (
    "The {thing} of {place} loses {n} litres an hour when the inflow is shut off",
    "Dr. {person} signed for {n}.5 % of the staff on 3 May, i.e. before the office opened",
    "Whoever enters the {thing} without a helmet pays {n} euros, except for visitors from {place}",
    "“{place} first”, wrote {person}; the {thing}’s final efficiency was {n} kWh/m²",
    "Nobody but {person} may refill the {thing}, and never above {n} °C",
    "A well-known flaw of the {thing} in {place} is its {n}-year-old flue",
    "After {n} attempts, {person} gave up on the {thing} near {place} – for good",
    "See https://example.org/{thing}/{n} for what {person} found in {place}",
    "The affluent quarter of {place} shuffled its waffle stands around the {thing} {n} times",
    "Fewer than {n} people (mostly from {place}) have seen how {person} mends the {thing}",
)  # fmt: skip


@dataclass
class Document:
    """A text with its parts, and where each sentence stands."""

    seed: int
    latin: bool = False  # no letters beyond ISO 8859-1
    title: str = ""
    sections: list[tuple[str, list[tuple[str, list]]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._used = 0
        self._places, self._people = (
            [name for name in names.split(",") if not self.latin or ascii(name.replace("’", "")).count("\\u") == 0]
            for names in (PLACES, PEOPLE)
        )
        self.title = f"Report {self.seed} from {self._random.choice(self._places)}"
        for number in range(1, 4):
            parts = [("p", self._sentences(3)), ("p", self._sentences(2)), ("ul", self._sentences(3))]
            if number == 2:
                parts += [("table", [["Part", "Remark"], *([f"Item {n}", *self._sentences(1)] for n in range(1, 4))])]
            self.sections.append(
                (f"Part {number} on {self._random.choice(THINGS.split(','))}s", [*parts, ("p", self._sentences(4))])
            )

    def _sentences(self, count: int) -> list[str]:
        return [self.sentence() for _ in range(count)]

    def sentence(self) -> str:
        """A new one; no two of any document are alike."""
        self._used += 1
        pick = self._random.choice
        form = FORMS[(self._used + self.seed) % len(FORMS)]
        text = form.format(
            thing=pick(THINGS.split(",")),
            place=pick(self._places),
            person=pick(self._people),
            n=self.seed * 100 + self._used,
        )
        return text + "."

    def sentences(self) -> list[tuple[str, str, int]]:
        """Each sentence with the heading above it and the number of its section, in their order."""
        found = []
        for number, (heading, parts) in enumerate(self.sections, 1):
            for kind, values in parts:
                texts = [row[1] for row in values[1:]] if kind == "table" else values
                found += [(text, heading, number) for text in texts]
        return found

    def html(self, style: str = "") -> str:
        body = f"<h1>{html.escape(self.title)}</h1>"
        for heading, parts in self.sections:
            body += f"\n<h2>{html.escape(heading)}</h2>"
            for kind, values in parts:
                if kind == "table":
                    head, *rows = [[html.escape(cell) for cell in row] for row in values]
                    body += (
                        "\n<table><thead><tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr></thead><tbody>"
                    )
                    body += "".join("\n<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
                    body += "</tbody></table>"
                elif kind == "ul":
                    body += "\n<ul>" + "".join(f"\n<li>{html.escape(text)}</li>" for text in values) + "</ul>"
                else:
                    body += f"\n<p>{html.escape(' '.join(values))}</p>"
        head = f'<meta charset="utf-8"><title>{html.escape(self.title)}</title><style>{style}</style>'
        return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{body}\n</body></html>\n'

    def markdown(self, notes: bool = False) -> str:
        lines = [f"# {self.title}", ""]
        for heading, parts in self.sections:
            lines += [f"## {heading}", ""]
            for kind, values in parts:
                if kind == "table":
                    head, *rows = values
                    lines += [f"| {' | '.join(head)} |", "|---|---|", *(f"| {' | '.join(row)} |" for row in rows), ""]
                elif kind == "ul":
                    lines += [*(f"- {text}" for text in values), ""]
                elif notes:
                    *most, last = values
                    lines += [" ".join(most[:-1] or most) + f"^[{last}]" + (" " + most[-1] if most[1:] else ""), ""]
                else:
                    lines += [" ".join(values), ""]
        return "\n".join(lines)

    def rows(self) -> list[list]:
        """As a table: number, part, remark."""
        return [["No", "Part", "Remark"], *([n, part, text] for n, (text, part, _) in enumerate(self.sentences(), 1))]

    def groff(self) -> str:
        lines = [".TL", self.title]
        for heading, parts in self.sections:
            lines += [".NH", heading]
            for kind, values in parts:
                if kind == "table":
                    lines += [line for row in values for line in (".LP", f"{row[0]}: {row[1]}")]
                elif kind == "ul":
                    lines += [line for text in values for line in (".IP \\(bu 2", text)]
                else:
                    lines += [".PP", *values]
        return "\n".join(lines) + "\n"


def run(*command: str, data: bytes | None = None, cwd: Path | None = None) -> bytes:
    done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=180, cwd=cwd)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.decode(errors='replace')[-200:]}")
    return done.stdout


def pandoc(text: str, path: Path, *options: str, source: str = "markdown") -> None:
    run("pandoc", "-f", source, "-s", "-o", str(path), *options, data=text.encode())


def office(data: str | bytes, suffix: str, path: Path, kind: str = "") -> None:
    """What LibreOffice makes of a file."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / f"source{suffix}"
        source.write_bytes(data.encode() if isinstance(data, str) else data)
        profile = f"-env:UserInstallation=file://{tempfile.gettempdir()}/soffice-profile"
        goal = kind or path.suffix[1:]
        run("soffice", profile, "--headless", "--convert-to", goal, "--outdir", f"{folder}/out", str(source))
        (made,) = Path(f"{folder}/out").iterdir()
        path.write_bytes(made.read_bytes())


LATIN = ("groff", "csv-cp1252", "xhtml2pdf")
SHAPES: list[tuple[str, str, str, Callable[[Document, Path], None]]] = []  # name, ending, kind of place, maker


def shape(name: str, ending: str, place: str):
    def add(maker):
        SHAPES.append((name, ending, place, maker))
        return maker

    return add


# --- PDF

BREAKS = "h2 {break-before: page} body {font: 11pt 'DejaVu Serif', serif}"


@shape("weasyprint", ".pdf", "page+1")
def _(doc, path):
    import weasyprint

    weasyprint.HTML(string=doc.html(BREAKS)).write_pdf(path)


@shape("weasyprint-justified-hyphens", ".pdf", "page+1")
def _(doc, path):
    import weasyprint

    style = BREAKS + "p, li {text-align: justify; hyphens: auto} @page {size: A6; margin: 8mm} body {font-size: 6pt}"
    weasyprint.HTML(string=doc.html(style)).write_pdf(path)


@shape("weasyprint-columns", ".pdf", "page+1")
def _(doc, path):
    import weasyprint

    style = BREAKS + "p {columns: 2; text-align: justify; hyphens: auto} body {font-size: 9pt}"
    weasyprint.HTML(string=doc.html(style)).write_pdf(path)


@shape("chromium", ".pdf", "page+1")
def _(doc, path):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.html").write_text(doc.html(BREAKS), "utf-8")
        run("chromium", "--headless", "--no-sandbox", f"--user-data-dir={folder}/profile", "--no-pdf-header-footer",
            f"--print-to-pdf={path}", f"{folder}/a.html")  # fmt: skip


def _typst(doc: Document, path: Path, setting: str) -> None:
    import typst

    source = ""
    for heading, parts in doc.sections:
        source += f"#pagebreak(weak: true)\n= {heading}\n"
        for kind, values in parts:
            if kind == "table":
                cells = ", ".join(json.dumps(cell, ensure_ascii=False) for row in values for cell in row)
                source += f"#table(columns: 2, {cells})\n"
            elif kind == "ul":
                source += "".join(f"- {text}\n" for text in values)
            else:
                source += f"\n{' '.join(values)}\n\n"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.typ").write_text(setting + source, "utf-8")
        typst.compile(f"{folder}/a.typ", output=str(path))


@shape("typst", ".pdf", "page")
def _(doc, path):
    _typst(doc, path, '#set text(lang: "en")\n')


@shape("typst-justified", ".pdf", "page=")
def _(doc, path):
    _typst(
        doc,
        path,
        "#set page(width: 9cm, height: 24cm)\n#set par(justify: true)\n"
        '#set text(lang: "en", size: 8pt, hyphenate: true)\n',
    )


@shape("groff-pdf", ".pdf", "page")
def _(doc, path):
    path.write_bytes(
        run("groff", "-k", "-ms", "-Tpdf", data=doc.groff().replace(".NH", ".bp\n.NH").replace(".bp\n", "", 1).encode())
    )


@shape("groff-ghostscript", ".pdf", "page")
def _(doc, path):
    script = run(
        "groff", "-k", "-ms", "-Tps", data=doc.groff().replace(".NH", ".bp\n.NH").replace(".bp\n", "", 1).encode()
    )
    run("ps2pdf", "-", str(path), data=script)


def _reportlab(doc: Document, path: Path, columns: int) -> None:
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.platypus import BaseDocTemplate, Frame, ListFlowable, PageBreak, PageTemplate, Paragraph, Table

    pdfmetrics.registerFont(TTFont("D", "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"))
    styles = getSampleStyleSheet()
    for style in ("Title", "Heading2", "BodyText"):
        styles[style].fontName = "D"
    body = styles["BodyText"]
    flow = [Paragraph(html.escape(doc.title), styles["Title"])]
    for number, (heading, parts) in enumerate(doc.sections):
        flow += [PageBreak()] * bool(number) + [Paragraph(html.escape(heading), styles["Heading2"])]
        for kind, values in parts:
            if kind == "table":
                flow.append(Table([[Paragraph(html.escape(cell), body) for cell in row] for row in values]))
            elif kind == "ul":
                flow.append(ListFlowable([Paragraph(html.escape(text), body) for text in values], bulletType="bullet"))
            else:
                flow.append(Paragraph(html.escape(" ".join(values)), body))
    template = BaseDocTemplate(str(path))
    width = 500 / columns
    frames = [Frame(40 + n * width, 40, width - 10, 750) for n in range(columns)]
    template.addPageTemplates(PageTemplate(frames=frames))
    if columns > 1:
        flow = [one for one in flow if not isinstance(one, PageBreak)]
    template.build(flow)


@shape("reportlab", ".pdf", "page")
def _(doc, path):
    _reportlab(doc, path, 1)


@shape("reportlab-two-columns", ".pdf", "page=")
def _(doc, path):
    _reportlab(doc, path, 2)


@shape("fpdf2", ".pdf", "page")
def _(doc, path):
    import fpdf

    made = fpdf.FPDF()
    made.add_font("D", "", "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
    made.set_font("D", size=11)
    for heading, parts in doc.sections:
        made.add_page()
        made.multi_cell(0, 8, heading, new_x="LMARGIN", new_y="NEXT")
        for kind, values in parts:
            if kind == "table":
                with made.table(first_row_as_headings=False) as table:
                    for row in values:
                        table.row(row)
            else:
                for text in values if kind == "ul" else [" ".join(values)]:
                    made.multi_cell(0, 6, text, new_x="LMARGIN", new_y="NEXT")
    made.output(str(path))


@shape("office-from-html", ".pdf", "page=")
def _(doc, path):
    office(doc.html(), ".html", path, "pdf:writer_web_pdf_Export")


@shape("office-from-docx", ".pdf", "page=")
def _(doc, path):
    source = path.with_suffix(".tmp.docx")
    pandoc(doc.markdown(), source)
    office(source.read_bytes(), ".docx", path)
    source.unlink()


# --- word processors


@shape("pandoc", ".docx", "heading")
def _(doc, path):
    pandoc(doc.markdown(), path)


@shape("pandoc-notes", ".docx", "heading~")
def _(doc, path):
    pandoc(doc.markdown(notes=True), path)


@shape("office-from-html", ".docx", "heading")
def _(doc, path):
    office(doc.html(), ".html", path, "docx:Office Open XML Text")


@shape("office-from-odt", ".docx", "heading")
def _(doc, path):
    source = path.with_suffix(".tmp.odt")
    pandoc(doc.markdown(notes=True), source)
    office(source.read_bytes(), ".odt", path)
    source.unlink()


def _word(doc: Document, document) -> None:
    document.add_heading(doc.title, 0)
    for heading, parts in doc.sections:
        document.add_heading(heading, 2)
        for kind, values in parts:
            if kind == "table":
                table = document.add_table(len(values), 2)
                for cells, row in zip(table.rows, values, strict=True):
                    for cell, text in zip(cells.cells, row, strict=True):
                        cell.text = text
            elif kind == "ul":
                for text in values:
                    document.add_paragraph(text, style="List Bullet")
            else:
                paragraph = document.add_paragraph()
                for number, text in enumerate(values):
                    paragraph.add_run(text[:7]).bold = bool(number % 2)
                    paragraph.add_run(text[7:] + " ")


@shape("python-docx", ".docx", "heading")
def _(doc, path):
    import docx

    document = docx.Document()
    _word(doc, document)
    document.save(path)


@shape("python-docx-template", ".dotx", "heading")
def _(doc, path):
    import docx

    document = docx.Document()
    _word(doc, document)
    document.sections[0].footer.paragraphs[0].text = "A footer of the firm"
    document.save(path)


@shape("html-for-docx", ".docx", "heading")
def _(doc, path):
    from html4docx import HtmlToDocx

    parser = HtmlToDocx()
    made = parser.parse_html_string(doc.html().partition("<body>")[2].partition("</body>")[0])
    made.save(path)


@shape("docxtpl", ".docx", "heading")
def _(doc, path):
    import docx
    import docxtpl

    base = docx.Document()
    _word(doc, base)
    for paragraph in base.paragraphs[:1]:
        paragraph.text = "{{ title }}"
    out = io.BytesIO()
    base.save(out)
    out.seek(0)
    template = docxtpl.DocxTemplate(out)
    template.render({"title": doc.title})
    template.save(path)


@shape("pandoc", ".odt", "heading")
def _(doc, path):
    pandoc(doc.markdown(), path)


@shape("pandoc-notes", ".odt", "heading~")
def _(doc, path):
    pandoc(doc.markdown(notes=True), path)


@shape("office-from-html", ".odt", "heading")
def _(doc, path):
    office(doc.html(), ".html", path, "odt:writer8")


@shape("office-from-docx", ".odt", "heading")
def _(doc, path):
    import docx

    document, out = docx.Document(), io.BytesIO()
    _word(doc, document)
    document.save(out)
    office(out.getvalue(), ".docx", path)


@shape("odfpy", ".odt", "heading")
def _(doc, path):
    from odf import opendocument, table, text

    made = opendocument.OpenDocumentText()
    made.text.addElement(text.H(outlinelevel=1, text=doc.title))
    for heading, parts in doc.sections:
        made.text.addElement(text.H(outlinelevel=2, text=heading))
        for kind, values in parts:
            if kind == "table":
                grid = table.Table(name="t")
                grid.addElement(table.TableColumn(numbercolumnsrepeated=2))
                for row in values:
                    line = table.TableRow()
                    for cell in row:
                        one = table.TableCell()
                        one.addElement(text.P(text=cell))
                        line.addElement(one)
                    grid.addElement(line)
                made.text.addElement(grid)
            elif kind == "ul":
                items = text.List()
                for value in values:
                    item = text.ListItem()
                    item.addElement(text.P(text=value))
                    items.addElement(item)
                made.text.addElement(items)
            else:
                paragraph = text.P()
                for value in values:
                    paragraph.addElement(text.Span(text=value))
                    paragraph.addElement(text.S())
                made.text.addElement(paragraph)
    made.save(path)


@shape("ezodf", ".odt", "heading")
def _(doc, path):
    import ezodf

    made = ezodf.newdoc(doctype="odt", filename=str(path))
    made.body += ezodf.Heading(doc.title, 1)
    for heading, parts in doc.sections:
        made.body += ezodf.Heading(heading, 2)
        for kind, values in parts:
            if kind == "ul":
                made.body += ezodf.ezlist(values)
            else:
                for text in [": ".join(row) for row in values] if kind == "table" else [" ".join(values)]:
                    made.body += ezodf.Paragraph(text)
    made.save()


@shape("pandoc", ".rtf", "heading?")
def _(doc, path):
    pandoc(doc.markdown(), path)


@shape("office-from-html", ".rtf", "heading?")
def _(doc, path):
    office(doc.html(), ".html", path, "rtf:Rich Text Format")


@shape("office-from-odt", ".rtf", "heading?")
def _(doc, path):
    source = path.with_suffix(".tmp.odt")
    pandoc(doc.markdown(), source)
    office(source.read_bytes(), ".odt", path)
    source.unlink()


@shape("pyrtf", ".rtf", "heading?")
def _(doc, path):
    from PyRTF.document.paragraph import Paragraph
    from PyRTF.document.section import Section
    from PyRTF.Elements import Document as Rtf
    from PyRTF.Renderer import Renderer

    made = Rtf()
    section = Section()
    made.Sections.append(section)
    for heading, parts in doc.sections:
        section.append(Paragraph(made.StyleSheet.ParagraphStyles.Heading2, _rtf(heading)))
        for kind, values in parts:
            for text in [": ".join(row) for row in values] if kind == "table" else values:
                section.append(Paragraph(_rtf(text)))
    with path.open("w", encoding="ascii") as file:
        Renderer().Write(made, file)


def _rtf(text: str) -> str:
    return "".join(sign if sign.isascii() else f"\\u{ord(sign)}?" for sign in text)


# --- books


@shape("pandoc", ".epub", "heading")
def _(doc, path):
    pandoc(doc.markdown(), path)


@shape("pandoc-epub2-notes", ".epub", "heading~")
def _(doc, path):
    pandoc(doc.markdown(notes=True), path, "-t", "epub2")


def _chapters(doc: Document) -> list[tuple[str, str]]:
    pieces = re.split(r"(?=<h2>)", doc.html().partition("<body>")[2].partition("</body>")[0])
    return [(re.sub("<.*?>", "", piece.partition("\n")[0]), piece) for piece in pieces[1:]]


@shape("ebooklib", ".epub", "heading")
def _(doc, path):
    from ebooklib import epub

    book = epub.EpubBook()
    book.set_title(doc.title)
    book.set_language("en")
    pages = []
    for number, (heading, text) in enumerate(_chapters(doc)):
        page = epub.EpubHtml(title=heading, file_name=f"c{number}.xhtml", lang="en")
        page.content = text
        book.add_item(page)
        pages.append(page)
    book.toc, book.spine = pages, ["nav", *pages]
    book.add_item(epub.EpubNcx())
    book.add_item(epub.EpubNav())
    epub.write_epub(str(path), book)


@shape("mkepub", ".epub", "heading")
def _(doc, path):
    import mkepub

    book = mkepub.Book(title=doc.title)
    for heading, text in _chapters(doc):
        book.add_page(heading, text)
    book.save(str(path))


# --- slides


def _deck(doc: Document, path: Path) -> None:
    import pptx

    deck = pptx.Presentation()
    for heading, parts in doc.sections:
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = heading
        frame = slide.placeholders[1].text_frame
        for kind, values in parts:
            if kind == "table":
                table = slide.shapes.add_table(len(values), 2, 0, 4_000_000, 9_000_000, 900_000).table
                for n, row in enumerate(values):
                    table.cell(n, 0).text, table.cell(n, 1).text = row
            else:
                for text in values:
                    frame.add_paragraph().text = text
    deck.save(path)


@shape("python-pptx", ".pptx", "page-table")
def _(doc, path):
    _deck(doc, path)


@shape("pandoc", ".pptx", "page@")
def _(doc, path):
    pandoc(doc.markdown(), path, "--slide-level=2")


@shape("office-from-odp", ".pptx", "page-table")
def _(doc, path):
    source = path.with_suffix(".tmp.pptx")
    _deck(doc, source)
    office(source.read_bytes(), ".pptx", path.with_suffix(".odp"))
    office(path.with_suffix(".odp").read_bytes(), ".odp", path)
    source.unlink()
    path.with_suffix(".odp").unlink()


@shape("office", ".odp", "page-table")
def _(doc, path):
    source = path.with_suffix(".tmp.pptx")
    _deck(doc, source)
    office(source.read_bytes(), ".pptx", path)
    source.unlink()


@shape("odfpy", ".odp", "page")
def _(doc, path):
    from odf import draw, opendocument, style, text

    made = opendocument.OpenDocumentPresentation()
    layout = style.PageLayout(name="l")
    made.automaticstyles.addElement(layout)
    master = style.MasterPage(name="m", pagelayoutname=layout)
    made.masterstyles.addElement(master)
    for heading, parts in doc.sections:
        page = draw.Page(masterpagename=master, name=heading)
        made.presentation.addElement(page)
        frame = draw.Frame(width="20cm", height="15cm")
        page.addElement(frame)
        box = draw.TextBox()
        frame.addElement(box)
        for kind, values in parts:
            for value in [": ".join(row) for row in values] if kind == "table" else values:
                box.addElement(text.P(text=value))
    made.save(path)


# --- sheets


@shape("openpyxl", ".xlsx", "row")
def _(doc, path):
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "Remarks"
    for row in doc.rows():
        book.active.append(row)
    book.save(path)


@shape("openpyxl-write-only", ".xlsx", "row")
def _(doc, path):
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Remarks")
    for row in doc.rows():
        sheet.append(row)
    book.save(path)


@shape("xlsxwriter-rich", ".xlsx", "row")
def _(doc, path):
    import xlsxwriter

    book = xlsxwriter.Workbook(str(path))
    sheet, bold = book.add_worksheet("Remarks"), book.add_format({"bold": True})
    for n, (number, part, text) in enumerate(doc.rows()):
        sheet.write(n, 0, number)
        sheet.write(n, 1, part)
        if n % 2:
            sheet.write_rich_string(n, 2, text[:9], bold, text[9:20], text[20:])
        else:
            sheet.write(n, 2, text)
    book.close()


@shape("pandas", ".xlsx", "row")
def _(doc, path):
    import pandas

    head, *rows = doc.rows()
    pandas.DataFrame(rows, columns=head).to_excel(path, index=False)


def _comma(doc: Document) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(doc.rows())
    return out.getvalue()


@shape("office-from-csv", ".xlsx", "row")
def _(doc, path):
    _office_csv(doc, path, "xlsx:Calc MS Excel 2007 XML")


@shape("office-from-csv", ".xls", "row")
def _(doc, path):
    _office_csv(doc, path, "xls:MS Excel 97")


@shape("office-from-csv", ".ods", "row")
def _(doc, path):
    _office_csv(doc, path, "ods:calc8")


def _office_csv(doc: Document, path: Path, kind: str) -> None:
    import openpyxl

    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in doc.rows():
        book.active.append(row)
    book.save(out)
    office(out.getvalue(), ".xlsx", path, kind)


@shape("xlwt", ".xls", "row")
def _(doc, path):
    import xlwt

    book = xlwt.Workbook()
    sheet = book.add_sheet("Remarks")
    for n, row in enumerate(doc.rows()):
        for m, cell in enumerate(row):
            sheet.write(n, m, cell)
    book.save(str(path))


@shape("odfpy-pandas", ".ods", "row")
def _(doc, path):
    import pandas

    head, *rows = doc.rows()
    pandas.DataFrame(rows, columns=head).to_excel(path, index=False, engine="odf")


@shape("pyexcel-ods3", ".ods", "row")
def _(doc, path):
    import pyexcel_ods3

    pyexcel_ods3.save_data(str(path), {"Remarks": doc.rows()})


@shape("odswriter", ".ods", "row")
def _(doc, path):
    import odswriter

    with path.open("wb") as file, odswriter.writer(file) as sheet:
        for row in doc.rows():
            sheet.writerow(row)


# --- text


@shape("csv", ".csv", "line")
def _(doc, path):
    path.write_text(_comma(doc), "utf-8", newline="")


@shape("csv-utf16-tabs", ".csv", "line")
def _(doc, path):
    with path.open("w", encoding="utf-16", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(doc.rows())


@shape("csv-cp1252-semicolon", ".csv", "line")
def _(doc, path):
    with path.open("w", encoding="cp1252", newline="") as file:
        csv.writer(file, delimiter=";").writerows(doc.rows())


@shape("office", ".csv", "line")
def _(doc, path):
    _office_csv(doc, path, "csv:Text - txt - csv (StarCalc):59,34,76")


@shape("pandas", ".tsv", "line")
def _(doc, path):
    import pandas

    head, *rows = doc.rows()
    pandas.DataFrame(rows, columns=head).to_csv(path, sep="\t")


@shape("json", ".jsonl", "line")
def _(doc, path):
    path.write_text(
        "".join(json.dumps({"part": part, "remark": text}) + "\n" for _, part, text in doc.rows()[1:]), "utf-8"
    )


@shape("pandas", ".jsonl", "line")
def _(doc, path):
    import pandas

    head, *rows = doc.rows()
    pandas.DataFrame(rows, columns=head).to_json(path, orient="records", lines=True, force_ascii=False)


@shape("jq-like", ".ndjson", "line")
def _(doc, path):
    lines = [json.dumps({"a": {"remarks": [{"text": text}]}}, ensure_ascii=False) for text, _, _ in doc.sentences()]
    path.write_text("\n".join(lines), "utf-8")


@shape("pandoc", ".html", "line")
def _(doc, path):
    pandoc(doc.markdown(), path)


@shape("pandoc-notes", ".html", "line~")
def _(doc, path):
    pandoc(doc.markdown(notes=True), path)


@shape("office", ".html", "line")
def _(doc, path):
    source = path.with_suffix(".tmp.odt")
    pandoc(doc.markdown(), source)
    office(source.read_bytes(), ".odt", path, "html:XHTML Writer File")
    source.unlink()


@shape("groff", ".html", "line")
def _(doc, path):
    path.write_bytes(run("groff", "-k", "-ms", "-Thtml", data=doc.groff().encode()))


@shape("python-markdown", ".html", "line")
def _(doc, path):
    import markdown

    path.write_text(f"<html><body>{markdown.markdown(doc.markdown(), extensions=['tables'])}</body></html>", "utf-8")


@shape("mammoth", ".html", "line=")
def _(doc, path):
    import mammoth

    source = path.with_suffix(".tmp.docx")
    pandoc(doc.markdown(), source)
    with source.open("rb") as file:
        path.write_text(mammoth.convert_to_html(file).value, "utf-8")
    source.unlink()


@shape("docutils", ".html", "line")
def _(doc, path):
    path.write_bytes(run("rst2html", data=run("pandoc", "-t", "rst", "--columns=9999", data=doc.markdown().encode())))


for _kind, _ending in (
    ("plain", ".txt"), ("rst", ".rst"), ("gfm", ".md"), ("commonmark_x", ".markdown"), ("org", ".org"),
    ("latex", ".tex"), ("asciidoc", ".adoc"), ("mediawiki", ".wiki"), ("textile", ".textile"),
):  # fmt: skip

    @shape(f"pandoc-{_kind}", _ending, "line")
    def _(doc, path, kind=_kind):
        pandoc(doc.markdown(), path, "-t", kind)


@shape("groff-terminal", ".txt", "line")
def _(doc, path):
    text = run("groff", "-k", "-ms", "-Tutf8", "-P-c", data=doc.groff().encode()).decode()
    path.write_text(re.sub(r".\x08", "", text), "utf-8")


@shape("office", ".txt", "line")
def _(doc, path):
    source = path.with_suffix(".tmp.odt")
    pandoc(doc.markdown(), source)
    office(source.read_bytes(), ".odt", path, "txt:Text (encoded):UTF8")
    source.unlink()


@shape("editor-dos", ".txt", "line")
def _(doc, path):
    path.write_text(doc.markdown(), "utf-8-sig", newline="\r\n")


@shape("editor-utf16", ".txt", "line")
def _(doc, path):
    path.write_text(doc.markdown(), "utf-16")


@shape("mammoth", ".md", "line")
def _(doc, path):
    import mammoth

    source = path.with_suffix(".tmp.docx")
    pandoc(doc.markdown(), source)
    with source.open("rb") as file:
        path.write_text(mammoth.convert_to_markdown(file).value, "utf-8")
    source.unlink()


@shape("editor", ".md", "line")
def _(doc, path):
    path.write_text(doc.markdown(), "utf-8")


# --- notebooks


@shape("nbformat", ".ipynb", "heading")
def _(doc, path):
    import nbformat.v4 as v4

    cells = [v4.new_markdown_cell(part) for part in re.split(r"(?m)^(?=## )", doc.markdown())]
    import nbformat

    nbformat.write(v4.new_notebook(cells=cells), path)


@shape("jupytext", ".ipynb", "heading")
def _(doc, path):
    import jupytext

    jupytext.write(jupytext.reads(doc.markdown(), fmt="md"), path)


@shape("pandoc", ".ipynb", "heading")
def _(doc, path):
    pandoc(doc.markdown(), path)


# --- mail


def _plain(doc: Document) -> str:
    return "\n\n".join(
        " ".join(v) if k == "p" else "\n".join(v) for _, ps in doc.sections for k, v in ps if k != "table"
    )


@shape("python-email", ".eml", "subject")
def _(doc, path):
    message = email.message.EmailMessage()
    message["Subject"], message["From"], message["To"] = doc.title, "ada@example.org", "Çelik <c@example.org>"
    message.set_content(_plain(doc))
    path.write_bytes(message.as_bytes())


@shape("python-email-html", ".eml", "subject")
def _(doc, path):
    message = email.message.EmailMessage()
    message["Subject"], message["From"] = doc.title, "ada@example.org"
    message.set_content(" ")
    body = "".join(f"<p>{html.escape(line)}</p>" for line in _plain(doc).split("\n") if line)
    message.add_alternative(f"<html><body>{body}</body></html>", subtype="html")
    path.write_bytes(message.as_bytes())


@shape("python-mime-quoted", ".eml", "subject")
def _(doc, path):
    from email import charset

    quoted = charset.Charset("utf-8")
    quoted.body_encoding = charset.QP
    message = MIMEMultipart("mixed")
    message["Subject"] = doc.title
    message.attach(MIMEText(_plain(doc), "plain", quoted))
    path.write_bytes(message.as_bytes())


@shape("s-nail", ".eml", "subject")
def _(doc, path):
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "send"
        program.write_text(f"#!/bin/sh\ncat > {path}\n")
        program.chmod(0o755)
        settings = (f"mta=file://{program}", "ttycharset=utf-8", "sendcharsets=utf-8", "sendwait")
        run("s-nail", "-n", *(part for one in settings for part in ("-S", one)), "-r",
             "a@example.org", "-s", doc.title, "b@example.org", data=_plain(doc).encode())  # fmt: skip


@shape("mpack", ".eml", "subject")
def _(doc, path):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "d.txt").write_text(_plain(doc), "utf-8")
        (Path(folder) / "a.bin").write_bytes(b"\0\1")
        run("mpack", "-s", doc.title, "-d", f"{folder}/d.txt", "-o", str(path), f"{folder}/a.bin")


@shape("mailbox", ".mbox", "subject")
def _(doc, path):
    box = mailbox.mbox(path)
    for text in _plain(doc).split("\n\n"):
        message = email.message.EmailMessage()
        message["Subject"], message["From"] = doc.title, "ada@example.org"
        message.set_content(text)
        box.add(message)
    box.close()


# --- making and measuring


# --- what else calls itself so


@shape("odfdo", ".odp", "page")
def _(doc, path):
    import odfdo

    made = odfdo.Document("presentation")
    made.body.clear()
    for heading, parts in doc.sections:
        page = odfdo.DrawPage(heading, name=heading)
        texts = [text for kind, values in parts for text in (map(": ".join, values) if kind == "table" else values)]
        for number, text in enumerate(texts):
            position = ("1cm", f"{number}cm")
            page.append(odfdo.Frame.text_frame(text, size=("20cm", "1cm"), position=position))
        made.body.append(page)
    made.save(str(path))


@shape("odfdo", ".odt", "heading")
def _(doc, path):
    import odfdo

    made = odfdo.Document("text")
    made.body.clear()
    made.body.append(odfdo.Header(1, doc.title))
    for heading, parts in doc.sections:
        made.body.append(odfdo.Header(2, heading))
        for kind, values in parts:
            if kind == "ul":
                made.body.append(odfdo.List(values))
            else:
                made.body.extend(odfdo.Paragraph(one if kind == "p" else ": ".join(one)) for one in values)
    made.save(str(path))


@shape("web-export-table", ".xls", "line")
def _(doc, path):
    cells = ["".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in doc.rows()]
    table = "\n".join(f"<tr>{row}</tr>" for row in cells)
    path.write_text(f'<html><meta charset="utf-8"><body><table>\n{table}\n</table></body></html>', "utf-8")


@shape("web-export-tabs", ".xls", "line")
def _(doc, path):
    with path.open("w", encoding="utf-16", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(doc.rows())


@shape("spreadsheetml-2003", ".xls", "row")
def _(doc, path):
    name = "urn:schemas-microsoft-com:office:spreadsheet"
    rows = "\n".join(
        "<Row>"
        + "".join(f'<Cell><Data ss:Type="String">{html.escape(str(cell))}</Data></Cell>' for cell in row)
        + "</Row>"
        for row in doc.rows()
    )
    head = '<?xml version="1.0"?>\n<?mso-application progid="Excel.Sheet"?>\n'
    sheet = f'<Worksheet ss:Name="Remarks"><Table>\n{rows}\n</Table></Worksheet>'
    path.write_text(f'{head}<Workbook xmlns="{name}" xmlns:ss="{name}">{sheet}</Workbook>', "utf-8")


@shape("mistune", ".html", "line")
def _(doc, path):
    import mistune

    path.write_text(f"<html><body>{mistune.html(doc.markdown())}</body></html>", "utf-8")


@shape("markdown2", ".html", "line")
def _(doc, path):
    import markdown2

    path.write_text(f"<html><body>{markdown2.markdown(doc.markdown(), extras=['tables'])}</body></html>", "utf-8")


@shape("pandas", ".html", "line")
def _(doc, path):
    import pandas

    head, *rows = doc.rows()
    with pandas.option_context("display.max_colwidth", None):
        path.write_text(pandas.DataFrame(rows, columns=head).to_html(), "utf-8")


@shape("xhtml2pdf", ".pdf", "page=")
def _(doc, path):
    from xhtml2pdf import pisa

    with path.open("wb") as file:
        pisa.CreatePDF(doc.html(), dest=file)


@shape("browser-page", ".mhtml", "any")
def _(doc, path):
    made = MIMEMultipart("related", type="text/html")
    made["From"], made["Subject"] = "<Saved by a browser>", doc.title
    page = MIMEText(doc.html(), "html", "utf-8")
    page["Content-Location"] = "https://example.org/report"
    made.attach(page)
    path.write_bytes(made.as_bytes())


@shape("apple-mail", ".emlx", "any")
def _(doc, path):
    made = MIMEText(doc.html(), "html", "utf-8")
    made["Subject"], made["From"] = doc.title, "ada@example.org"
    data = made.as_bytes()
    path.write_bytes(b"%d\n%s<?xml version='1.0'?><plist version='1.0'><dict/></plist>\n" % (len(data), data))


def make(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for number, (name, ending, place, maker) in enumerate(SHAPES):
        doc, path = Document(seed + number, name.startswith(LATIN)), folder / f"{name}-{number}{ending}"
        try:
            maker(doc, path)
        except Exception as error:  # noqa: BLE001 - what is not installed is left out, and said
            print("left out:", path.name, "".join(traceback.format_exception_only(error)).strip()[:160], flush=True)
            continue
        found = doc.sentences()
        if place == "subject":
            found = [one for one in found if one[0] in _plain(doc)]
        expected[str(path)] = [place, found, doc.title]
    folder.with_suffix(".json").write_text(json.dumps(expected), "utf-8")
    print(len(expected), "files")


def letters(text: str) -> str:
    """What must be found of a sentence: its letters and signs in one spelling, without white space and escapes."""
    plain = unicodedata.normalize("NFKC", text)
    for one, other in (
        ("’", "'"),
        ("‘", "'"),
        ("“", '"'),
        ("”", '"'),
        ("–", "-"),
        ("--", "-"),
        ("‐", "-"),
        ("\u00ad", ""),
    ):
        plain = plain.replace(one, other)
    return re.sub(r"\s|\\", "", plain)


MARKED_UP = (".tex", ".adoc", ".rst", ".org", ".wiki", ".textile")


def bare(text: str) -> str:
    """Letters and digits: the rest is spelled in these formats' own ways, and stays as it is in the file."""
    return re.sub(r"[\W_]|\\[a-z]+|&#?\w+;", "", unicodedata.normalize("NFKC", text))


def measure(folder: Path) -> None:
    from chainkit.backends.fake import FakeEmbeddings
    from chainkit.knowledge import Index

    expected = json.loads(folder.with_suffix(".json").read_text("utf-8"))
    with Index(None, FakeEmbeddings(dimensions=16)) as index:
        report = index.add(folder)
        for remark in (*report.skipped, *report.notes):
            print(remark)
        rows = index._store._db.all(
            "SELECT d.path, p.text, p.headings, p.page, p.first_line, p.last_line FROM passages p "
            "JOIN documents d ON d.id = p.document ORDER BY d.path, p.position"
        )
    passages: dict[str, list] = {}
    for path, *passage in rows:
        passages.setdefault(path, []).append(passage)
    totals = [0, 0, 0, 0]
    for path, (place, sentences, title) in expected.items():
        counts, faults = judged(Path(path), place, sentences, title, passages.get(path, []))
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        if faults:
            print(f"{Path(path).name}: found {counts[1]} of {counts[0]}, in order {counts[2]}, placed {counts[3]}")
            for fault in faults[:3]:
                print("     ", fault)
    shares = [f"{part / whole:.2%}" for part, whole in zip(totals[1:], (totals[0], totals[1], totals[1]), strict=True)]
    print(f"{len(expected)} files, {totals[0]} sentences: found {totals[1]} ({shares[0]}),")
    print(f"in order {shares[1]} and with the right place {shares[2]} of these")


def judged(path: Path, place: str, sentences: list, title: str, passages: list) -> tuple[list[int], list[str]]:
    """How many sentences there are, were found, are in order, have their place; and what is wrong."""
    text, owners = "", []
    spelled = bare if path.suffix in MARKED_UP else letters
    for number, passage in enumerate(passages):
        piece = spelled(passage[0])
        text += piece
        owners += [number] * len(piece)
    counts, faults, last = [len(sentences), 0, 0, 0], [], -1
    for sentence, heading, section in sentences:
        start = text.find(spelled(sentence))
        if start < 0:
            faults.append(f"lost: {sentence}")
            continue
        counts[1] += 1
        if start > last or "~" in place or place == "page-table":
            counts[2] += 1
        else:
            faults.append(f"out of order: {sentence}")
        last = max(start, last)
        passage = passages[owners[start]]
        if placed(path, place, sentence, heading, section, title, passage, sentences):
            counts[3] += 1
        else:
            faults.append(f"place {passage[1:]}: {sentence} ({heading}, {section})")
    return counts, faults


def placed(path, place, sentence, heading, section, title, passage, sentences) -> bool:
    _, headings, page, first, last = passage
    if place.startswith("page"):
        if "=" in place or "@" in place:
            return page is not None and (
                page == true_page(path, sentence) if path.suffix == ".pdf" else page >= section
            )
        return page == section + place.count("+1")
    if place == "row":
        return first is not None and first <= [one[0] for one in sentences].index(sentence) + 2 <= last
    if place.startswith("line"):
        return lines_hold(path, first, last, sentence)
    if place == "subject":
        return title in headings
    if place == "any":
        return bool(headings) or first is not None
    return heading in headings or "?" in place


def true_page(path: Path, sentence: str) -> int | None:
    """The page on which pypdf, which is not the reader, finds the sentence's number."""
    if path not in _PAGES:
        import pypdf

        _PAGES[path] = [page.extract_text() for page in pypdf.PdfReader(path).pages]
    key = re.search(r"\d{3,}", sentence)
    return next((n for n, text in enumerate(_PAGES[path], 1) if key and key[0] in text), None)


_PAGES: dict[Path, list[str]] = {}


def lines_hold(path: Path, first: int | None, last: int | None, sentence: str) -> bool:
    """Whether the sentence's number, which stands nowhere else, is within these lines of the file."""
    data = path.read_bytes()
    name = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    source = data.decode(name, "replace").replace("\r\n", "\n").split("\n")
    key = re.search(r"\d{3,}", sentence)
    return first is not None and last is not None and key is not None and key[0] in "\n".join(source[first - 1 : last])


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 100)
    else:
        measure(Path(sys.argv[2]))
