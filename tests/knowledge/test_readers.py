from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers import charsets, html, markdown, pdf, text
from chainkit.knowledge.readers.blocks import Block
from chainkit.knowledge.readers.reading import Reading
from chainkit.knowledge.readers.source import Source

from . import samples


def shape(blocks):
    return [(block.kind, block.text, block.first_line, block.last_line) for block in blocks]


def test_markdown_keeps_headings_items_tables_and_code_with_their_lines():
    blocks = list(markdown.blocks(samples.BEES))
    kinds = [(block.kind, block.level, block.first_line, block.last_line) for block in blocks]
    assert kinds == [
        ("heading", 1, 1, 1),
        ("paragraph", 0, 3, 3),
        ("heading", 2, 5, 5),
        ("paragraph", 0, 7, 8),
        ("item", 0, 10, 10),
        ("item", 0, 11, 12),
        ("table", 0, 14, 17),
        ("code", 0, 19, 23),
    ]
    assert blocks[5].text == "- The queen stops laying eggs\n  until February."


def test_markdown_front_matter_keeps_the_line_numbers_right():
    blocks = list(markdown.blocks("---\ntitle: Bees\n---\n\nText."))
    assert shape(blocks) == [("paragraph", "title: Bees", 2, 2), ("paragraph", "Text.", 5, 5)]


@pytest.mark.parametrize(
    "source", ["", "\n\n", "---", "---\n---", "```", "| a |\n|---|", "#", "# \n", "<div>", "- ", "> "]
)
def test_odd_markdown_is_read_without_error(source):
    list(markdown.blocks(source))


@given(
    st.lists(st.sampled_from(["# a", "text b", "", "- c", "  d", "| e |", "|---|", "```", "> f", "---", "===", "1. g"]))
)
def test_every_markdown_block_but_headings_stands_in_its_lines(lines):
    for block in markdown.blocks("\n".join(lines)):
        if block.kind != "heading":
            assert block.text.split("\n") == lines[block.first_line - 1 : block.last_line]


def test_text_is_read_in_paragraphs_with_underlined_titles(tmp_path):
    path = tmp_path / "a.rst"
    path.write_text("=====\nTitle\n=====\n\nOne\ntwo.\n\nPart\n----\nThree.\n", "utf-8")
    assert shape(text.read(Source(path))) == [
        ("heading", "Title", 1, 3),
        ("paragraph", "One\ntwo.", 5, 6),
        ("heading", "Part", 8, 9),
        ("paragraph", "Three.", 10, 10),
    ]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("Grüße".encode(), "utf-8"),
        ("Grüße".encode("utf-8-sig"), "utf-8-sig"),
        ("Grüße".encode("utf-16"), "utf-16"),
        ("Grüße".encode("utf-32"), "utf-32"),
        ("Grüße".encode("latin-1"), "cp1252"),
        (b"", "utf-8"),
        (b"a" * (charsets.CHUNK_BYTES - 1) + "ü".encode(), "utf-8"),
        (b"a" * (charsets.CHUNK_BYTES + 9) + b"\xff", "cp1252"),
    ],
)
def test_the_encoding_is_found(tmp_path, data, name):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    assert charsets.of_file(path).name == name
    assert "".join(line for _, line in text.lines(Source(path))) == data.decode(name)


@pytest.mark.parametrize("data", [b"abc\0def", bytes(range(1, 32)) * 9, b"a" * charsets.CHUNK_BYTES + b"\0"])
def test_binary_data_is_refused_whatever_the_name(tmp_path, data):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(DocumentError, match="is not text"):
        charsets.of_file(path)


def test_a_broken_utf16_file_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\xfea\0b")
    with pytest.raises(DocumentError, match="is not valid UTF-16"):
        list(text.lines(Source(path)))


def test_a_very_long_line_is_read_in_parts_and_stays_one_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("first\n" + "word " * 40_000 + "\nlast\n", "utf-8")
    blocks = list(text.read(Source(path)))
    assert max(len(block.text) for block in blocks) <= 2 * text.LINE_CHARACTERS
    assert {(block.first_line, block.last_line) for block in blocks[1:-1]} <= {(2, 2)}
    assert "".join("".join(block.text.split()) for block in blocks) == "first" + "word" * 40_000 + "last"


def test_html_gives_the_main_text_with_its_lines():
    page = "<html><head><title>T</title><style>x</style></head>\n<body><nav>Home</nav>\n<h1>Big\n title</h1>"
    page += "<p>A <b>b</b>\nc.</p>"
    assert shape(html.blocks(page)) == [
        ("heading", "T", 1, 1),
        ("heading", "Big title", 3, 4),
        ("paragraph", "A b c.", 4, 5),
    ]


def test_html_takes_only_the_article_where_there_is_one():
    page = f"<p>Cookies?</p><main><header>Kept</header><p>{'word ' * 60}</p></main><footer>(c)</footer>"
    assert [block.text for block in html.blocks(page)] == ["Kept", ("word " * 60).strip()]


@pytest.mark.parametrize(
    ("page", "texts"),
    [
        ("<ul><li>one<li>two</ul>three", ["one", "two", "three"]),
        ("<table><tr><th>A<th>B<tr><td>1</td><td>2</td></tr></table>", ["A | B", "1 | 2"]),
        ("<pre>\ndef f():\n  pass\n</pre>", ["def f():\n  pass"]),
        ("<script>alert('<p>no</p>')</script>yes", ["yes"]),
        ("<div hidden>no<div>no</div>no</div>yes", ["yes"]),
        ("<nav><ul><li>no</nav>yes", ["yes"]),
        ("a &lt;b&gt; &amp; c", ["a <b> & c"]),
        ("a < b", ["a < b"]),
        ("a <![CDATA[b]]> c <!--[if IE]>no<![endif]--> d", ["a b c d"]),
        ("<p>open <!-- never closed", ["open <!-- never closed"]),
        ("", []),
    ],
)
def test_html_as_it_is_found_in_the_wild(page, texts):
    assert [block.text for block in html.blocks(page)] == texts


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<![CDATA[", "<![x", "<!", "<?", "</", "<a ", "<", "&#", '<a b="', "<a b='", "<div>", "<nav>", "<title>"],
)
@pytest.mark.parametrize("end", ["", ">"])
def test_html_made_to_be_slow_takes_time_in_proportion(piece, end):
    started = time.process_time()
    html.blocks(piece * 20_000 + end)
    assert time.process_time() - started < 5


@given(
    st.lists(
        st.sampled_from(["<p>", "</p>", "<li>", "x y", "\n", "<nav>", "</nav>", "<pre>", "<h1>", "&", "<", ">", '"'])
    )
)
def test_html_lines_lie_inside_the_page(pieces):
    page = "".join(pieces)
    for block in html.blocks(page):
        assert 1 <= block.first_line <= block.last_line <= page.count("\n") + 1


def test_pdf_gives_the_text_of_each_page(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(samples.pdf(["Bees make honey.", "Second page\nof two lines."]))
    assert [(block.text, block.page) for block in pdf.read(Source(path))] == [
        ("Bees make honey.", 1),
        ("Second page\nof two lines.", 2),
    ]


def test_pdf_with_a_broken_cross_reference_table_is_still_read(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(samples.pdf(["Bees make honey."]).replace(b"startxref\n", b"startxref\n9"))
    assert [block.text for block in pdf.read(Source(path))] == ["Bees make honey."]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not a readable PDF"),
        (b"%PDF-1.4\n", "is not a readable PDF"),
        (b"just text", "is not a readable PDF"),
        (samples.pdf(["x"])[:200], "is not a readable PDF"),
        (samples.pdf([""]), "holds no text"),
    ],
)
def test_pdf_that_cannot_be_read_is_named_with_the_reason(tmp_path, data, reason):
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    with pytest.raises(DocumentError, match=reason) as caught:
        list(Reading(path))
    assert caught.value.path == str(path)


def test_pdf_with_a_password_says_so(tmp_path):
    import pypdf

    path = tmp_path / "a.pdf"
    (tmp_path / "open.pdf").write_bytes(samples.pdf(["secret"]))
    writer = pypdf.PdfWriter(clone_from=tmp_path / "open.pdf")
    writer.encrypt("key", algorithm="RC4-128")
    writer.write(path)
    with pytest.raises(DocumentError, match="protected by a password"):
        list(Reading(path))


def test_a_block_knows_the_lines_of_its_parts():
    block = Block("one\ntwo\nthree", first_line=5, last_line=7)
    assert block.lines(4, 7) == (6, 6)
    assert block.lines(0, 13) == (5, 7)
    assert Block("one two", first_line=5, last_line=7).lines(0, 3) == (5, 7)
    assert Block("one", page=1).lines(0, 3) == (None, None)
