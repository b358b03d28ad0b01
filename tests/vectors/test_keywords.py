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


def test_a_piece_of_a_japanese_word_is_not_a_second_name():
    parcels = ["本の配送状況を教えてください", "洋服の配送状況を教えてください"]
    assert keywords([parcels, ["明日の天気", "来週の天気"]]) == [["配送状況"], ["天気"]]


def test_names_in_hindi_hold_their_signs_and_no_full_stop():
    groups = [["मीटर ख़राब है।", "नया मीटर।", "स्मार्ट मीटर"], ["बिल गलत है।", "मेरा बिल।", "बिल भेजें"]]
    assert [words[0] for words in keywords(groups)] == ["मीटर", "बिल"]


def test_names_in_arabic_leave_out_prepositions():
    groups = [["خطأ في الفاتورة", "سؤال عن الفاتورة"], ["الطقس في مصر", "الطقس في الشمال"]]
    first, second = keywords(groups)
    assert first[0] == "الفاتورة"
    assert second[0] == "الطقس"
    assert not {"في", "عن"} & {word for name in first + second for word in name.split()}


def test_a_word_of_all_groups_names_none_and_is_in_no_phrase():
    groups = [["the invoice today", "an invoice today"] * 4, ["the weather today", "a weather today"] * 4]
    first, second = keywords(groups)
    assert first[0] == "invoice"
    assert second[0] == "weather"
    assert not any("today" in word for word in first + second)


def test_what_is_said_around_the_matter_names_a_group_that_is_about_it():
    thanks = ["thank you", "thanks a lot", "thank you for this", "many thanks"]
    asked = ["thank you, where is the parcel", "please find the parcel", "the parcel is late", "send the parcel"]
    assert keywords([thanks, asked[1:] * 3])[0][0] in ("thank", "thanks")
    assert keywords([asked, thanks])[0][0] == "parcel"
    assert "find" not in keywords([asked, thanks])[0]


def test_the_ending_of_a_number_is_no_word() -> None:
    groups = [["a hotel from the 20th", "a hotel on the 5th", "the 3rd in a hotel"], ["what is the apr on my card"] * 2]
    assert keywords(groups, count=9) == [["hotel"], ["apr", "card"]]


def test_a_verb_keeps_its_particle_and_a_noun_does_not() -> None:
    groups = [["cannot log in", "logging in fails"], ["a hotel in Rome", "hotels in Oslo"]]
    assert [names[0] for names in keywords(groups, count=1)] == ["log in", "hotel"]


def test_a_word_stands_alone_where_its_phrase_would_repeat_what_is_said() -> None:
    days = ["vacation days left", "vacation days left this year", "my vacation days", "vacation days saved"]
    found = keywords([[*days, "pto days", "pto days", "pto days left"], ["the oven is cold", "an oven door"]], count=3)
    assert found[0] == ["vacation days", "left", "pto"]
