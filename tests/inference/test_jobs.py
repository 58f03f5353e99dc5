"""Long jobs: killed and gone on with, in any format, with bad rows, and in little memory."""

import errno
import gzip
import json
import shutil
import signal

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from conftest import file_rows

import run_inference
from utils.console import InputError, one_sentence_errors
from utils.data.rows import read_rows
from utils.inference import jobs, label_rows
from utils.model.classifiers import EncoderClassifier, load_classifier

KINDS = (".jsonl", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".csv.zst")
KILLS = ("after 1", "after 4", "within 3", "joining", "joined")
BAD = {3: None, 40: "  ", 41: 5, 100: "x" * 1_000_001}  # row → a text that cannot be classified


@pytest.fixture(scope="module")
def comments(tmp_path_factory, demo):
    """103 rows: seven windows of 16, the last with 7. Some cannot be classified, one column begins empty."""
    path = tmp_path_factory.mktemp("comments") / "comments.jsonl"
    texts = list(demo["train"]["text"][:103])
    rows = [{"id": i, "text": BAD.get(i, text), "note": i / 2 if i > 20 else None} for i, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def arguments(finished_run, comments):
    return ["--model", str(finished_run), "--precision", "fp32", "--use_cpu", "--input_file", str(comments)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, arguments):
    """The output of uninterrupted runs, by kind."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        small_windows(patch)
        for kind in KINDS:
            assert run_inference.main([*arguments, "--output_file", str(folder / f"out{kind}")]) == 3
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory, job, arguments):
    """A folder for every kind and moment in which a run was killed then."""
    folder = tmp_path_factory.mktemp("killed")
    for kind in KINDS:
        for kill in KILLS:
            ended = job([*arguments, "--output_file", str(folder / kind / kill / f"out{kind}")], kill=kill)
            assert ended["statuses"] == [-signal.SIGKILL], ended["errors"]
    return folder


def small_windows(patch):
    patch.setattr(label_rows, "WINDOW", 16)
    patch.setattr(jobs, "WINDOW", 16)


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_job_goes_on_to_the_same_output(killed, whole, arguments, kind, kill, tmp_path, monkeypatch, capsys):
    small_windows(monkeypatch)
    output = shutil.copytree(killed / kind / kill, tmp_path / "left") / f"out{kind}"
    finished = {"after 1": 1, "after 4": 4, "within 3": 2}.get(kill, 7)
    assert len(list(output.with_name(f"{output.name}.parts").glob(f"part-*{kind}"))) == finished
    classified = []
    predict = EncoderClassifier.probabilities
    monkeypatch.setattr(
        EncoderClassifier,
        "probabilities",
        lambda self, encoded, progress: (
            classified.append(len(encoded["input_ids"])) or predict(self, encoded, progress)
        ),
    )
    assert run_inference.main([*arguments, "--output_file", str(output), "--resume"]) == 3
    assert len(classified) == 7 - finished  # what was done is not done again
    if kind == ".parquet":
        assert pyarrow.parquet.read_table(output).equals(pyarrow.parquet.read_table(whole / output.name))
    else:
        assert output.read_bytes() == (whole / output.name).read_bytes()
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1] == "4 row(s) could not be classified"  # those before the kill included
    assert f"{min(103, 16 * finished)} rows were finished before" in errors[0]
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_every_row_once_in_order_and_in_every_format(whole, comments):
    given = [json.loads(line) for line in comments.read_text().splitlines()]
    expected = file_rows(whole / "out.jsonl")
    assert [{key: row[key] for key in given[0]} for row in expected] == given
    assert [i for i, row in enumerate(expected) if not row["labels"] and i in BAD] == list(BAD)
    for kind in KINDS[1:]:
        rows = file_rows(whole / f"out{kind}")
        assert [str(row["id"]) for row in rows] == [str(row["id"]) for row in given]
        labels = [row["labels"] if isinstance(row["labels"], list) else row["labels"].split(",") for row in rows]
        assert [label or [""] for label in labels] == [row["labels"] or [""] for row in expected]
    with gzip.open(whole / "out.jsonl.gz") as file:
        assert file.read() == (whole / "out.jsonl").read_bytes()
    schema = pyarrow.parquet.read_schema(whole / "out.parquet")
    assert [str(field.type) for field in schema][:3] == ["int64", "string", "double"]
    assert pyarrow.parquet.read_metadata(whole / "out.parquet").num_row_groups == 1


def test_several_processes_are_sent_to_run_corpus(job, arguments, tmp_path):
    ended = job([*arguments, "--output_file", str(tmp_path / "out.csv")], processes=2)
    assert ended["statuses"] == [2, 2]
    said = "A launcher has started 2 processes, and this script is one; start it without one, or share files"
    assert ended["errors"].count(said) == 1
    assert "run_corpus.py" in ended["errors"]
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_finished_parts(whole, arguments, tmp_path, monkeypatch, capsys):
    small_windows(monkeypatch)
    output = tmp_path / "out.jsonl"
    arguments = [*arguments, "--output_file", str(output)]
    with monkeypatch.context() as patch:
        written = []

        def full(descriptor):
            written.append(descriptor)
            if len(written) == 5:  # the manifest was the first
                raise OSError(errno.ENOSPC, "No space left on device", "out.jsonl")

        patch.setattr("os.fsync", full)
        with pytest.raises(SystemExit) as left, one_sentence_errors():
            run_inference.main(arguments)
    assert left.value.code == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1].startswith("error: No space left on device: out.jsonl")
    assert errors[-2] == "3 finished part(s) are kept; the same command with --resume goes on."
    assert not output.exists()
    assert run_inference.main([*arguments, "--resume"]) == 3
    assert output.read_bytes() == (whole / "out.jsonl").read_bytes()


def test_parts_of_another_job_are_not_added_to(killed, comments, finished_run, baseline_run, tmp_path, monkeypatch):
    small_windows(monkeypatch)
    output = shutil.copytree(killed / ".csv" / "after 4", tmp_path / "left") / "out.csv"
    copy = shutil.copy(comments, tmp_path / "comments.jsonl")

    def refused(*options, model=finished_run):
        start = ["--model", str(model), "--precision", "fp32", "--input_file", str(copy), "--output_file", str(output)]
        with pytest.raises(InputError) as caught:
            run_inference.main([*start, *options])
        return str(caught.value)

    assert "holds 4 finished part(s) of an earlier run; go on with it (--resume), or start again (--overw" in refused()
    assert "its threshold was None, now it is 0.3" in refused("--resume", "--threshold", "0.3")
    assert "its neutral_alone was False, now it is True" in refused("--resume", "--neutral_alone")
    assert "its precision was fp32, now it is bf16" in refused("--resume", "--precision", "bf16")
    assert "its model had other content" in refused("--resume", model=baseline_run)
    with copy.open("a") as file:
        file.write('{"text": "one more"}\n')
    assert "its input had other content" in refused("--resume")
    with pytest.raises(InputError, match="--resume needs --input_file and --output_file"):
        run_inference.main(["--model", str(finished_run), "hello", "--resume"])


def test_resume_without_anything_to_resume_starts(arguments, tmp_path, whole, monkeypatch, capsys):
    small_windows(monkeypatch)
    assert run_inference.main([*arguments, "--output_file", str(tmp_path / "out.tsv"), "--resume"]) == 3
    assert "this starts at the first row" in capsys.readouterr().err
    assert (tmp_path / "out.tsv").read_bytes() == (whole / "out.tsv").read_bytes()


def test_batches_and_windows_change_no_probability(finished_run, demo):
    classifier, _ = load_classifier(str(finished_run))
    texts = ["word " * 300, *demo["train"]["text"][:150]]
    expected = np.concatenate([classifier.predict([text]) for text in texts])
    for tokens, window in ((1, 1000), (64, 7), (1000, 100), (100_000, 7), (100_000, 1000)):
        classifier.batch_tokens = tokens
        found = [classifier.predict(texts[start : start + window]) for start in range(0, len(texts), window)]
        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5, rtol=0)


def test_a_file_of_bad_rows_does_not_bury_what_matters(finished_run, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text('{"text": null}\n' * 5000 + '{"text": "fine"}\n')
    arguments = ["--input_file", str(tmp_path / "in.jsonl"), "--output_file", str(tmp_path / "out.parquet")]
    assert run_inference.main(["--model", str(finished_run), *arguments]) == 3
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) < 30
    assert errors[0] == "not classified: in.jsonl line 1: the text is missing, not a string"
    assert errors[-1] == "5000 row(s) could not be classified"
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").num_rows == 5001


def test_broken_csv_costs_its_own_rows_alone(finished_run, tmp_path, capsys):
    lines = [
        "id,text",
        '1,"a quote that is never closed',
        "2,fine",
        '3,"two',
        'lines"',
        "4,too,many,cells",
        "5",
        '6,5" nail and "half" quoted',
        '7,"quoted" and on',
        "8,a bare \r in it",
        '9,"last one open',
    ]
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    rows = file_rows(tmp_path / "in.csv")
    assert [row["id"] for row in rows] == [*"1234567", None, "9"]
    assert rows[2]["text"] == "two\nlines"
    assert rows[5]["text"] == '5" nail and "half" quoted'
    arguments = ["--input_file", str(tmp_path / "in.csv"), "--output_file", str(tmp_path / "out.csv")]
    assert run_inference.main(["--model", str(finished_run), "--at_least_one", *arguments]) == 3
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1] == "5 row(s) could not be classified"
    for number, words in {2: "not CSV", 6: "4 column(s)", 7: "1 column(s)", 10: "not CSV", 11: "not CSV"}.items():
        assert any(f"in.csv line {number}: {words}" in line for line in errors), (number, errors)


def test_a_quote_left_open_gives_back_every_line_it_took(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.data.rows.MAX_LINES", 3)
    lines = ["id,text", *(f'{i},"open' if i in (2, 3, 7) else f"{i},fine" for i in range(12))]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    found = list(read_rows(tmp_path / "in.csv"))
    assert [row.cells["id"] for row in found] == [str(i) for i in range(12)]
    assert [i for i, row in enumerate(found) if row.problem] == [2, 3, 7]


@pytest.mark.parametrize("source", [".txt.gz", ".jsonl.zst", ".csv.gz", ".tsv.zst"])
def test_compressed_input(finished_run, tmp_path, source):
    line = {".txt": "so happy", ".jsonl": '{"text": "so happy"}'}.get(source[:-3].rstrip("."), "text\nso happy")
    given = tmp_path / f"in{source}"
    content = pyarrow.Codec({"gz": "gzip", "zst": "zstd"}[source.split(".")[-1]]).compress(line.encode(), asbytes=True)
    given.write_bytes(content)
    arguments = ["--model", str(finished_run), "--input_file", str(given), "--output_file", str(tmp_path / "out.jsonl")]
    assert run_inference.main(arguments) == 0
    assert file_rows(tmp_path / "out.jsonl")[0]["text"] == "so happy"
    for broken in (content[:-5], b"never compressed\n"):
        given.write_bytes(broken)
        with pytest.raises(InputError, match="the compressed file is broken or cut short"):
            run_inference.main([*arguments, "--overwrite_output"])


def test_parquet_keeps_its_types(finished_run, tmp_path):
    table = pyarrow.table(
        {
            "when": pyarrow.array([1, None], pyarrow.timestamp("ns", "UTC")),
            "price": pyarrow.array(["1.20", None]).cast(pyarrow.decimal128(5, 2)),
            "kind": pyarrow.array(["a", "b"]).dictionary_encode(),
            "pair": pyarrow.array([{"x": 1, "y": None}, None]),
            "raw": pyarrow.array([b"\x00\xff", None]),
            "small": pyarrow.array([1, 2], pyarrow.int8()),
            "nothing": pyarrow.nulls(2),
            "text": ["so happy", None],
            "labels": [[1], []],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    arguments = ["--input_file", str(tmp_path / "in.parquet"), "--output_file", str(tmp_path / "out.parquet")]
    assert run_inference.main(["--model", str(finished_run), *arguments]) == 3
    written = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    kept = written.drop_columns(["labels", "scores"]).rename_columns({"input_labels": "labels"})
    assert kept.equals(pyarrow.parquet.read_table(tmp_path / "in.parquet"))


def test_json_columns_of_several_types_become_one(finished_run, tmp_path):
    rows = [
        {"text": "fine", "n": 1, "m": 1, "o": {}, "s": "\ud800", "big": 1},
        {"text": 5, "n": 2.5, "m": "two", "o": {}, "new": [1], "big": 10**30},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--input_file", str(tmp_path / "in.jsonl"), "--output_file", str(tmp_path / "out.parquet")]
    assert run_inference.main(["--model", str(finished_run), *arguments]) == 3
    written = pyarrow.parquet.read_table(tmp_path / "out.parquet").drop_columns(["labels", "scores"]).to_pydict()
    assert written == {"text": ["fine", "5"], "n": [1.0, 2.5], "m": ["1", "two"], "o": ["{}", "{}"], "s": ["?", None],
                       "new": [None, [1]], "big": ["1", str(10**30)]}  # fmt: skip


def test_memory_does_not_grow_with_the_file(job, finished_run, tmp_path):
    arguments = ["--model", str(finished_run), "--precision", "fp32", "--output_file", str(tmp_path / "out.jsonl"),
                 "--overwrite_output"]  # fmt: skip
    sizes = (2048, 20_480)
    for rows in sizes:
        with (tmp_path / f"{rows}.jsonl").open("w") as file:
            file.writelines(json.dumps({"text": f"so happy {i}", "note": f"{i} " * 800}) + "\n" for i in range(rows))
    ended = [job([*arguments, "--input_file", str(tmp_path / f"{rows}.jsonl")], window=512) for rows in sizes]
    assert [end["statuses"] for end in ended] == [[0], [0]]
    small, large = (end["kilobytes"] for end in ended)
    assert (tmp_path / "out.jsonl").stat().st_size > 80_000_000
    assert large - small < 30_000
