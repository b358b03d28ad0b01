"""The picture of a similarity matrix."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
from typing import Any

import numpy as np
import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg

from chainkit.base.errors import Unsupported
from chainkit.vectors import clusters, heatmap, similarity
from chainkit.vectors.labels import MissingGlyphs, label, width, wrapped
from tests.vectors.conftest import Table
from tests.vectors.nine import NINE

GREEK = [f"{letter} item" for letter in "αβγδεζηθικ"]


@pytest.fixture
def table():
    rng = np.random.default_rng(2)
    return Table({text: rng.normal(size=8) for text in [*NINE, *GREEK]})


def test_rows_are_in_the_order_of_the_groups(minilm):
    found = heatmap(NINE, minilm)
    assert [end - first for first, end, _ in found.blocks] == [3, 3, 3]
    assert found.labels == [NINE[row] for row in found.rows]
    rows = list(found.rows)
    np.testing.assert_allclose(found.matrix, similarity(NINE, minilm)[np.ix_(rows, rows)], atol=1e-6)


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("html", b"<!doctype html>")]
)
def test_the_ending_chooses_the_format(table, tmp_path, ending, start):
    path = tmp_path / f"picture.{ending}"
    heatmap(NINE, table, path)
    assert path.read_bytes().startswith(start)


def test_the_same_texts_make_the_same_picture(table):
    first, second = (image.imread(io.BytesIO(heatmap(order, table)._repr_png_())) for order in (NINE, NINE[::-1]))
    np.testing.assert_array_equal(first, second)


def test_other_endings_are_named(table, tmp_path):
    with pytest.raises(Unsupported, match=r"\.png, \.svg, \.pdf, \.html, not as '\.bmp'"):
        heatmap(NINE, table, tmp_path / "picture.bmp")


@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_no_label_overlaps_another(table, count):
    texts = [f"{text} {number}" for number in range(5) for text in NINE][:count]
    rng = np.random.default_rng(count)
    drawn = heatmap(texts, Table({text: rng.normal(size=8) for text in texts})).figure()
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    axes = drawn.axes[0]
    boxes = [text.get_window_extent() for text in axes.get_yticklabels()]
    names = [text.get_window_extent() for text in axes.texts if text.get_ha() == "left"]
    for group in (boxes, names):
        for above, below in itertools.pairwise(group):
            assert not above.overlaps(below)
    assert len(boxes) == count


def test_no_frame_covers_another_and_none_leaves_the_matrix(table):
    drawn = heatmap(NINE, table, k=9).figure()
    drawn.canvas.draw()
    axes = drawn.axes[0]
    frames = sorted((patch.get_bbox() for patch in axes.patches), key=lambda box: box.x0)
    assert len(frames) == 9
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(frames))
    assert (frames[0].x0, frames[-1].x1) > (-0.5, 8)
    assert frames[-1].x1 < 8.5
    assert min(patch.get_zorder() for patch in axes.patches) > max(line.get_zorder() for line in axes.lines)


def test_a_long_title_makes_lines_and_no_wider_picture(table):
    title = "Nine sentences and their three topics, told at length " * 5
    short, long = (
        image.imread(io.BytesIO(heatmap(NINE, table, title=words)._repr_png_())) for words in ("Nine", title)
    )
    assert long.shape[1] <= short.shape[1] * 1.1
    drawn = heatmap(NINE, table, title=title).figure().axes[0].get_title(loc="left")
    assert drawn.split() == title.split()


@pytest.mark.parametrize("text", ["שלום עולם", "مرحبا بالعالم", "plain words", "日本語"])
def test_the_number_of_a_row_stands_between_its_label_and_its_cells(text):
    drawn = heatmap([text, "b"], Table({text: [1, 0], "b": [0, 1]})).figure()
    labels = {shown.get_text() for shown in drawn.axes[0].get_yticklabels()}
    backwards = {f"\u200e{text}\u200e  {number}" for number in (1, 2)}
    forwards = {f"{text}  {number}" for number in (1, 2)}
    assert labels & (backwards if text[0] in "שم" else forwards)


def test_signs_of_formulas_are_drawn_as_they_are(tmp_path):
    texts = ["costs $5 or $6", r"\frac{1}", "tab\there\x00", "_under_^"]
    heatmap(texts, Table({text: [i, 1, i * i] for i, text in enumerate(texts)}), tmp_path / "a.png")


@pytest.mark.usefixtures("no_system_fonts")
def test_characters_without_a_font_become_boxes_and_are_named(tmp_path):
    texts = ["plain", "a bird \U00013171 sign"]
    with pytest.warns(MissingGlyphs, match="no installed font has 1 of the characters"):
        heatmap(texts, Table({"plain": [1, 0], texts[1]: [0, 1]}), tmp_path / "a.png")


@pytest.mark.usefixtures("no_system_fonts")
def test_marks_that_no_font_has_leave_no_boxes(tmp_path):
    from chainkit.vectors.labels import drawable

    mark, letter = "\U0001e2ec", "\U0001e2c0"  # of the Wancho script
    with pytest.warns(MissingGlyphs):
        assert drawable([f"a {letter}{mark}\u200d"])[0][0].rstrip("\u200d") == "a □"


def test_too_many_items_are_refused():
    with pytest.raises(ValueError, match="at most 500 items, got 501"):
        heatmap(np.ones((501, 2)))


def test_groups_that_were_found_before_are_drawn_as_they_are(table):
    found = clusters(NINE, table, k=2, min_size=2)
    drawn = heatmap(found)
    assert drawn.clustering is found
    assert drawn.figure() is not None


def test_vectors_without_texts_are_numbered(blobs):
    drawn = heatmap(blobs[0])
    assert drawn.labels[0] == f"item {drawn.rows[0]}"


def test_labels_are_shortened_by_columns():
    assert label("short") == "short"
    assert label("a\nb\tc\x07d") == "a b c d"
    assert width(label("日本語" * 30, 20)) <= 20
    assert label("日本語" * 30, 20).endswith("…")
    assert width("e\u0301") == 1
    assert width("ที่นี่") == 2
    assert label("👩\u200d👧 x") == "👩\u200d👧 x"  # a family, not two persons
    assert label("a\u202eb") == "a b"  # no turning of what follows


def test_lines_hold_every_word():
    for text in ("日本語の題名" * 9, "x" * 25, "a\x07" * 30, "a\u200b" * 30 + "b\x00" * 9, "one two three " * 9, ""):
        lines = wrapped(text, 10).split("\n")
        assert max(map(width, lines)) <= 10
        assert "".join("".join(lines).split()) == "".join(c for c in text if c.isprintable() and c != " ")


def page_data(html: str) -> dict[str, Any]:
    """What the script of a page draws."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


def test_a_page_holds_the_same_numbers_and_nothing_of_the_network(table):
    found = heatmap(NINE, table, title="Nine")
    html = found.html()
    data = page_data(html)
    matrix = np.frombuffer(base64.b64decode(data["matrix"]), np.uint8).reshape(9, 9) / 127.5 - 1
    np.testing.assert_allclose(matrix, found.matrix, atol=1 / 255 + 1e-6)
    assert data["texts"] == [NINE[row] for row in found.rows]
    assert [(block["first"], block["end"]) for block in data["blocks"]] == [block[:2] for block in found.blocks]
    assert not re.search(r"https?://|src=|@import|url\(", html)


def test_texts_cannot_leave_the_script_of_a_page():
    hostile = ["</script><script>alert(1)</script>", "<!-- & ' \" $x ${y}"]
    html = heatmap(hostile, Table({text: [i, 1] for i, text in enumerate(hostile)}), title="<b>").html()
    assert html.count("<script") == 2
    assert html.count("</script") == 2
    assert "<title>&lt;b&gt;</title>" in html
    assert set(page_data(html)["texts"]) == set(hostile)


def test_a_terminal_shows_a_line_for_each_text_and_none_is_too_wide(table):
    found = heatmap([*NINE, "日本語の文です" * 9], Table({**table.vectors, "日本語の文です" * 9: [1] * 8}), title="Ten")
    lines = found.terminal(70, colour=False).split("\n")
    assert lines[0] == "Ten"
    assert all(width(line) <= 70 for line in lines)
    assert [line.strip()[:6] for line in lines[1:11]] == [text[:6] for text in found.labels]
    assert all(set(line[-20:]) <= set(" ░▒▓█") for line in lines[1:11])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", found.terminal(70, colour=True)).split("\n")
    assert [line[:20] for line in plain[:11]] == [line[:20] for line in lines[:11]]


@pytest.mark.parametrize("colour", [False, True])
def test_a_terminal_shows_the_name_of_a_group_beside_its_rows_or_with_their_numbers(minilm, colour):
    drawn = heatmap(NINE, minilm)
    names = {group.label: group.name for group in drawn.clustering.groups}
    blocks = [(first, end, names[group]) for first, end, group in drawn.blocks]
    plain = lambda columns: re.sub(r"\x1b\[[0-9;]*m", "", drawn.terminal(columns, colour=colour)).split("\n")  # noqa: E731
    wide = plain(100)
    assert len(wide) == 9
    assert all(wide[first].endswith("  " + name) for first, _, name in blocks)
    assert plain(50)[9:] == ["", *(f"rows {first + 1}-{end}: {name}" for first, end, name in blocks)]


def test_a_terminal_that_lacks_characters_gets_others_of_the_same_width(table):
    texts = {"日本語の文です": [1, 0], "plain": [1, 0.1], "other": [0, 1]}
    drawn = heatmap(list(texts), Table(texts), title="本").terminal(40, colour=False, encoding="ascii")
    assert drawn.isascii()
    title, *rows = drawn.split("\n")[:4]
    assert title == "?"
    assert {row[:7] for row in rows} == {"???????", "  plain", "  other"}
    assert all(set(row[8:14]) <= set(" .:+#") and "##" in row[8:14] for row in rows)


def test_a_terminal_without_room_is_told(table):
    with pytest.raises(ValueError, match="9 items need a terminal of 18 columns, this one has 17; write the picture"):
        heatmap(NINE, table).terminal(17)
    assert heatmap(NINE, table).terminal(18)
