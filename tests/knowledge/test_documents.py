from __future__ import annotations

import os

import pytest

from chainkit.base.errors import DocumentError
from chainkit.knowledge.readers.documents import find, shown
from chainkit.knowledge.readers.reading import Reading, fingerprint

from . import samples


def names(found, folder):
    return [str(file.relative_to(folder)) for file in found.files]


@pytest.fixture
def folder(tmp_path):
    for name in ["b.md", "a.txt", "sub/c.md", ".hidden.md", ".git/d.md", "node_modules/e.md", "sub/__pycache__/f.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, "utf-8")
    return tmp_path


def test_a_folder_stands_for_all_visible_files_below_it(folder):
    assert names(find(folder), folder) == ["a.txt", "b.md", "sub/c.md"]


def test_a_hidden_file_that_is_named_is_read(folder):
    assert names(find(folder / ".hidden.md"), folder) == [".hidden.md"]
    assert names(find(folder / ".git"), folder) == [".git/d.md"]


def test_a_pattern_stands_for_what_it_matches(folder):
    assert names(find(str(folder / "**/*.md")), folder) == ["b.md", "sub/c.md"]
    assert find(str(folder / "*.nope")).skipped[0].reason == "matches no file"


def test_a_file_named_twice_is_read_once(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert len(find(["b.md", folder / "b.md", "./b.md", "*.md"]).files) == 1


def test_a_name_with_signs_of_patterns_is_a_name_first(tmp_path):
    (tmp_path / "a[1].md").write_text("x", "utf-8")
    assert names(find(tmp_path / "a[1].md"), tmp_path) == ["a[1].md"]


def test_links_in_a_circle_end(folder):
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    found = find(folder)
    assert names(found, folder) == ["a.txt", "b.md", "sub/c.md"]
    assert [remark.reason for remark in found.skipped] == ["is a broken link"]


@pytest.mark.parametrize("path", ["", "nothing.md", "a\0b", "a\udcff"])
def test_a_path_that_is_not_there_is_reported_and_the_rest_is_found(folder, path):
    found = find([path, folder / "b.md"])
    assert names(found, folder) == ["b.md"]
    assert len(found.skipped) == 1


def test_what_is_no_regular_file_is_not_opened(folder):
    os.mkfifo(folder / "pipe")
    found = find(folder)
    assert [remark.reason for remark in found.skipped] == ["is not a regular file"]
    assert find(folder / "pipe").skipped[0].reason == "is neither a file nor a folder"


def test_a_name_that_is_not_unicode_is_reported(folder):
    (folder / os.fsdecode(b"\xff.txt")).write_text("x", "utf-8")
    assert [remark.reason for remark in find(folder).skipped] == ["has a name that is not valid Unicode"]


def test_a_name_with_a_line_end_is_shown_on_one_line(folder):
    (folder / "x\ny.txt").write_text("hello", "utf-8")
    assert [block.text for block in Reading(folder / "x\ny.txt")] == ["hello"]
    assert "\n" not in shown(str(folder / "x\ny.txt"))


def test_a_path_below_the_current_folder_is_shown_short(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert shown(str(folder / "sub" / "c.md")) == "sub/c.md"
    assert shown("/elsewhere/c.md") == "/elsewhere/c.md"


def test_a_guessed_encoding_is_said(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("Grüße".encode("latin-1"))
    reading = Reading(path)
    assert [block.text for block in reading] == ["Grüße"]
    assert [note.reason for note in reading.notes] == ["is not valid UTF-8; read as Windows-1252"]


def test_the_ending_decides_the_reader_and_an_unknown_one_means_text(tmp_path):
    for name, data in [("a.MD", b"# T"), ("a.HTML", b"<h1>T</h1>"), ("a.xyz", b"T\n=====")]:
        (tmp_path / name).write_bytes(data)
        assert [(block.kind, block.text) for block in Reading(tmp_path / name)] == [("heading", "T")]
    (tmp_path / "a.pdf").write_bytes(samples.pdf(["T"]))
    assert [block.page for block in Reading(tmp_path / "a.pdf")] == [1]


def test_a_file_beyond_the_limit_is_refused_with_both_numbers(tmp_path):
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(200_000_000_000)  # a sparse file: hashing it would take minutes
    for read in (fingerprint, lambda path: list(Reading(path))):
        with pytest.raises(
            DocumentError, match="has 200,000,000,000 bytes; text files are read up to 100,000,000 bytes"
        ):
            read(tmp_path / "a.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("x", "utf-8")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(DocumentError, match="cannot be read: permission denied"):
        list(Reading(tmp_path / "a.txt"))


def test_a_file_that_vanishes_is_named(tmp_path):
    with pytest.raises(DocumentError, match="there is no such file"):
        list(Reading(tmp_path / "a.txt"))
    with pytest.raises(DocumentError, match="there is no such file"):
        fingerprint(tmp_path / "a.txt")
