"""Office documents, books and notebooks, made by the libraries that make such files, and by hand where none does."""

from __future__ import annotations

import datetime
import io
import json
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import parse_xml

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers.reading import Reading
from chainkit.knowledge.readers.split import split

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def texts(path):
    return [block.text for block in Reading(path)]


def zipped(path, parts):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def word(path, body, **parts):
    """A DOCX with this body, and parts such as footnotes."""
    document = docx.Document()
    document.save(path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["word/document.xml"] = f"<w:document {W}><w:body>{body}</w:body></w:document>".encode()
    relations = files["word/_rels/document.xml.rels"].decode()
    for name, xml in parts.items():
        files[f"word/{name}.xml"] = f"<w:{name} {W}>{xml}</w:{name}>".encode()
        kind = f"http://schemas.openxmlformats.org/officeDocument/2006/relationships/{name}"
        relations = relations.replace(
            "</Relationships>", f'<Relationship Id="r{name}" Type="{kind}" Target="{name}.xml"/></Relationships>'
        )
    files["word/_rels/document.xml.rels"] = relations.encode()
    zipped(path, files)


def run(text, properties=""):
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"<w:p>{run('Fee: ')}<w:ins>{run('9 euros')}</w:ins><w:del><w:r><w:delText>8</w:delText></w:r></w:del></w:p>",
         ["Fee: 9 euros"]),
        (f"<w:ins><w:p>{run('All new.')}</w:p></w:ins><w:moveFrom><w:p>{run('gone')}</w:p></w:moveFrom>", ["All new."]),
        (f"<w:sdt><w:sdtContent><w:p><w:sdt><w:sdtContent>{run('Eve Roe')}</w:sdtContent></w:sdt></w:p>"
         "</w:sdtContent></w:sdt>",
         ["Eve Roe"]),
        (f"<w:tbl><w:tr><w:tc><w:p>{run('Name')}</w:p></w:tc><w:sdt><w:sdtContent><w:tc><w:p>{run('Eve')}</w:p></w:tc>"
         "</w:sdtContent></w:sdt></w:tr></w:tbl>", ["Name | Eve"]),
        (f"<w:tbl><w:tr><w:tc><w:p>{run('Outer')}</w:p><w:tbl><w:tr><w:tc><w:p>{run('Fee')}</w:p></w:tc><w:tc><w:p>{run('5')}"
         "</w:p></w:tc></w:tr></w:tbl></w:tc></w:tr></w:tbl>", ["Outer", "Fee | 5"]),
        (f"<w:tbl><w:tr><w:trPr><w:del/></w:trPr><w:tc><w:p>{run('old row')}</w:p></w:tc></w:tr></w:tbl>", []),
        (f"<w:p>{run('Shown.')}{run('Not shown.', '<w:vanish/>')}{run(' On.', '<w:vanish w:val=&quot;0&quot;/>')}</w:p>"
         .replace("&quot;", '"'), ["Shown. On."]),
        (f"<w:p>{run('See ')}<w:fldSimple>{run('Table 4')}</w:fldSimple><w:smartTag>{run(', Bonn')}</w:smartTag></w:p>",
         ["See Table 4, Bonn"]),
        (f"<w:p>{run('Box:')}<w:r><w:drawing><w:txbxContent><w:p>{run('No pets.')}</w:p></w:txbxContent></w:drawing>"
         "</w:r></w:p>",
         ["Box:", "No pets."]),
        ("<w:p><w:r><w:t>A</w:t><w:noBreakHyphen/><w:t>B</w:t><w:tab/><w:t>C</w:t><w:softHyphen/></w:r></w:p>",
         ["A-B C"]),
        ('<w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val="100000000"/></w:tcPr><w:p><w:r><w:t>x</w:t></w:r></w:p></w:tc>'
         "</w:tr></w:tbl>", ["x"]),
    ],
)  # fmt: skip
def test_docx_gives_what_word_shows(tmp_path, body, expected):
    word(tmp_path / "a.docx", body)
    assert texts(tmp_path / "a.docx") == expected


def test_docx_footnotes_follow_the_paragraph_that_refers_to_them(tmp_path):
    body = f'<w:p>{run("Never dry.")}<w:r><w:footnoteReference w:id="2"/></w:r></w:p><w:p>{run("Next.")}</w:p>'
    word(tmp_path / "a.docx", body, footnotes=f'<w:footnote w:id="2"><w:p>{run("Except the X7.")}</w:p></w:footnote>')
    assert texts(tmp_path / "a.docx") == ["Never dry.", "Except the X7.", "Next."]
    (passage,) = split(Reading(tmp_path / "a.docx"))
    assert "dry" in passage.text
    assert "X7" in passage.text


def test_docx_headers_and_footers_are_read_once(tmp_path):
    document = docx.Document()
    for section in (document.sections[0], document.add_section()):
        section.header.is_linked_to_previous = False
        section.header.paragraphs[0].text = "Contract 12"
        section.footer.paragraphs[0].text = "7"
    document.add_paragraph("Text.")
    document.element.body.insert(0, parse_xml(f"<w:p {W}>{run('First.')}</w:p>"))
    document.save(tmp_path / "a.docx")
    assert texts(tmp_path / "a.docx") == ["Contract 12", "First.", "Text."]


def test_docx_headings_of_any_language_are_known_by_their_outline(tmp_path):
    style = '<w:style w:styleId="Ueb"><w:name w:val="Eigene"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>'
    word(tmp_path / "a.docx", f'<w:p><w:pPr><w:pStyle w:val="Ueb"/></w:pPr>{run("Miete")}</w:p>', styles=style)
    assert [(block.kind, block.level) for block in Reading(tmp_path / "a.docx")] == [("heading", 2)]


def test_xlsx_rows_carry_their_names_their_number_and_their_sheet(tmp_path):
    book = openpyxl.Workbook()
    book.active.title = "Fares"
    for row in (
        ["Fares of 2025"],
        [],
        ["City", "Fare", "From"],
        ["Ulm", 12.5, datetime.date(2025, 5, 1)],
        ["Bonn", 19, None],
    ):
        book.active.append(row)
    book.active["A5"].comment = openpyxl.comments.Comment("Closed on Monday.", "Eve")
    book.create_sheet("Staff").append(["Name"])
    book.save(tmp_path / "a.xlsx")
    passages = list(split(Reading(tmp_path / "a.xlsx"), path="a.xlsx"))
    assert passages[0].headings == ("Fares",)
    blocks = [(block.text, block.first_line) for block in Reading(tmp_path / "a.xlsx")]
    assert blocks[:5] == [
        ("Fares", None), ("Fares of 2025", 1), ("City | Fare | From", 3),
        ("City: Ulm, Fare: 12.5, From: 2025-05-01", 4), ("City: Bonn, Fare: 19", 5),
    ]  # fmt: skip
    assert any("Closed on Monday." in text for text, _ in blocks)


def test_pptx_slides_are_pages_with_titles_tables_groups_and_notes(tmp_path):
    deck = pptx.Presentation()
    for number in (1, 2):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = f"Title {number}"
        slide.placeholders[1].text = f"Point {number}."
    table = slide.shapes.add_table(1, 2, 0, 0, 9, 9).table
    table.cell(0, 0).text, table.cell(0, 1).text = "Ulm", "12 euros"
    slide.shapes.add_group_shape().shapes.add_textbox(0, 0, 9, 9).text_frame.text = "In a group."
    slide.notes_slide.notes_text_frame.text = "Say this."
    deck.save(tmp_path / "a.pptx")
    blocks = [(block.text, block.page) for block in Reading(tmp_path / "a.pptx")]
    assert blocks == [
        ("Title 1", 1), ("Point 1.", 1), ("Title 2", 2), ("Point 2.", 2), ("Ulm | 12 euros", 2), ("In a group.", 2),
        ("Say this.", 2),
    ]  # fmt: skip


ODT = (
    '<o:document-content xmlns:o="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0">'
    "<o:body><o:text>{}</o:text></o:body></o:document-content>"
)


def test_odt_gives_headings_lists_tables_footnotes_and_no_deleted_text(tmp_path):
    content = ODT.format(
        "<text:tracked-changes><text:p>Deleted.</text:p></text:tracked-changes>"
        '<text:h text:outline-level="2">Rent</text:h>'
        '<text:p>It is<text:s text:c="2"/>9 <text:span>euros</text:span>.'
        "<text:note><text:note-citation>1</text:note-citation>"
        "<text:note-body><text:p>Not in May.</text:p></text:note-body></text:note></text:p>"
        "<text:list><text:list-item><text:p>one</text:p></text:list-item></text:list>"
        "<table:table><table:table-row><table:table-cell><text:p>Ulm</text:p></table:table-cell>"
        '<table:table-cell table:number-columns-repeated="9999999"><text:p>12</text:p></table:table-cell>'
        "</table:table-row></table:table>"
        "<text:p><draw:frame><draw:text-box><text:p>Boxed.</text:p></draw:text-box></draw:frame></text:p>"
    )
    zipped(tmp_path / "a.odt", {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content})
    assert [(block.kind, block.text) for block in Reading(tmp_path / "a.odt")] == [
        ("heading", "Rent"), ("paragraph", "It is  9 euros."), ("paragraph", "Not in May."), ("item", "one"),
        ("table", "Ulm | 12"), ("paragraph", "Boxed."),
    ]  # fmt: skip


def epub(path, chapter, extra=None):
    parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="O/c.opf"/></rootfiles></container>',
        "O/c.opf": '<package><manifest><item id="b" href="b.xhtml"/><item id="a" href="a%20b.xhtml"/></manifest>'
        '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>',
        "O/a b.xhtml": f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{chapter}</body></html>',
        "O/b.xhtml": "<p>Second.</p>",
    }
    zipped(path, parts | (extra or {}))


def test_epub_chapters_come_in_the_order_of_the_book(tmp_path):
    epub(tmp_path / "a.epub", "<h1>One</h1><p>First&nbsp;part.</p>")
    assert texts(tmp_path / "a.epub") == ["One", "First part.", "Second."]


def test_epub_that_is_locked_says_so(tmp_path):
    locked = "".join(f'<x><CipherReference URI="{name}"/></x>' for name in ("O/a%20b.xhtml", "O/b.xhtml"))
    epub(tmp_path / "a.epub", "x", {"META-INF/encryption.xml": f"<encryption>{locked}</encryption>"})
    with pytest.raises(DocumentError, match=r"is protected \(DRM\)"):
        texts(tmp_path / "a.epub")


def test_notebooks_give_their_cells_with_the_lines_of_the_file(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Bees\n", "\n", "They fly für Öl."]},
        {
            "cell_type": "code",
            "source": ["x = 1\n", "print(x)"],
            "outputs": [{"text": ["1\n"]}, {"data": {"image/png": "x"}}],
        },
    ]
    raw = json.dumps({"cells": cells}, indent=1)
    (tmp_path / "a.ipynb").write_text(raw, "utf-8")
    blocks = list(Reading(tmp_path / "a.ipynb"))
    assert [(block.kind, block.text) for block in blocks] == [
        ("heading", "Bees"), ("paragraph", "They fly für Öl."), ("code", "x = 1\nprint(x)"), ("code", "1\n"),
    ]  # fmt: skip
    lines = raw.split("\n")
    assert "They fly" in lines[blocks[1].first_line - 1]
    assert "x = 1" in lines[blocks[2].first_line - 1]
    assert "print(x)" in lines[blocks[2].last_line - 1]


def test_rtf_gives_headings_tables_footnotes_and_no_hidden_text(tmp_path):
    rtf = (
        r"{\rtf1\ansi\ansicpg1252{\stylesheet{\s1\sb480 heading 1;}}{\header Top line\par}"
        r"\pard\s1 Rent\par\pard\outlinelevel1 Part\par"
        r"\pard Never dry.{\*\footnote Except the X7.} Gr\'fc\'dfe \u8364?.\par"
        r"{\v secret}\trowd Ulm\cell 12 euros\cell\row\pard End.\par}"
    )
    (tmp_path / "a.rtf").write_text(rtf, "latin-1")
    assert [(block.kind, block.level, block.text) for block in Reading(tmp_path / "a.rtf")] == [
        ("heading", 1, "Rent"), ("paragraph", 0, "Top line"), ("heading", 2, "Part"),
        ("paragraph", 0, "Never dry. Grüße €."),
        ("paragraph", 0, "Except the X7."), ("table", 0, "Ulm | 12 euros"), ("paragraph", 0, "End."),
    ]  # fmt: skip


def test_a_file_is_read_by_what_it_is_whatever_its_name(tmp_path):
    document = docx.Document()
    document.add_paragraph("A letter.")
    buffer = io.BytesIO()
    document.save(buffer)
    for name, data in {
        "a.doc": buffer.getvalue(), "b.xlsx": buffer.getvalue(), "c.txt": buffer.getvalue(),
        "d.doc": rb"{\rtf1 A letter.}", "e.xls": b"<html><body>A letter.</body></html>",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        assert texts(tmp_path / name) == ["A letter."]
    (tmp_path / "Inbox").write_bytes(b"From a@b Mon May  5 10:00:00 2025\nSubject: Hi\n\nA letter.\n")
    assert texts(tmp_path / "Inbox") == ["Hi", "A letter."]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is an old Word file"),
        ("a.msg", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "is an Outlook message"),
        (
            "a.docx",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            "protected by a password",
        ),
        ("a.pdf", b"\x89PNG\r\n\x1a\n", r"is a picture \(PNG\)"),
        ("a.mp3", b"ID3\3", r"is a recording \(MP3\)"),
        ("a.gz", b"\x1f\x8b\x08", r"is an archive \(gzip\)"),
        ("a.db", b"SQLite format 3\0", "is a SQLite database"),
        ("a.mobi", bytes(60) + b"BOOKMOBI", "is a Kindle book"),
    ],
)
def test_what_is_known_but_not_read_is_named(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DocumentError, match=reason):
        texts(tmp_path / name)


def test_a_zip_that_is_no_document_is_named(tmp_path):
    zipped(tmp_path / "a.zip", {"a.txt": "x"})
    with pytest.raises(DocumentError, match=r"is an archive \(ZIP\)"):
        texts(tmp_path / "a.zip")


def test_a_sheet_without_a_name_is_read_with_its_rows(tmp_path):
    content = ODT.replace("o:text>", "o:spreadsheet>").format(
        "<table:table>"
        '<table:table-row table:number-rows-repeated="2"><table:table-cell/></table:table-row>'
        "<table:table-row><table:table-cell><text:p>Ulm</text:p></table:table-cell></table:table-row></table:table>"
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    parts = {"mimetype": kind, "META-INF/manifest.xml": "<manifest/>", "content.xml": content}
    zipped(tmp_path / "a.ods", parts)
    assert [(block.text, block.first_line) for block in Reading(tmp_path / "a.ods")] == [("Ulm", 3)]


SHEET_2003 = """<?xml version="1.0"?>
<?mso-application progid="Excel.Sheet"?>
<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet" xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet">
<Worksheet ss:Name="Fares"><Table>
<Row><Cell><Data ss:Type="String">City</Data></Cell><Cell><Data ss:Type="String">Fare</Data></Cell>
<Cell><Data ss:Type="String">Since</Data></Cell></Row>
<Row ss:Index="2"><Cell><Data ss:Type="String"><B>Ulm</B></Data><Comment><Data>In zone 2.</Data></Comment></Cell>
<Cell><Data ss:Type="Number">12</Data></Cell>
<Cell><Data ss:Type="DateTime">2024-05-03T00:00:00.000</Data></Cell></Row>
<Row ss:Index="7"><Cell ss:Index="2"><Data ss:Type="Boolean">1</Data></Cell></Row>
<Row ss:Index="99999999"><Cell ss:Index="99999999"><Data ss:Type="Number">far</Data></Cell></Row>
</Table></Worksheet></Workbook>
"""


@pytest.mark.parametrize("ending", [".xls", ".xml"])
def test_the_xml_of_excel_2003_is_a_spreadsheet(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    path.write_text(SHEET_2003, "utf-8")
    assert [(block.text, block.first_line) for block in Reading(path)] == [
        ("Fares", None),
        ("City | Fare | Since", 1),
        ("City: Ulm, Fare: 12, Since: 2024-05-03", 2),
        ("TRUE", 7),
        ("far", 99999999),
        ("In zone 2.", None),
    ]


def test_damaged_xml_of_excel_2003_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.xls"
    path.write_text(SHEET_2003[:400], "utf-8")
    with pytest.raises(DocumentError, match="is not well-formed XML"):
        list(Reading(path))


def test_tabs_in_utf_16_that_are_called_xls_are_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.xls"
    path.write_text("City\tFare\nUlm\t12 euros\n", "utf-16")
    assert [block.text for block in Reading(path)] == ["City: Ulm, Fare: 12 euros"]
