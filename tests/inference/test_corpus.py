"""run_corpus.py: the rows of run_inference.py over many files, whatever is killed, broken or started twice."""

import io
import json
import os
import re
import shutil
import signal
import stat
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from conftest import ROOT, file_rows, jobs, run_python, write_rows
from hub_server import Repo, serve

import run_corpus
from utils.console import InputError
from utils.inference import executors
from utils.inference.corpus import output_name

FILES = ("a.csv.gz", "b/c.jsonl", "d.parquet", "e.tsv", "f.jsonl.zst", "g.txt")
MOMENTS = ("reading", "writing", "written", "reported", "marked")
RECIPES = sorted((ROOT / "recipes" / "corpus").glob("*.yaml"))


@pytest.fixture(scope="module")
def comments(tmp_path_factory, demo):
    """A folder with files of every kind, 40 rows each, whose columns have the names that datatrove keeps for itself."""
    folder = tmp_path_factory.mktemp("comments")
    (folder / "b").mkdir()
    texts = iter(demo["train"]["text"])
    for name in FILES:
        rows = [
            {"id": f"{name} {i}", "text": next(texts), "metadata": "m", "labels": "old", "media": "none",
             "token_count": "many", "file_path": "mine"}
            for i in range(40)
        ]  # fmt: skip
        if name.endswith(".parquet"):
            rows = [row | {"n": i, "metadata": {"deep": [i]}} for i, row in enumerate(rows)]
        if name == "g.txt":
            (folder / name).write_text("".join(row["text"] + "\n" for row in rows))
        else:
            write_rows(folder / name, rows)
    broken = folder / "b" / "c.jsonl"
    lines = broken.read_text().splitlines()
    lines[3], lines[20] = "{broken", json.dumps({"id": 1, "text": None, "n": 2**60})
    broken.write_text("\n".join(lines) + "\n")
    (folder / "README.md").write_text("not a table")
    return folder


@pytest.fixture(scope="module")
def arguments(finished_run, comments):
    return ["--model", str(finished_run), "--precision", "fp32", "--use_cpu", "--input", str(comments), "--workers",
            "2"]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory, job, arguments):
    """The output of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("corpus") / "whole"
    ended = job([*arguments, "--output", str(folder)], script="run_corpus")
    assert ended["statuses"] == [3], ended["errors"]
    (folder / "said").write_text(ended["errors"])
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(output: Path) -> dict[str, list[dict]]:
    return {str(path.relative_to(output)): file_rows(path) for path in (output / "data").rglob("*.*")}


def test_every_file_is_what_run_inference_makes_of_it(job, whole, comments, arguments, tmp_path):
    assert sorted(contents(whole / "data")) == sorted(output_name(name, None) for name in FILES)
    for name in FILES:
        output = tmp_path / output_name(Path(name).name, None)
        ended = job([*arguments[:5], "--input_file", str(comments / name), "--output_file", str(output)])
        assert ended["statuses"] in ([0], [3]), ended["errors"]
        assert (whole / "data" / output_name(name, None)).read_bytes() == output.read_bytes(), name
    rows = file_rows(whole / "data" / "d.parquet")
    assert [row["metadata"] for row in rows] == [{"deep": [i]} for i in range(40)]
    assert {row["input_labels"] for row in rows} == {"old"}
    assert isinstance(rows[0]["labels"], list)


def test_bad_rows_are_kept_counted_and_listed(whole):
    rows = [json.loads(line) for line in (whole / "data" / "b" / "c.jsonl").read_text().splitlines()]
    assert len(rows) == 40
    assert [i for i, row in enumerate(rows) if not row["scores"] and i in (3, 20)] == [3, 20]
    assert (rows[20]["n"], rows[20]["id"]) == (2**60, 1)
    listed = [json.loads(line) for line in (whole / "unclassified.jsonl").read_text().splitlines()]
    assert [(row["file"], row["problem"].split(":")[0]) for row in listed] == [
        ("b/c.jsonl", "line 4"),
        ("b/c.jsonl", "line 21"),
    ]
    said = (whole / "said").read_text().splitlines()
    assert said[-1] == "2 row(s) could not be classified"
    assert "1 other file(s)" in said[0]
    assert any(line.startswith("not classified: b/c.jsonl: line 21: the text is missing") for line in said)


def test_the_manifest_says_what_the_rows_were_made_from_and_sums_up(whole, finished_run, comments):
    manifest = json.loads((whole / "manifest.json").read_text())
    labels = [label for path in (whole / "data").rglob("*.*") for row in file_rows(path) for label in row["labels"]
              if isinstance(row["labels"], list)]  # fmt: skip
    counts = manifest["results"]["labels"]
    assert manifest["results"]["rows"] == 240
    assert sum(counts.values()) >= len(labels) > 0
    assert manifest["precision"] == "fp32"
    assert set(manifest["thresholds"]) >= set(counts)
    assert manifest["packages"]["datatrove"]
    assert str(comments.parent) not in (whole / "manifest.json").read_text()
    assert manifest["model"]["name"] == finished_run.name


@pytest.mark.parametrize("who", ["worker", "launcher", "all"])
@pytest.mark.parametrize("when", MOMENTS)
def test_whatever_is_killed_the_second_start_ends_the_same(job, whole, arguments, tmp_path, who, when):
    output = tmp_path / "out"
    command = [*arguments, "--output", str(output)]
    killed = job(command, script="run_corpus", kill=f"{who} {when}")
    assert killed["statuses"] == [3 if who == "worker" else -signal.SIGKILL], killed["errors"]
    if who == "worker":
        assert "its process ended with signal 9 (often too little memory)" in killed["errors"] or when == "marked"
    marks = sorted((output / "logs" / "completions").glob("*"))
    written = {path: path.stat().st_mtime_ns for path in marks}
    ended = job(command, script="run_corpus")
    assert ended["statuses"] == [3], ended["errors"]
    assert f"{len(marks)} of 6 tasks were finished before" in ended["errors"]
    assert {path: path.stat().st_mtime_ns for path in marks} == written  # what was finished is not done again
    assert contents(output / "data") == contents(whole / "data")
    for name in ("manifest.json", "unclassified.jsonl"):
        assert (output / name).read_bytes() == (whole / name).read_bytes()
    assert not list(output.rglob("*.lock"))


def test_a_broken_file_fails_its_task_alone_and_is_done_when_it_is_mended(job, comments, arguments, whole, tmp_path):
    folder = shutil.copytree(comments, tmp_path / "in")
    good = {name: (folder / name).read_bytes() for name in ("a.csv.gz", "d.parquet")}
    (folder / "a.csv.gz").write_bytes(good["a.csv.gz"][:-300])
    (folder / "d.parquet").write_bytes(b"PAR1 and nothing more")
    write_rows(folder / "e.tsv", [{"comment": "so happy", "n": "1"}])
    command = [*arguments, "--input", str(folder), "--output", str(tmp_path / "out")]
    ended = job(command, script="run_corpus")
    assert ended["statuses"] == [3]
    assert "failed: a.csv.gz: the compressed file is broken or cut short" in ended["errors"]
    assert "failed: d.parquet: not a readable Parquet file" in ended["errors"]
    assert "failed: e.tsv: there is no column 'text' (it has comment, n)" in ended["errors"]
    assert "3 of 6 task(s) failed; the same command does them again." in ended["errors"]
    assert "Traceback" not in ended["errors"]
    assert sorted(contents(tmp_path / "out" / "data")) == ["b/c.jsonl", "f.jsonl.zst", "g.jsonl"]
    for name, content in (good | {"e.tsv": (comments / "e.tsv").read_bytes()}).items():
        (folder / name).write_bytes(content)
    ended = job(command, script="run_corpus")
    assert "3 of 6 tasks were finished before" in ended["errors"]
    assert ended["statuses"] == [3]
    assert contents(tmp_path / "out" / "data") == contents(whole / "data")
    write_rows(folder / "e.tsv", [{"text": "so happy"}])
    ended = job(command, script="run_corpus")
    assert ended["statuses"] == [2]
    assert "e.tsv has changed since its task was finished; give another --output" in ended["errors"]


def test_another_job_is_not_mixed_in(job, arguments, whole, comments, baseline_run, tmp_path):
    output = shutil.copytree(whole, tmp_path / "out")
    for options, words in (
        (["--threshold", "0.3"], "its thresholds was another"),
        (["--text_column", "id"], "its text_column was text, now it is id"),
        (["--output_format", "csv"], "its output_format was None, now it is csv"),
        (["--tasks", "3"], "its tasks was 6, now it is 3"),
        (["--model", str(baseline_run)], "its model was another"),
        (["--input_pattern", "*.csv.gz", "--tasks", "6"], "its input had 6 files, now other 1"),
    ):
        ended = job([*arguments, "--output", str(output), *options], script="run_corpus")
        assert ended["statuses"] == [2]
        assert words in ended["errors"]
    shutil.rmtree(output / "logs")
    ended = job([*arguments, "--output", str(output)], script="run_corpus")
    assert (
        "is not empty (data/a.csv.gz, data/b/c.jsonl, data/d.parquet, …), and the logs say nothing" in ended["errors"]
    )


def test_one_of_several_starts_at_once_does_it(job, arguments, whole, tmp_path):
    output = tmp_path / "out"
    ended = job([*arguments, "--output", str(output)], script="run_corpus", rivals=3)
    assert sorted(ended["statuses"])[:2] in ([2, 2], [2, 3])
    assert f"{output} is being written by process" in ended["errors"]
    assert contents(output / "data") == contents(whole / "data")


def test_one_format_for_all_and_every_probability(job, arguments, whole, tmp_path):
    output = tmp_path / "out"
    options = ["--output_format", "parquet", "--all_scores", "--neutral_alone", "--tasks", "2", "--output", str(output)]
    ended = job([*arguments, *options], script="run_corpus")
    assert ended["statuses"] == [3], ended["errors"]
    names = sorted(output_name(name, "parquet") for name in FILES)
    assert (
        sorted(contents(output / "data"))
        == names
        == ["a.parquet", "b/c.parquet", "d.parquet", "e.parquet", "f.parquet", "g.parquet"]
    )
    schema = pyarrow.parquet.read_schema(output / "data" / "d.parquet")
    assert schema.field("n").type == pyarrow.int64()
    assert len([name for name in schema.names if name.startswith("probability_")]) == 28
    for name in ("d.parquet", "b/c.jsonl"):
        before, after = (
            file_rows(folder / "data" / output_name(name, kind))
            for folder, kind in ((whole, None), (output, "parquet"))
        )
        expected = [
            [label for label in row["labels"] if label != "neutral" or row["labels"] == [label]] for row in before
        ]
        assert expected == [row["labels"] for row in after]
    assert json.loads((output / "manifest.json").read_text())["neutral_alone"] is True


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "IN/emotions"], "lies in the input"),
        (["--input", "nowhere"], "--input nowhere: there is no such folder."),
        (["--workers", "0"], "--workers is 0; accepted: 1 to 1000000."),
        (["--partition", "cpu"], "--partition is for --executor slurm, not for local."),
        (["--executor", "slurm", "--partition", "cpu"], "--executor slurm needs --time."),
        (["--executor", "ray"], "--precision auto asks the machine that starts the job"),
        (["--executor", "jobs", "--precision", "fp32"], "--executor jobs needs a --logging_dir that the jobs reach"),
        (["--output", "hf://datasets/user/out"], "--output on the Hub needs a --logging_dir elsewhere"),
        (["--worker", "2"], "--worker is not an argument; did you mean --workers?"),
        (["--threshold", "2"], "--threshold is 2.0; accepted: 0 to 1."),
        (["--input_pattern", "*.xlsx"], "holds no file that is read and matches *.xlsx"),
    ],
)
def test_wrong_arguments_are_a_sentence(comments, finished_run, options, words, tmp_path):
    base = ["--model", str(finished_run), "--input", str(comments), "--output", str(tmp_path / "out")]
    with pytest.raises(InputError) as caught:
        run_corpus.main([*base, *(option.replace("IN", str(comments)) for option in options)])
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_two_files_are_not_written_into_one(finished_run, tmp_path):
    (tmp_path / "in").mkdir()
    write_rows(tmp_path / "in" / "x.csv", [{"text": "a"}])
    write_rows(tmp_path / "in" / "x.jsonl", [{"text": "a"}])
    command = ["--model", str(finished_run), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    with pytest.raises(InputError, match=r"x\.csv and x\.jsonl would both become x\.parquet"):
        run_corpus.main([*command, "--output_format", "parquet"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_parses(path, comments, finished_run):
    places = ["--model", "user/m", "--input", "hf://datasets/a/b", "--output", "s3://b/out"]
    args = run_corpus.parse(["--config", str(path), *places])
    assert args.executor == path.stem


def test_a_recipe_is_checked(tmp_path):
    (tmp_path / "r.yaml").write_text("worker: 2\n")
    with pytest.raises(InputError, match="--worker is not an argument; did you mean --workers"):
        run_corpus.parse(["--config", str(tmp_path / "r.yaml")])
    (tmp_path / "r.yaml").write_text("use_cpu: maybe\n")
    with pytest.raises(InputError, match="use_cpu is 'maybe'; accepted: true or false"):
        run_corpus.parse(["--config", str(tmp_path / "r.yaml")])


def test_each_worker_takes_a_gpu(monkeypatch):
    taken = []
    for number in range(3):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
        executors._take_gpu(number)
        taken.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert taken == ["3", "5", "3"]


# --- the Hub ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub with a dataset, and jobs of a process that knows no other."""
    with serve() as running:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        environment |= {"HF_ENDPOINT": running.url, "HF_HOME": str(tmp_path_factory.mktemp("cache")),
                        "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "writer"}  # fmt: skip
        running.environment = environment
        with jobs(environment) as run:
            running.job = run
            yield running


def test_a_dataset_of_the_hub_becomes_another(hub, comments, whole, finished_run, tmp_path):
    hub.add_dataset("user/comments", {f"data/{name}": (comments / name).read_bytes() for name in FILES})
    command = ["--model", str(finished_run), "--precision", "fp32", "--use_cpu", "--workers", "2", "--tasks", "3",
               "--input", "hf://datasets/user/comments/data", "--output", "hf://datasets/user/emotions",
               "--logging_dir", str(tmp_path / "logs"), "--hub_private_repo"]  # fmt: skip
    hub.fail(r"POST /api/datasets/user/emotions/commit", 412, times=1,
             headers={"X-Error-Message": "A commit has happened since. Please refresh and try again."})  # fmt: skip
    ended = hub.job(command, script="run_corpus")
    assert ended["statuses"] == [3], ended["errors"]
    files = hub.files("user/emotions", kind="datasets")
    assert {name: content for name, content in files.items() if name.startswith("data/")} == {
        f"data/{name}": content for name, content in contents(whole / "data").items()
    }
    commits = [names for repo, names in hub.commits if repo == "user/emotions"]
    assert len(commits) == 4  # one for each task, one for the card
    assert hub.repos["datasets/user/emotions"].private
    card = files["README.md"].decode()
    assert "240 texts with the emotions that a model names in them" in card
    assert "data_files: data/**" in card
    assert str(tmp_path) not in card + files["manifest.json"].decode()
    assert "Bearer" not in card
    token = re.compile(r"\bwriter\b")
    assert not token.search("".join(path.read_text() for path in (tmp_path / "logs").rglob("*") if path.is_file()))


# --- clusters ---------------------------------------------------------------------------------------------------------

STUBS = {
    "sbatch": """#!{python}
import os, re, subprocess, sys
lines = [line for line in open(sys.argv[-1]) if line.startswith("#SBATCH --") and "=" in line]
options = dict(line[len("#SBATCH --"):].rstrip().split("=", 1) for line in lines)
first, last = map(int, re.match(r"(\\d+)-(\\d+)", options["array"]).groups())
print(open(sys.argv[-1]).read(), file=open({log!r}, "a"))
if "dependency" not in options:
    for index in range(first, last + 1):
        environment = os.environ | {{"SLURM_ARRAY_TASK_ID": str(index), "SLURM_NODELIST": "here", "RUN_OFFSET": "0"}}
        environment.pop("PYTHONPATH", None)
        subprocess.run(["bash", sys.argv[-1]], env=environment, stdout=subprocess.DEVNULL, stderr=open({log!r}, "a"))
print("Submitted batch job 77")
""",
    "srun": """#!/bin/bash
while [ "$1" != launch_pickled_pipeline ]; do shift; done
exec "$@"
""",
    "scontrol": "#!/bin/bash\necho here\n",
    "squeue": "#!/bin/bash\ncat {queue}\n",
}


def test_slurm_runs_the_script_that_is_sent_to_it(arguments, whole, tmp_path, monkeypatch):
    """With an sbatch that runs it on the spot."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "queue").write_text("")
    for name, content in STUBS.items():
        path = tmp_path / "bin" / name
        path.write_text(content.format(python=sys.executable, log=str(tmp_path / "log"), queue=tmp_path / "queue"))
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    command = ["--config", str(ROOT / "recipes" / "corpus" / "slurm.yaml"), *arguments, "--partition", "cpu",
               "--tasks_per_job", "3", "--cpus_per_task", "1", "--output", str(tmp_path / "out")]  # fmt: skip
    assert run_corpus.main(command) == 3
    script = (tmp_path / "log").read_text()
    assert "#SBATCH --array=0-1%2" in script
    assert "#SBATCH --partition=cpu" in script
    assert rows_of(tmp_path / "out") == rows_of(whole)
    report = json.loads((tmp_path / "out" / "manifest.json").read_text())["results"]
    assert report == json.loads((whole / "manifest.json").read_text())["results"]
    (tmp_path / "queue").write_text("77 cpu emotions R")
    with pytest.raises(InputError, match="Slurm's job 77 is at this: 6 tasks are finished"):
        run_corpus.main(command)


JOBS = """
import os, subprocess, sys
from types import SimpleNamespace
import huggingface_hub
from datatrove.executor import jobs
import run_corpus

def run_uv_job(script, script_args, env, **options):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | env
    subprocess.run([sys.executable, script, *script_args], env=environment, cwd="/", check=True, capture_output=True)
    return SimpleNamespace(id="job", url="there")

huggingface_hub.run_uv_job = run_uv_job
huggingface_hub.inspect_job = lambda **_: SimpleNamespace(status=SimpleNamespace(stage="COMPLETED"))
jobs.time = SimpleNamespace(sleep=lambda seconds: None)
sys.exit(run_corpus.main(sys.argv[1:]))
"""


def test_a_job_of_the_hub_brings_its_code_along(hub, comments, finished_run, whole):
    """With jobs that run on the spot, without this project in their path."""
    hub.add_dataset("user/some", {f"{name}": (comments / name).read_bytes() for name in ("d.parquet", "e.tsv")})
    hub.repos["models/user/m"] = repo = Repo()
    repo.commit(
        "main", {name: content for name, content in contents(finished_run).items() if "checkpoints" not in name}
    )
    places = ["--input", "hf://datasets/user/some", "--output", "hf://datasets/user/done",
              "--logging_dir", "hf://datasets/user/logs"]  # fmt: skip
    recipe = ["--config", "recipes/corpus/jobs.yaml", "--model", "user/m", "--use_cpu"]
    done = run_python("-c", JOBS, *recipe, *places, env=hub.environment)
    assert done.returncode == 0, done.stderr[-3000:]
    files = hub.files("user/done", kind="datasets")
    assert {"data/d.parquet", "data/e.parquet", "manifest.json", "README.md"} <= files.keys()
    labelled = pyarrow.parquet.read_table(io.BytesIO(files["data/d.parquet"])).to_pylist()
    assert labelled == file_rows(whole / "data" / "d.parquet")
    manifest = json.loads(files["manifest.json"])
    assert manifest["model"]["revision"] == repo.branches["main"]
    assert f"at revision `{repo.branches['main']}`" in files["README.md"].decode()


def test_ray_goes_on_without_a_node_that_was_killed(arguments, whole, tmp_path):
    """A cluster of two nodes on this machine, one of which ends in the middle."""
    pytest.importorskip("ray", reason="Ray is not installed (pip install ray)")
    done = run_python("tests/inference/ray_cluster.py", *arguments, "--output", tmp_path / "out", timeout=600)
    assert done.returncode == 3, done.stderr[-3000:]
    assert "a node was killed" in done.stderr
    assert rows_of(tmp_path / "out") == rows_of(whole)
