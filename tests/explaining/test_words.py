import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.explaining.words import with_words, without, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I'm so happy!!!", ["I'm", "so", "happy", "!!!"]),
        ("it’s a well-known 3.5, or 1,000?!", ["it’s", "a", "well-known", "3.5", ",", "or", "1,000", "?!"]),
        ("no space.After a stop", ["no", "space", ".", "After", "a", "stop"]),
        ("😂😂😂👍🏽❤️ 👩‍👩‍👧‍👦🇩🇪🇫🇷 1️⃣", ["😂😂😂", "👍🏽", "❤️", "👩‍👩‍👧‍👦", "🇩🇪", "🇫🇷", "1️⃣"]),
        (":( [NAME]? #tag @user_1", [":(", "[", "NAME", "]", "?", "#", "tag", "@", "user_1"]),
        ("cafe\u0301 naïve мир नमस्ते می‌خواهم", ["cafe\u0301", "naïve", "мир", "नमस्ते", "می‌خواهم"]),
        ("我很高兴。", ["我", "很", "高", "兴", "。"]),
        ("  ", []),
        ("", []),
    ],
)
def test_words_are_what_a_reader_would_point_at(text, words):
    assert [word.text for word in words_of(text)] == words


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_between_words_there_is_white_space_and_nothing_else(text):
    words, place = words_of(text), 0
    for word in words:
        assert text[word.start : word.end] == word.text != ""
        assert not text[place : word.start].strip()
        place = word.end
    assert not text[place:].strip()
    assert with_words(text, words, range(len(words))) == text


@pytest.mark.parametrize(
    ("text", "index", "rest"),
    [
        ("so very happy", 1, "so happy"),
        ("so very happy", 0, "very happy"),
        ("so very happy", 2, "so very"),
        ("happy!!", 1, "happy"),
        ("yes—no", 1, "yes no"),  # two words stay two
        ("我很高", 1, "我高"),
        (" ok \n", 0, "  \n"),
    ],
)
def test_a_text_without_a_word(text, index, rest):
    assert without(text, words_of(text), index) == rest


def test_some_words_alone():
    text = "Well, I'm so happy!"
    words = words_of(text)
    assert with_words(text, words, [0, 4]) == "Well happy"
    assert with_words(text, words, []) == ""
