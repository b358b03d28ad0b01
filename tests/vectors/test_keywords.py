"""Names of groups in scripts whose words are not told apart by spaces, or hold signs."""

from __future__ import annotations

from chainkit.vectors.keywords import keywords

THAI = [
    ["ฉันลืมรหัสผ่านของฉัน", "วิธีเปลี่ยนรหัสผ่าน", "รหัสผ่านไม่ถูกต้อง", "ขอรีเซ็ตรหัสผ่านใหม่"],
    ["พัสดุของฉันยังไม่มาถึง", "ติดตามพัสดุได้ที่ไหน", "พัสดุถูกส่งผิดที่อยู่", "เปลี่ยนที่อยู่จัดส่งพัสดุ"],
]


def test_names_in_thai_are_whole_words():
    first, second = keywords(THAI)
    assert first[0] == "รหัสผ่าน"
    assert second[:2] == ["พัสดุ", "ที่อยู่"]
    assert not any(word[0] in "ะัาำิีึืฺุู็่้๊๋์" for word in first + second)


def test_names_in_hindi_hold_their_signs_and_no_full_stop():
    groups = [["मीटर ख़राब है।", "नया मीटर।", "स्मार्ट मीटर"], ["बिल गलत है।", "मेरा बिल।", "बिल भेजें"]]
    assert [words[0] for words in keywords(groups)] == ["मीटर", "बिल"]
