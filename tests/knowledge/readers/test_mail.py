"""Mails as mail programs write them."""

from __future__ import annotations

import email.message
import mailbox

import pytest

from chainkit.knowledge.readers.reading import Reading

HEAD = b"Subject: Gate\nFrom: Eve <eve@example.org>\nMIME-Version: 1.0\n"


def read(tmp_path, data, name="a.eml"):
    (tmp_path / name).write_bytes(data)
    reading = Reading(tmp_path / name)
    return [block.text for block in reading][2:], [note.reason for note in reading.notes]


def two(plain, html):
    message = email.message.EmailMessage()
    message["Subject"], message["From"] = "Gate", "eve@example.org"
    message.set_content(plain)
    message.add_alternative(html, subtype="html")
    message.set_boundary("the-same-each-time")  # each test worker must make the same parameters
    return message.as_bytes()


MIXED = HEAD + b'Content-Type: multipart/mixed; boundary="b"\n\n'
LONG = "The code of the gate is 4711, and it opens at nine. " * 3


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (two(" \n", "<p>The code is 4711.</p>"), ["The code is 4711."]),
        (two("See the HTML.", f"<p>{LONG}</p>"), [LONG.strip()]),
        (two("The code is 4711.", "<p>The code is 4711.</p>"), ["The code is 4711."]),
        (MIXED + b"--b\n\nPart one.\n--b\nContent-Type: image/png\n\nx\n--b\n\nPart two.\n--b--",
         ["Part one.", "Part two."]),
        (MIXED + b"--b\nContent-Type: text/html\n\n<p>One.\n--b\nContent-Type: text/html\n\n<p>Two.\n--b--",
         ["One.", "Two."]),
        (MIXED + b"--b\nContent-Type: message/rfc822\n\nSubject: Inner\nFrom: bob@example.org\n\nFee: 9.\n--b--",
         ["Inner", "From: bob@example.org", "Fee: 9."]),
        (HEAD + "\nSchöne Grüße, 5 €.".encode("cp1252"), ["Schöne Grüße, 5 €."]),
        (HEAD + b"Content-Type: text/plain; charset=us-ascii\n\n" + "Schöne Grüße".encode(), ["Schöne Grüße"]),
        (HEAD + b"Content-Type: text/plain; charset=utf-8\n\n" + "Schöne Grüße".encode("cp1252"), ["Schöne Grüße"]),
        (HEAD + b"Content-Type: text/plain; charset=cp-850\n\n" + "Grüße 12".encode("cp850"), ["Grüße 12"]),
        (HEAD + b"Content-Type: text/plain; charset=no-such\n\nThe code is 12.", ["The code is 12."]),
        (HEAD + b"Content-Type: text/html\n\n<meta charset=koi8-r><p>" + "Ключ под ковром".encode("koi8-r"),
         ["Ключ под ковром"]),
        (HEAD + b"Content-Type: text/calendar\n\nSUMMARY:Meet\\, late\nLOCATION:Roo\n m 5\nEND:VCALENDAR",
         ["Meet, late\nPlace: Room 5"]),
        (HEAD + b"Content-Type: multipart/mixed\n\nNo boundary at all.", ["No boundary at all."]),
    ],
)  # fmt: skip
def test_all_text_of_a_mail_is_read(tmp_path, data, expected):
    assert read(tmp_path, data)[0] == expected


def test_headers_in_raw_bytes_and_in_encoded_words_are_read(tmp_path):
    raw = "Subject: Grüße\nFrom: ".encode("cp1252") + b"=?x-gbk?B?zuTFpg==?= <a@b>\nDate: today\n\nText."
    (tmp_path / "a.eml").write_bytes(raw)
    blocks = [block.text for block in Reading(tmp_path / "a.eml")]
    assert blocks[0] == "Grüße"
    assert blocks[1].startswith("From: 武")


def test_attachments_are_named_and_encrypted_mails_are_noted(tmp_path):
    data = MIXED + b'--b\nContent-Type: application/pdf; name="a.pdf"\n\nx\n--b\n\nText.\n--b--'
    (tmp_path / "a.eml").write_bytes(data)
    assert "Attachments: a.pdf" in [block.text for block in Reading(tmp_path / "a.eml")][1]
    _, notes = read(tmp_path, HEAD + b"Content-Type: multipart/encrypted; boundary=b\n\n--b\n\nx\n--b--")
    assert notes == ["is encrypted"]


def test_a_mailbox_gives_each_message_with_its_lines(tmp_path):
    box = mailbox.mbox(tmp_path / "a.mbox")
    for number in (1, 2):
        message = email.message.EmailMessage()
        message["Subject"] = f"Mail {number}"
        message.set_content(f"Text {number}.\n\nFrom here on it counts.\n")
        box.add(message)
    box.close()
    blocks = list(Reading(tmp_path / "a.mbox"))
    assert [block.text for block in blocks] == [
        "Mail 1", "Text 1.", "From here on it counts.", "Mail 2", "Text 2.", "From here on it counts.",
    ]  # fmt: skip
    lines = (tmp_path / "a.mbox").read_text("utf-8").split("\n")
    assert all("Mail 2" in "\n".join(lines[b.first_line - 1 : b.last_line]) for b in blocks[3:])
