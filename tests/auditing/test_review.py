"""report.html: whole in itself, deaf to what texts and names say, and used in a real browser with keys alone."""

import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
import statistics
import subprocess
from html.parser import HTMLParser

import pytest
from conftest import ROOT

from utils.arguments import DataArguments
from utils.auditing.review import review_page
from utils.data.corrections import COLUMNS, labels_cell
from utils.data.labels import GO_EMOTIONS
from utils.data.splits import label_names, load_splits

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NAMES = [
    "a,b", "joy", "anger", "[x]", '"quoted"', "</script><img src=x onerror=globalThis.ran=1>", "=1+1", "two\nlines",
    "x\u2028y\u202ez", "é", "<b>&amp;</b>", "{{data}}", *(f"name {i}" for i in range(8)),
]  # fmt: skip
TEXTS = [
    "</script><script>globalThis.ran=2</script>", "<img src=x onerror=globalThis.ran=3>", "<!-- <script>", "@x",
    '=HYPERLINK("http://example.org")', "-1+1", "a\r\nb\rc\n", "\u2028 \u2029x", "\u202eevil\u202c \u2066x",
    "\x00\x07\x1b[31m",    'say "no"; a, b | c\td', "'", " blanks around ",
    "\ufeffbom", "{{data}} {{title}} $& \\u003c \\", "&lt;b&gt; &amp; ]]>",
    "😀 日本 naïve", "long " * 300,
]  # fmt: skip
FEW = ["anger", "joy"]
TITLE = "<b>Doubts</b> in {{data}} \u202e"
SUMMARY = ["An estimated 12 % of <i>labels</i> are wrong.", "{{script}}"]


def suspect(row, names, label, kind, after, **numbers):
    split, place, text, given = row
    return {
        "split": split, "place": place, "text": text, "labels": labels_cell(given, names), "label": label, "kind": kind,
        "score": 0.9, "probability": 0.02, "judge": "", "predicted": labels_cell(after[:1], names),
        "corrected_labels": labels_cell(after, names),
    } | numbers  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A dataset with hostile texts and names."""
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "validation"):
        rows = [{"text": text, "labels": [NAMES[i], NAMES[-1 - i]]} for i, text in enumerate(TEXTS)]
        rows += [{"text": "all", "labels": NAMES}]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def rows(data):
    """Split, place, text and names of each training row, and all names."""
    train = load_splits(DataArguments(str(data)))["train"]
    names = train.features["labels"].feature.names
    cells = zip(train["place"], train["text"], train["labels"], strict=True)
    return [("train", place, text, [names[i] for i in ids]) for place, text, ids in cells], names


@pytest.fixture(scope="module")
def suspects(rows):
    """The first label of each row is doubted, and of the first row one that is missing as well, at the very end."""
    table, names = rows
    found = [suspect(row, names, row[3][0], "wrong", row[3][1:], judge=0.1) for row in table[: len(TEXTS)]]
    _, _, _, given = table[0]
    return [*found, suspect(table[0], names, "joy", "missing", [*given, "joy"], probability=0.97)]


def plain_suspects():
    """Suspects as of GoEmotions, for the looks."""
    texts = [
        "Damn, that was one hell of a good game. I could watch the last two minutes all day.",
        "Oh great, another Monday. Just what I needed.",
        "[NAME] really said that? In front of everyone?",
        "I don't even know what to say. " * 12,
    ]
    found = []
    for number, text in enumerate(texts * 4):
        row = ("train", f"train.tsv line {17 + 311 * number}", text, ["anger", "annoyance"][: 1 + number % 2])
        found.append(suspect(row, GO_EMOTIONS, "anger", "wrong", row[3][1:], judge=0.11 if number % 2 else None))
        if number % 3 == 0:
            after = [*row[3], "excitement"]
            found.append(suspect(row, GO_EMOTIONS, "excitement", "missing", after, probability=0.94, judge=0.87))
    return found


def many_suspects():
    names = [f"label {i} of a taxonomy" for i in range(1000)]
    found = []
    for number in range(1000):
        row = ("train", f"train.csv line {number}", f"{number} " + "a long text of many words " * 80, [names[number]])
        found.append(suspect(row, names, names[number], "wrong", [names[-1 - number]]))
    return found, names


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


class Page(HTMLParser):
    """The elements of a page, and the content of those that are not for people."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self.raw, self.texts, self.of = [], {}, [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.of = tag, dict(attrs).get("type")

    def handle_endtag(self, tag):
        self.of = None

    def handle_data(self, data):
        self.raw[self.of] = self.raw.get(self.of, "") + data
        self.texts.append(data)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_page_holds_texts_and_names_as_data_and_nothing_else(suspects, rows):
    page = review_page(suspects, rows[1], SUMMARY, TITLE)
    parsed = Page(page)
    empty = Page(review_page([], ["joy"], ["a", "b"], "c"))
    assert [tag for tag, _ in parsed.elements] == [tag for tag, _ in empty.elements]
    assert page.isascii() or not set(re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", page))
    assert "<b>Doubts</b> in {{data}} \\u202e" in parsed.texts
    assert {"An estimated 12 % of <i>labels</i> are wrong.", "{{script}}"} <= set(parsed.texts)
    found = data_of(page)
    assert found["names"] == rows[1]
    assert [item["text"] for item in found["items"]] == TEXTS
    assert found["lists"] is True


def test_nothing_is_fetched_and_only_the_pages_own_code_runs(suspects, rows):
    page = review_page(suspects, rows[1], SUMMARY, TITLE)
    parsed = Page(page)
    named = {name for _, attributes in parsed.elements for name in attributes}
    assert not named & {
        "src",
        "href",
        "srcset",
        "action",
        "data",
        "style",
        "onclick",
        "onload",
        "onerror",
        "background",
    }
    assert not {tag for tag, _ in parsed.elements} & {"link", "img", "iframe", "object", "embed", "base", "form"}
    policy = next(
        attributes["content"] for tag, attributes in parsed.elements if "Policy" in attributes.get("http-equiv", "")
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["require-trusted-types-for"] == "'script'"
    for kind, key in (("script-src", ("script", None)), ("style-src", ("style", None))):
        content = parsed.raw[key]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"
        assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp|sendBeacon|WebSocket|innerHTML|eval\(", content)


def test_pairs_of_one_row_stand_together_and_are_accepted_together(rows):
    names = ["joy", "anger", "love", "fear"]
    first, second = ("train", "a line 1", "one", ["joy", "anger"]), ("train", "a line 1", "two", ["joy"])
    found = data_of(review_page(
        [
            suspect(first, names, "joy", "wrong", ["anger"], judge=float("nan"), probability=None),
            suspect(second, names, "joy", "wrong", []),
            suspect(first, names, "love", "missing", ["joy", "anger", "love"], judge="0.5"),
            suspect(first, names, "fear", "missing", ["joy", "anger", "fear"]) | {"labels": ["joy", "anger"]},
        ],
        names, [], "t",
    ))  # fmt: skip
    one, two = found["items"]
    assert (one["text"], one["given"], one["corrected"]) == ("one", [0, 1], [1, 2, 3])
    assert [doubt["label"] for doubt in one["doubts"]] == [0, 2, 3]
    assert one["doubts"][0] == {"label": 0, "kind": "wrong", "score": 0.9, "probability": None, "judge": None}
    assert one["doubts"][1]["judge"] == 0.5
    assert (two["given"], two["corrected"]) == ([0], [])
    assert found["lists"] is False
    with pytest.raises(ValueError, match="unknown label 'hope'"):
        review_page([suspect(first, names, "joy", "wrong", []) | {"corrected_labels": "hope"}], names, [], "t")


def test_what_is_kept_in_a_browser_belongs_to_these_suspects(suspects, rows):
    page = data_of(review_page(suspects, rows[1], [], "a"))
    assert page["digest"] == data_of(review_page(suspects, rows[1], ["more"], "b"))["digest"]
    assert page["digest"] != data_of(review_page(suspects[1:], rows[1], [], "a"))["digest"]


# --- in a browser -----------------------------------------------------------------------------------------------------


def as_csv(lines, columns, encoding="utf-8", **options):
    file = io.StringIO(newline="")
    csv.writer(file, **options).writerows([columns, *([line.get(column, "") for column in columns] for line in lines)])
    return base64.b64encode(file.getvalue().encode(encoding)).decode()


@pytest.fixture(scope="module")
def lines(rows):
    """An earlier corrections.csv: the third row kept, the fourth corrected, and one of another report."""
    table, names = rows
    cells = [
        {"split": split, "place": place, "text": text, "labels": labels_cell(given, names)}
        for split, place, text, given in table[2:4]
    ]
    cells[0] |= {"corrected_labels": cells[0]["labels"], "verdict": "keep"}
    cells[1] |= {"corrected_labels": labels_cell(["two\nlines", "a,b"], names), "verdict": "edit"}
    _, place, text, given = table[-1]
    other = {"split": "train", "place": place, "text": text, "labels": labels_cell(given, names), "verdict": "edit",
             "corrected_labels": labels_cell(["joy"], names)}  # fmt: skip
    return [*cells, other]


@pytest.fixture(scope="module")
def seen(suspects, rows, lines, tmp_path_factory):
    """What a reviewer sees in Chromium, see tests/review_page.mjs."""
    if not (
        shutil.which("node")
        and all((ROOT / "node_modules" / name).is_dir() for name in ("playwright-core", "axe-core"))
    ):
        pytest.skip("Node, playwright-core or axe-core is not installed: `make node` does it")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    folder = tmp_path_factory.mktemp("pages")
    many, labels = many_suspects()
    pages = {
        "hostile": review_page(suspects, rows[1], SUMMARY, TITLE),
        "plain": review_page(plain_suspects(), GO_EMOTIONS, [
            "Of 43,410 training rows, 16 have a label in doubt.",
            "An estimated 9 % of the labels given are wrong (7 to 11 %), and 6 % are missing (4 to 8 %).",
        ], "Labels in doubt: GoEmotions"),
        "many": review_page(many, labels, SUMMARY, TITLE),
        "few": review_page([suspect(("train", "a line 2", "so", ["joy"]), FEW, "joy", "wrong", [])], FEW, [], "t"),
    }  # fmt: skip
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    everything, shuffled = (*COLUMNS, "verdict"), ("corrected_labels", "text", "labels", "place", "split")
    files = {
        "own": as_csv(lines[:2], everything),
        "spreadsheet": as_csv(lines[:2], shuffled, "utf-8-sig", delimiter=";", lineterminator="\n"),
        "utf16": as_csv(lines[:2], everything, "utf-16", delimiter="\t"),
        "mixed": as_csv(lines, everything),
        "strange": as_csv(lines[2:], everything),
        "none": base64.b64encode(b"hello\n").decode(),
    }
    order = {
        "pages": {name: str(folder / f"{name}.html") for name in pages}, "chromium": CHROMIUM, "typed": "TWO",
        "files": files, "pictures": os.environ.get("REVIEW_PICTURES"),
    }  # fmt: skip
    command = ["node", str(ROOT / "tests" / "review_page.mjs"), json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def corrected(data, content, path):
    path.write_text(content, encoding="utf-8", newline="")
    splits = load_splits(DataArguments(str(data), corrections=[str(path)]))
    names = label_names(splits)
    return [[names[i] for i in ids] for ids in splits["train"]["labels"]], splits.corrections[0]["train"]


def test_nothing_goes_wrong_and_nothing_leaves_the_page(seen):
    for check, found in seen.items():
        assert found.get("complaints", []) == [], check
        assert found.get("violations", []) == [], check
        for url in found.get("asked", []):
            assert url.startswith(("file:", "blob:")), url


def test_keys_alone_review_and_the_saved_file_is_applied_as_chosen(seen, rows, data, tmp_path):
    keys, table = seen["keyboard"], rows[0]
    assert "is given, but the model sees 0.02, and the judges see 0.10 (suspicion 0.90)" in keys["first"]
    assert "joy is not given, but the model sees 0.97 (suspicion 0.90)" in keys["first"]
    assert keys["said"][0].startswith(f"Accepted. 1 of {len(TEXTS)} rows done. Row 2: ")
    assert keys["skipped"] == f"2 of {len(TEXTS)} rows done: 1 accepted, 0 edited, 1 kept; 1 skipped"
    assert keys["offered"] == ["two\nlines"]
    assert keys["after"] == {"at": "edit", "outline": "solid"}
    assert keys["before"].startswith(f"4 of {len(TEXTS)} rows done: 2 accepted, 1 edited, 1 kept")
    assert keys["taken"].startswith(f"3 of {len(TEXTS)} rows done: 1 accepted, 1 edited, 1 kept")
    assert keys["back"].startswith(f"Row 5 of {len(TEXTS)} · {table[4][1]}, train")
    assert keys["moved"].startswith("Row 4 of")
    assert (keys["name"], keys["said"][1]) == ("corrections.csv", "Saved: 3 rows in corrections.csv.")

    expected = [given for *_, given in table]
    edited = [*expected[3][1:], "two\nlines"]
    expected[0], expected[3] = [*expected[0][1:], "joy"], edited
    found, counts = corrected(data, keys["content"], tmp_path / "c.csv")
    assert [set(labels) for labels in found] == [set(labels) for labels in expected]
    assert counts == {"corrected": 2, "removed": 2, "added": 2, "kept": 1}
    assert keys["content"].startswith("\ufeffsplit,place,text,labels,corrected_labels,verdict\r\n")

    assert keys["reloaded"].startswith(f"3 of {len(TEXTS)} rows done: 2 accepted, 0 edited, 1 kept; 1 skipped")
    assert keys["dialogs"] == ["beforeunload"]  # not after everything had been saved
    expected[3] = expected[3][:-1]
    assert corrected(data, keys["again"], tmp_path / "d.csv")[0] == expected


def test_texts_and_names_stay_text_and_come_back_as_they_are(seen, rows, data, tmp_path):
    found = seen["hostile"]
    assert (found["elements"], found["ran"], found["sinks"], found["scripts"]) == (0, None, "TypeError", 2)
    assert found["title"] == "<b>Doubts</b> in {{data}} \\u202e"
    assert found["at"] == "where"
    labels, counts = corrected(data, found["content"], tmp_path / "c.csv")
    assert labels == [given for *_, given in rows[0]]
    assert counts["kept"] == len(TEXTS)
    for text in TEXTS[:6]:
        assert text in found["texts"]
    assert {"a\nb\nc\n", "\\u0000\\u0007\\u001b[31m", "\\u202eevil\\u202c \\u2066x"} <= set(found["texts"])
    assert {name.replace("\u2028", "\\u2028").replace("\u202e", "\\u202e") for name in rows[1]} == set(found["labels"])


def test_an_earlier_file_is_gone_on_with(seen, rows, lines, data, tmp_path):
    files = seen["files"]
    for name in ("own", "spreadsheet", "utf16"):
        assert files[name]["said"] == f"{name}.csv: 2 verdicts taken over. 2 of {len(TEXTS)} rows done."
        assert files[name]["counts"] == files["dropped"] == f"2 of {len(TEXTS)} rows done: 0 accepted, 1 edited, 1 kept"
        labels, counts = corrected(data, files[name]["content"], tmp_path / "c.csv")
        assert set(labels[3]) == {"two\nlines", "a,b"}
        assert counts["kept"] == 1
    assert (
        "2 verdicts taken over. 1 of its rows are not in this report and stay in what is saved."
        in files["mixed"]["said"]
    )
    assert corrected(data, files["mixed"]["content"], tmp_path / "c.csv")[0][-1] == ["joy"]
    assert files["strange"]["said"] == "strange.csv was not made from this report: none of its rows is here."
    assert files["none"]["said"].startswith("none.csv is no file of corrections: it has no column split, place")


def test_rows_are_shown_by_label_kind_and_verdict(seen):
    found = seen["filters"]
    assert found["all"] == "0 of 16 rows done: 0 accepted, 0 edited, 0 kept"
    assert found["missing"].endswith("; 6 shown")
    assert "missing" in found["missing doubts"]
    assert not found["wrong"].endswith("shown")  # each row has one
    assert found["label"][0] == "anger"
    assert "anger is given, but the model sees 0.02" in found["label"][1]
    assert found["open"][0].startswith("Row 2 of 16")
    assert found["open"][1].endswith("15 shown")
    assert found["done"][0].startswith("Row 1 of 16")
    assert found["done"][1].startswith("Accepted: ")
    assert found["none"] == "No row is like that."
    assert found["off"].startswith("1 of 16 rows done")


def test_without_storage_the_review_goes_on_and_leaving_is_warned_of(seen):
    found = seen["unkept"]
    assert found["isAsked"]
    assert found["counts"].startswith("3 of 16 rows done: 2 accepted, 0 edited, 1 kept")
    assert found["reloaded"].startswith("0 of 16 rows done")
    assert found["dialogs"] == ["beforeunload"]


def test_few_labels_are_chosen_without_a_field(seen):
    found = seen["few"]
    assert (found["at"], found["isFound"]) == ({"at": "1", "outline": "solid"}, False)
    assert found["verdict"] == "Edited: angerjoy"  # anger comes, joy goes
    assert found["said"] == "Every row has a verdict. Save corrections.csv."


def test_the_order_of_focus_is_that_of_the_page_and_it_is_seen(seen):
    visited = seen["looks"]["visited"]
    assert [stop["at"] for stop in visited][2:] == [
        "accept", "edit", "keep", "skip", "back", "previous", "next", "label", "kind", "which", "save", "file",
    ]  # fmt: skip
    assert all(stop["outline"] == "solid" for stop in visited)


def test_it_is_read_on_any_screen_in_light_and_dark(seen):
    assert len(seen["looks"]["seen"]) == 6
    for look in seen["looks"]["seen"]:
        assert look["axe"] == [], look["name"]
        assert look["wide"] <= look["width"], look["name"]


def test_a_thousand_rows_and_labels_are_no_burden(seen):
    found = seen["many"]
    assert found["opened"] < 2
    assert statistics.median(found["waits"]) < 0.1 * 1000
    assert max(found["waits"]) < 0.25 * 1000  # on a machine that does other things as well
    assert found["counts"].startswith("5 of 1,000 rows done: 3 accepted, 0 edited, 2 kept")
