"""Fonts for every script, on a machine that has none."""

from __future__ import annotations

import pytest
from matplotlib import font_manager

from chainkit.vectors import fonts, heatmap
from chainkit.vectors.fonts import font_families
from tests.vectors.conftest import Table

SCRIPTS = {
    "latin": "Straße, façade, žluťoučký",
    "greek": "Καλημέρα",
    "cyrillic": "Здравствуйте",
    "chinese": "机器学习和自然语言",
    "traditional": "機器學習與語言處理",
    "japanese": "機械学習のテスト、カタカナ",
    "korean": "안녕하세요",
    "arabic": "مرحبا بالعالم",
    "hebrew": "שלום עולם",
    "devanagari": "नमस्ते दुनिया",
    "thai": "สวัสดีชาวโลก",
}


pytestmark = pytest.mark.usefixtures("no_system_fonts")


@pytest.mark.parametrize("script", SCRIPTS)
def test_packages_bring_a_font_for_every_script(script):
    _, missing = font_families(frozenset(SCRIPTS[script]))
    assert missing == []


def test_a_picture_of_all_scripts_warns_of_nothing(tmp_path):
    table = Table({text: [place, 1, place * place] for place, text in enumerate(SCRIPTS.values())})
    heatmap(list(table.vectors), table, tmp_path / "a.png", title=SCRIPTS["korean"])


def test_han_characters_have_the_shapes_of_their_language():
    assert font_families(frozenset("機械のテスト"))[0][-1].endswith("JP")
    assert font_families(frozenset("漢字 안녕"))[0][-1].endswith("KR")
    assert font_families(frozenset("机器学习"))[0][-1].endswith("SC")


def test_a_font_installed_after_matplotlib_listed_fonts_is_found(monkeypatch):
    [file] = [path for path in fonts._packaged() if "Thai" in path]
    monkeypatch.setattr(fonts, "_packaged", tuple)
    assert font_families(frozenset("ก"))[1] == ["ก"]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [file])
    assert font_families(frozenset("ก"))[1] == []


def test_a_font_file_that_cannot_be_read_is_passed_over(monkeypatch, tmp_path):
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"\x00\x01\x00\x00 no font")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(broken)])
    assert font_families(frozenset("\U00013171"))[1] == ["\U00013171"]


def test_fonts_that_matplotlib_is_told_to_ignore_are_not_chosen(monkeypatch):
    monkeypatch.setenv("MPL_IGNORE_SYSTEM_FONTS", "1")
    assert font_families(frozenset("ก")) == (["DejaVu Sans"], ["ก"])
