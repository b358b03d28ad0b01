"""Pages as tools and people make them."""

from __future__ import annotations

import time

import pytest

from chainkit.knowledge.readers import html
from chainkit.knowledge.readers.reading import Reading


def texts(page):
    return [block.text for block in html.blocks(page)]


LONG = "Install the pump. " * 20


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<form id=aspnet><div>The museum opens at ten.</div></form>", ["The museum opens at ten."]),
        (f"<main><form><p>{LONG}</p></form></main>", [LONG.strip()]),
        ("<h2><button data-toggle=collapse>May I swap a lamp?</button></h2>Yes.", ["May I swap a lamp?", "Yes."]),
        ("<button class=accordion>May I swap it?</button><div class=panel style='display:none'>Yes.</div>",
         ["May I swap it?", "Yes."]),
        ("<p>Press <button>Save</button> to keep.</p>", ["Press Save to keep."]),
        ("<p>Text.</p><button>Submit</button>", ["Text."]),
        ("<header><h1>Beekeeping</h1><a href=/>Home</a></header><p>Text.</p>", ["Beekeeping", "Home", "Text."]),
        (f"<header><h1>Warranty</h1></header><main><p>{LONG}</p></main>", ["Warranty", LONG.strip()]),
        ("<header><a href=/>Home</a> <a href=/b>Shop</a></header><p>Text.</p>", ["Text."]),
        (f"<main><p>{LONG}</p><aside>Never run it dry.</aside></main>", [LONG.strip(), "Never run it dry."]),
        (f"<div>Dogs stay on the lead.</div>{'<article><a href=x>More</a> ' + 'word ' * 20 + '</article>'}" * 4,
         ["Dogs stay on the lead.", "More " + ("word " * 20).strip()] * 4),
        ("<p hidden>Draft.<p>Published.", ["Published."]),
        ("<p hidden=until-found>Found by search.</p>", ["Found by search."]),
        ("<a href='#x'>Open</a><div id=x hidden>Inside.</div>", ["Open", "Inside."]),
        ("<div style='display: none'>Preview text.</div>Body.", ["Body."]),
        (f"<nav><ul><li><a href=/>Home</a></ul><p>{LONG}</p>", ["Home", LONG.strip()]),
        ("<dialog>Ask the staff.</dialog><object>No plug-in.</object>", ["Ask the staff.", "No plug-in."]),
        ("<noscript>Please enable JavaScript.</noscript><noscript>Read me.</noscript>", ["Read me."]),
        ("<form><label>Name <input value='Ada Lind'></label><input type=hidden value=x></form>", ["Name Ada Lind"]),
        ("<p>Donau&shy;dampf&shy;schiff</p>", ["Donau\xaddampf\xadschiff"]),
        ("<p>a<br>b<br><br>c", ["a b", "c"]),
        ("<math><mi>x</mi><mo>=</mo><mn>3</mn><annotation>x=3</annotation></math>", ["x=3"]),
    ],
)  # fmt: skip
def test_nothing_that_a_page_shows_is_lost(page, expected):
    assert texts(page) == expected


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("<tr><td><p>Bonn</p><td><ul><li>19 euros</ul>", ["Bonn | 19 euros"]),
        ("<tr><td>Ulm<br>Central<td>12 euros", ["Ulm Central | 12 euros"]),
        ("<tr><td width=9><p class=MsoNormal>Ulm<o:p></o:p></p></td><td><p>12 euros</p></td>", ["Ulm | 12 euros"]),
        ("<tr><td>Fee<td><table><tr><td>Child<td>5</table>", ["Fee", "Child | 5"]),
        (f"<tr><td>{LONG * 2}<td>{LONG * 2}", [(LONG * 2).strip(), (LONG * 2).strip()]),
        ("<tr><td><h1>Mail</h1><p>One.</p><td>x", ["Mail", "One.", "x"]),
    ],
)
def test_a_row_is_one_block_unless_it_only_lays_out_the_page(table, rows):
    assert texts(f"<table>{table}</table>") == rows


def test_a_footnote_follows_the_text_that_refers_to_it():
    page = (
        '<p>It must never run dry.<a href="#fn1" role="doc-noteref"><sup>1</sup></a></p><p>Next.</p>'
        '<ol role="doc-endnotes"><li id="fn1">\n<p>Except the X7.<a role="doc-backlink">b</a></p></ol>'
    )
    assert [(block.text, block.first_line) for block in html.blocks(page)] == [
        ("It must never run dry.", 1),
        ("Except the X7.", 1),
        ("Next.", 1),
    ]


def test_xhtml_with_an_empty_title_and_named_signs_is_read_as_xml():
    page = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body><p>5&nbsp;&euro;</p>'
    assert texts(page + "</body></html>") == ["5 €"]
    assert texts(page + "<br></body></html>") == ["5 €"]  # not well-formed


def test_elements_deeper_than_a_parser_goes_are_read_all_the_same():
    started = time.process_time()
    assert texts("<div>" * 50_000 + "deep") == ["deep"]
    assert texts("<nav>" * 20_000 + "</div>" * 20_000 + "The end of it.") != []
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ('<meta charset="windows-1251">', "cp1251"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">', "koi8-r"),
        ('<?xml version="1.0" encoding="windows-1251"?>', "cp1251"),
        ('<meta charset="utf-8">', "cp1251"),
        ("", "utf-8"),
        ('<meta charset="windows-1251">', "utf-8"),
    ],
)
def test_the_encoding_that_a_page_names_is_taken_unless_its_bytes_say_otherwise(tmp_path, head, name):
    (tmp_path / "a.html").write_bytes(f"{head}<p>Насос нельзя запускать всухую.</p>".encode(name))
    assert [block.text for block in Reading(tmp_path / "a.html")] == ["Насос нельзя запускать всухую."]


def test_a_row_of_a_table_ends_with_the_last_line_of_its_text():
    page = "<table><tr>\n<td>a</td>\n<td><p>The inflow\nis shut\noff.</p>\n</td></tr></table>"
    (row,) = html.blocks(page)
    assert (row.text, row.first_line, row.last_line) == ("a | The inflow is shut off.", 1, 5)
