"""What labels mean, in words: from a file, GoEmotions' own, or names; anything else is refused in a sentence."""

import pytest

from utils.console import InputError
from utils.data.descriptions import read_descriptions
from utils.data.labels import GO_EMOTIONS, TAXONOMIES


def written(folder, text: str, encoding: str = "utf-8") -> str:
    path = folder / "meanings.yaml"
    path.write_bytes(text.encode(encoding))
    return str(path)


def refused(source: str, names: list[str]) -> str:
    with pytest.raises(InputError) as caught:
        read_descriptions(source, names)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"--label_descriptions {source}")
    return str(caught.value)


def test_a_file_describes_labels_in_the_order_of_the_names_whatever_they_are_called(tmp_path):
    names = ["refund", "no", "911", "2024-01-01", "late_parcel", "a: b", "愛"]
    source = written(
        tmp_path,
        "愛: 好き\r\nno: an answer that\r\n  goes on\nlate_parcel: it has not come\n'a: b': \"two: parts\"\nunused: x\n"
        "911: an emergency\n2024-01-01: New Year\nrefund: wants money back # of course\n",
        "utf-8-sig",
    )
    assert read_descriptions(source, names) == [
        "refund: wants money back", "no: an answer that goes on", "911: an emergency", "2024-01-01: New Year",
        "late parcel: it has not come", "a: b: two: parts", "愛: 好き",
    ]  # fmt: skip


def test_json_is_such_a_file_too(tmp_path):
    source = written(tmp_path, '{"refund": "wants money back", "late": "it has not come"}')
    assert read_descriptions(source, ["late", "refund"]) == ["late: it has not come", "refund: wants money back"]


def test_names_stand_alone_and_none_is_none():
    assert read_descriptions("names", ["late_parcel", "refund"]) == ["late parcel", "refund"]
    assert read_descriptions(None, ["late_parcel"]) is None


@pytest.mark.parametrize("names", [GO_EMOTIONS, tuple(TAXONOMIES["ekman"]), ("joy", "anger")])
def test_every_one_of_go_emotions_labels_is_described(names):
    described = read_descriptions("go_emotions", names)
    assert len(set(described)) == len(names)
    for name, text in zip(names, described, strict=True):
        assert text.startswith(f"{name}: ")
        assert len(text) > len(name) + 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("refund: wants money back\n", "does not describe late; accepted: a YAML file with a line"),
        ("refund: wants money back\nLate: no\n", "does not describe late; it describes Late instead"),
        ("refund: wants money back\nlate:\n", "does not describe late"),
        ("refund: wants money back\nlate: [it, has]\n", "does not describe late"),
        ("", "does not describe late, refund"),
        ("just words\n", "holds a str, expected `key: value` lines"),
        ("- late\n- refund\n", "holds a list, expected `key: value` lines"),
        ("late: a\nlate: b\nrefund: c\n", "not a readable YAML file (late stands in it twice)"),
        ("late: &x a\nrefund: *x\n", "not a readable YAML file (references (*x) are not read)"),
        ("late: a: b\n", "not a readable YAML file (mapping values are not allowed here"),
    ],
)
def test_what_describes_no_label_or_not_all_is_refused(text, said, tmp_path):
    assert said in refused(written(tmp_path, text), ["late", "refund"])


def test_other_encodings_other_labels_and_missing_files_are_refused(tmp_path):
    assert "not a readable YAML file" in refused(written(tmp_path, "late: trop tard, désolé\n", "latin-1"), ["late"])
    assert "there is no such file" in refused(str(tmp_path / "none.yaml"), ["late"])
    assert "is no file" in refused(str(tmp_path), ["late"])
    many = [f"label {index}" for index in range(9)]
    assert (
        "does not describe label 0, label 1, label 2, label 3, label 4 and 4 more; it describes admiration"
        in refused("go_emotions", many)
    )
