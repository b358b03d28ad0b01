from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.base import tables


def rows(text, *, strict=False, delimiter=None):
    found = tables.records(io.StringIO(text, newline=""), tables.dialect(text, delimiter), strict=strict)
    return [record.cells for record in found]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("Item;Price (EUR, net)\nLamp;12,50\nDesk;99,00\n", ["Item", "Price (EUR, net)"]),
        ("sep=;\nCity;Pop\nUlm;126000\n", ["City", "Pop"]),
        ('"sep=;"\nCity;Pop\nUlm;1\n', ["City", "Pop"]),
        ('\ufeff"name, first";age\n"Roe, Ann";41\n', ['\ufeff"name, first"', "age"]),
        ("Artikel, Farbe;Preis\nLampe, rot;12\n", ["Artikel, Farbe", "Preis"]),
        ("a\tb, c\n1\t2\n", ["a", "b, c"]),
        ('name,"a;b;c;d"\nx,"1;2;3;4"\n', ["name", "a;b;c;d"]),
        ("\n\na;b\n1;2\n", ["a", "b"]),
        ("text\nHello, world\nmore\nagain\n", ["text"]),
        ("a|b\n1|2,5\n", ["a", "b"]),
        ("Only,one,row", ["Only", "one", "row"]),
        ("one", ["one"]),
    ],
)
def test_all_rows_decide_about_the_delimiter(text, cells):
    assert rows(text)[0] == cells


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ('a,b\n"5" pipe",x\n', ['5" pipe', "x"]),
        ('a,b\n1,"She said "no" to it"\n', ["1", 'She said "no" to it']),
        ('a,b\n1,"He said \\"hi\\""\n', ["1", 'He said "hi"']),
        ('a,b\n1,5" pipe\n', ["1", '5" pipe']),
        ('a,b\n"open,1\n', ['"open', "1"]),
    ],
)
def test_a_stray_quote_is_part_of_its_cell(text, cells):
    assert rows(text + "later,row\n")[1:] == [cells, ["later", "row"]]


def test_an_open_quote_takes_no_row_with_it():
    text = "a,b\n" + '"x,1\n' * 30 + "last,row\n"
    assert len(rows(text)) == 32
    with pytest.raises(csv.Error, match="line 2 is not CSV"):
        rows(text, strict=True)


def test_records_know_their_lines():
    text = 'sep=,\na,b\n"one\ntwo",3\n\nx,y\n'
    found = tables.records(io.StringIO(text, newline=""), tables.dialect(text))
    assert [(one.first_line, one.last_line) for one in found] == [(2, 2), (3, 4), (6, 6)]


CELLS = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=9)


@given(
    st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=6)),
    st.sampled_from(",;\t|"),
)
def test_what_the_standard_library_writes_is_read_back(table, delimiter):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(table)
    like = tables.Dialect(delimiter, columns=len(table[0]))
    found = [one.cells for one in tables.records(io.StringIO(out.getvalue(), newline=""), like)]
    assert found == [row for row in table if any(cell.strip() for cell in row)]


@given(st.text(alphabet=st.sampled_from(list('a1,;"\n\\ \t|')), max_size=80))
def test_any_text_gives_rows(text):
    found = rows(text)
    letters = sum(text.count(letter) for letter in "a1")
    assert sum(cell.count("a") + cell.count("1") for row in found for cell in row) == letters
