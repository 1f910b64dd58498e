"""Copies of a text for matching, and their maps back to its code points."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heatbath.policy.normalization import build_views, normalize_phrase

FORMS = ["%61", "%C3%A9", "%2561", "%ff", "&#97;", "&amp;", "&lt", "\\u0061", "\\ud83d\\ude00"]
ODD = "\u200b\u00ad\u202eａＡﬁe\u0301\u0323ßİｶﾞ\u1100\u1161한\u3000\x00\x85😀\U000e0061\ud800ﷺſKé"
CHARACTERS = st.sampled_from([*"ab %&;#\\u0123456789FfXx\n\t", *FORMS, *ODD])
TEXTS = st.lists(CHARACTERS | st.characters(), max_size=30).map("".join)


@given(TEXTS)
@example("")
@example("%2")
@example("&#0;&#xD800;&#99999999;")
def test_the_map_back_is_in_order_and_within_the_text(text):
    original, copy = build_views(text)[0], build_views(text)[-1]
    assert original.text == text and original.original_span(0, len(text) or 1)[0] == 0
    for view in (copy, copy.lower_case):
        spans = [view.original_span(i, i + 1) for i in range(len(view.text))]
        assert all(0 <= start < end <= len(text) for start, end in spans)
        # Characters come in order; those that one form stands for share its place.
        assert spans == sorted(spans)
        assert all(a == b or a[1] <= b[0] for a, b in pairwise(spans))


@given(TEXTS)
def test_a_character_stands_for_the_form_it_is_made_of(text):
    view = build_views(text)[-1]
    for i, character in enumerate(view.text):
        start, end = view.original_span(i, i + 1)
        assert character in build_views(text[start:end])[-1].text or character == " " or end - start > 1


@given(TEXTS)
def test_copies_are_compatibility_forms_without_case(text):
    for view in build_views(text)[1:]:
        # Nothing that is left can be composed further, so that two spellings give one text.
        if all(mark not in view.text for mark in "%&\\"):
            assert unicodedata.is_normalized("NFKC", view.text) or unicodedata.combining(view.text[0])
        assert view.lower_case.text == view.text.casefold()


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.integers(0, 3))
def test_percent_encoding_is_undone_at_any_depth(text, depth):
    encoded = "".join(f"%{byte:02X}" for byte in text.encode())
    for _ in range(depth):
        encoded = encoded.replace("%", "%25")
    assert build_views(encoded)[-1].text == build_views(text)[-1].text


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20))
def test_entities_and_escapes_are_undone(text):
    entities = "".join(f"&#x{ord(each):x};" for each in text)
    plain = build_views(text)[-1].text
    # Code points that HTML reads as others.
    if all(ord(each) & 0xFFFE != 0xFFFE and not 0xFDD0 <= ord(each) <= 0xFDEF for each in text):
        assert build_views(entities)[-1].text == plain
    escapes = "".join(f"\\u{ord(each):04x}" for each in text if ord(each) < 0x10000)
    assert build_views(escapes)[-1].text == build_views("".join(each for each in text if ord(each) < 0x10000))[-1].text


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Project\u200b Blue\u00adbird", "project bluebird"),
        ("ＰＲＯＪＥＣＴ　ＢＬＵＥＢＩＲＤ", "project bluebird"),
        ("%50roject%20bluebird", "project bluebird"),
        ("&#112;roject&nbsp;bluebird", "project bluebird"),
        ("project\r\n\tbluebird", "project bluebird"),
        ("%2550roject bluebird", "project bluebird"),
        ("%26%23112%3Broject bluebird", "project bluebird"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("cafe\u0301", "café"),
        ("\u200b\u200d", ""),
    ],
)
def test_forms_of_a_phrase(text, normal):
    assert normalize_phrase(text) == normal


def test_a_long_text_takes_linear_time():
    # A quadratic step over this many characters would take minutes.
    for part in ("ａ", "%41", "&#97;", "\u0301", "e\u0301", "a\u200b", "%25", "ß", "\n "):
        text = part * (10**5 // len(part))
        copy = build_views(text)[-1].lower_case
        assert copy.original_span(0, len(copy.text)) == (0, len(text) - (part == "a\u200b"))
