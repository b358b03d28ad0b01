"""PDFs: small ones written here, in the shapes that producers give."""

from __future__ import annotations

import io

import pypdf
import pytest

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers.reading import Reading
from tests.knowledge import samples


def blocks(tmp_path, data):
    (tmp_path / "a.pdf").write_bytes(data)
    return list(Reading(tmp_path / "a.pdf"))


def drawn(*pieces, head=""):
    """A PDF whose pieces `(x, y, size, text)` are drawn one by one."""
    page = samples.pdf(["PLACE"])
    operators = " ".join(f"BT /F1 {size} Tf {x} {y} Td ({text}) Tj ET" for x, y, size, text in pieces).encode("cp1252")
    start, end = page.index(b"<< /Length"), page.index(b"\nendstream")
    return page[:start] + b"<< /Length %d >>\nstream\n%s" % (len(operators), operators) + page[end:]


def text(tmp_path, *lines):
    """The text of lines below each other."""
    pieces = [(50, 700 - 14 * place, 12, line) for place, line in enumerate(lines)]
    return [" ".join(block.text.split()) for block in blocks(tmp_path, drawn(*pieces))]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("The inter-", "nationalisation of it."), "The internationalisation of it."),
        (("It is a self-", "service shop."), "It is a self-service shop."),
        (("It is state-of-the-", "art work."), "It is state-of-the-art work."),
        (("Groß-", "über allem."), "Großüber allem."),
        (("A data-base, and again data-", "base here."), "A data-base, and again data-base here."),
        (("The database, and again data-", "base here."), "The database, and again database here."),
        (("From Baden-", "Baden to Ulm."), "From Baden-Baden to Ulm."),
    ],
)
def test_words_divided_at_the_end_of_a_line_are_whole(tmp_path, lines, expected):
    assert text(tmp_path, *lines) == [expected]


def test_letters_and_cells_that_are_drawn_one_by_one_stand_in_one_line(tmp_path):
    letters = [(50 + 7 * place, 700, 12, letter) for place, letter in enumerate("pump")]
    cells = [(50, 650, 12, "Ulm"), (150, 650, 12, "12 euros"), (50, 636, 12, "Bonn"), (150, 636, 12, "19 euros")]
    found = [block.text for block in blocks(tmp_path, drawn(*letters, *cells))]
    assert found == ["pump", "Ulm 12 euros\nBonn 19 euros"]


def test_words_that_are_only_moved_apart_are_two(tmp_path):
    found = blocks(tmp_path, drawn((50, 700, 12, "never"), (82.3, 700, 12, "efficient")))
    assert [block.text for block in found] == ["never efficient"]


def test_larger_lines_are_headings_and_wide_gaps_begin_paragraphs(tmp_path):
    lines = [(50, 700, 20, "Rent"), (50, 660, 12, "It is 9 euros"), (50, 646, 12, "a month."), (50, 610, 12, "Next.")]
    assert [(b.kind, b.text) for b in blocks(tmp_path, drawn(*lines))] == [
        ("heading", "Rent"), ("paragraph", "It is 9 euros\na month."), ("paragraph", "Next."),
    ]  # fmt: skip


def test_a_sentence_that_goes_on_on_the_next_page_is_one(tmp_path):
    data = samples.pdf(["This sentence is long enough and goes on\nand on to the", "next page. Then one more."])
    found = blocks(tmp_path, data)
    assert [(block.page, " ".join(block.text.split())) for block in found] == [
        (1, "This sentence is long enough and goes on and on to the next page. Then one more.")
    ]


def test_form_fields_and_notes_are_read(tmp_path):
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(samples.pdf(["Form"])))
    name = pypdf.generic.NameObject
    string = pypdf.generic.TextStringObject

    def made(**values):
        return pypdf.generic.DictionaryObject({name(f"/{key}"): value for key, value in values.items()})

    box = pypdf.generic.ArrayObject([pypdf.generic.FloatObject(n) for n in (50, 50, 150, 70)])
    field = writer._add_object(
        made(
            Type=name("/Annot"),
            Subtype=name("/Widget"),
            FT=name("/Tx"),
            T=string("tenant"),
            V=string("Eve Röe"),
            Rect=box,
        )
    )
    note = writer._add_object(
        made(Type=name("/Annot"), Subtype=name("/FreeText"), Contents=string("Not in May."), Rect=box)
    )
    writer.pages[0][name("/Annots")] = pypdf.generic.ArrayObject([field, note])
    writer._root_object[name("/AcroForm")] = made(Fields=pypdf.generic.ArrayObject([field]))
    out = io.BytesIO()
    writer.write(out)
    assert [block.text for block in blocks(tmp_path, out.getvalue())] == ["Form", "tenant: Eve Röe", "Not in May."]


def test_pages_that_are_pictures_are_noted(tmp_path):
    data = samples.pdf(["Text.", "PICTURE"])
    start = data.rindex(b"BT ")
    end = data.index(b"ET", start) + 2
    image = b"q 99 0 0 99 0 0 cm BI /W 1 /H 1 /BPC 8 /CS /G ID x EI Q"
    (tmp_path / "a.pdf").write_bytes(data[:start] + image.ljust(end - start) + data[end:])
    reading = Reading(tmp_path / "a.pdf")
    assert [block.page for block in reading] == [1]
    assert [note.reason for note in reading.notes] == ["page 2 is a picture; no text"]


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_file_that_is_only_protected_from_printing_is_read(tmp_path, algorithm):
    pytest.importorskip("cryptography")
    for password in ("", "key"):
        writer = pypdf.PdfWriter(clone_from=io.BytesIO(samples.pdf(["Bees make honey."])))
        writer.encrypt(password, "owner", algorithm=algorithm)
        writer.write(tmp_path / "a.pdf")
        if password:
            with pytest.raises(DocumentError, match="protected by a password"):
                list(Reading(tmp_path / "a.pdf"))
        else:
            assert [block.text for block in Reading(tmp_path / "a.pdf")] == ["Bees make honey."]
