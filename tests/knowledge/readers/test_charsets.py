from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainkit.knowledge.readers import charsets

TEXTS = [
    ("Насос нельзя запускать всухую, иначе уплотнение сгорит.", ("cp1251", "koi8-r", "iso8859-5", "cp866")),
    ("Pompa nigdy nie może pracować na sucho, bo uszczelka się spali, żółć.", ("cp1250", "iso8859-2")),
    ("Η αντλία δεν πρέπει ποτέ να λειτουργεί στεγνή.", ("cp1253",)),
    ("ポンプは決して空運転してはいけません。図書館は九時に開きます。", ("cp932", "euc_jp", "iso2022_jp")),
    ("水泵绝不能干转,否则密封件会烧坏。图书馆九点开门。", ("gb18030",)),
    ("펌프는 절대 마른 상태로 작동해서는 안 됩니다.", ("cp949",)),
    ("It’s €5 – “quick” brown… naïve café.", ("cp1252", "utf-8", "utf-8-sig", "utf-16", "utf-32")),
    ("Größe: 12 m², 20 °C, ½ Preis © ACME® 5 £", ("cp1252",)),
    ("Grüße", ("cp1252",)),
]


@pytest.mark.parametrize(("text", "name"), [(text, name) for text, names in TEXTS for name in names])
def test_texts_in_many_encodings_are_read_without_being_told(tmp_path, text, name):
    data = text.encode(name)
    assert charsets.of_bytes(data).decode(data) == text.removeprefix("\ufeff") or name == "utf-8-sig"
    (tmp_path / "a.txt").write_bytes(data)
    found = charsets.of_file(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text(found.name, found.errors) == text


def test_one_bad_byte_does_not_change_the_rest():
    data = "Größe und Maß: 5 €. ".encode() * 3 + b"caf\xe9"
    found = charsets.of_bytes(data)
    assert found.decode(data) == "Größe und Maß: 5 €. " * 3 + "café"
    assert found.note == "1 byte is not valid UTF-8; read as Windows-1252"


def test_utf16_without_a_mark_is_read_and_named(tmp_path):
    (tmp_path / "a.txt").write_bytes("The gate opens at nine.".encode("utf-16-le"))
    assert charsets.of_file(tmp_path / "a.txt").name == "utf-16-le"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("ISO-8859-1", "cp1252"), ("us-ascii", "cp1252"), ("iso-8859-8-i", "iso8859-8"), ("cp-850", "cp850"),
        ("windows-874", "cp874"), ("utf8mb4", "utf-8"), ("x-gbk", "gb18030"), ("ansi", "cp1252"),
        ("x-mac-roman", "mac_roman"), ("x-user-defined", "cp1252"), ("Shift_JIS", "cp932"), ("gb2312", "gb18030"),
        ("x-windows-949", "cp949"), ("punycode", None), ("base64", None), ("rot13", None), ("unicode_escape", None),
        ("", None), ("nonsense", None),
    ],
)  # fmt: skip
def test_labels_mean_what_the_web_means_by_them(label, name):
    found = charsets.codec(label)
    assert (found and found.replace("-", "_")) == (name and name.replace("-", "_"))


@given(st.binary())
def test_any_bytes_become_text(data):
    text = charsets.of_bytes(data).decode(data)
    text.encode()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_utf8_is_read_as_it_is(text):
    data = text.encode()
    if not data.startswith(b"\xff") and "\ufeff" not in text and "\x1b$" not in text:
        assert charsets.of_bytes(data, "cp1251" if not text.isascii() else None).decode(data) == text
