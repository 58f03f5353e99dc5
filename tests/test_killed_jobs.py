"""kill -9 at the moments in which a job touches its output: started again, it ends as it would have without it."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import run_python
from hub_server import serve
from skops import io as skops_io

import run_baseline
from utils.run_folder import BASELINE_FILE, PUBLISHED, RunFolder

EVERY = int(os.environ.get("EVERY_MOMENT", "0"))  # 1: each moment, in minutes rather than seconds


@pytest.fixture(scope="module")
def jobs(tmp_path_factory, finished_run, baseline_run, small_data, finetune_arguments):
    """The folder of killed_jobs.py's jobs, and the Hub that they pushed to."""
    scratch = tmp_path_factory.mktemp("jobs")
    rows = scratch / "in.txt"
    rows.write_text("".join(f"so happy {i}\n" for i in range(40)))
    run = shutil.copytree(finished_run, scratch / "run", ignore=shutil.ignore_patterns("checkpoints"))
    older = str(scratch / "older")
    data = ["--dataset_name", str(small_data), "--n_jobs", "1"]
    run_baseline.main([*data, "--max_features", "100", "--output_dir", older])
    model = ["--model", str(finished_run), "--precision", "fp32", "--use_cpu", "--input_file", str(rows)]
    overwrite, resume = ["--overwrite_output_dir"], ["--resume_from_checkpoint"]
    table = [
        ("inference", "run_inference", [*model, "--output_file", "{}/out.csv"], None, [], [["--resume"]], 3),
        ("baseline", "run_baseline", [*data, "--output_dir", "{}"], older, overwrite, [overwrite], 17),
        ("training", "run_finetune", [*finetune_arguments, "--max_steps", "4", "--fold_thresholds", "false",
         "--output_dir", "{}"], older, overwrite, [resume, overwrite], 29),
        ("push", "run_push", ["{}", "--hub_model_id", "emotions-{moment}", "--fold_thresholds", "false"], str(run),
         [], [[]], 9),
    ]  # fmt: skip
    keys = ("name", "script", "arguments", "begin", "options", "again", "every")
    described = [dict(zip(keys, job, strict=True)) | ({"every": EVERY} if EVERY else {}) for job in table]
    (scratch / "jobs.json").write_text(json.dumps(described))
    with serve() as hub:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        environment |= {
            "HF_ENDPOINT": hub.url, "HF_HOME": str(scratch / "cache"), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "writer",
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        done = run_python(
            "tests/killed_jobs.py", scratch / "jobs.json", env=environment, timeout=3000 if EVERY else 300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        yield scratch, hub


def moments(folder: Path) -> list[Path]:
    """The folders of the moments, and what was refused there in the end."""
    found = sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    assert len(found) >= 4
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def decided(folder: Path) -> dict[str, object]:
    """All files of a run, but times and pickles (which hold times)."""
    files: dict[str, object] = {}
    for name, content in contents(folder).items():
        if name.startswith(".run_change.unfinished/"):  # which a kill leaves, cut off, and nobody reads
            continue
        if name.endswith(("all_results.json", "trainer_state.json", "complete.json")):
            content = sorted(json.loads(content))
        elif name == BASELINE_FILE:
            content = skops_io.loads(content).predict_proba(["so happy today"]).tolist()
        elif name.endswith((".pt", ".pth", ".bin", ".png")) or name in ("README.md", "run.json"):
            content = b""
        files[name] = content
    return files


def test_a_killed_inference_ends_in_the_same_file(jobs):
    folder = jobs[0] / "inference"
    for moment in moments(folder):
        assert contents(moment) == contents(folder / "whole"), moment.name
        said = folder / f"{moment.name}.said"
        assert not said.exists() or "it is finished" in said.read_text()  # killed when nothing was left but to end


@pytest.mark.parametrize("name", ["baseline", "training"])
def test_a_killed_training_ends_in_the_same_run_and_leaves_the_older_one_or_its_own_model(jobs, name):
    folder = jobs[0] / name
    older, whole = decided(jobs[0] / "older"), decided(folder / "whole")
    weights = BASELINE_FILE if name == "baseline" else "model.safetensors"
    assert older.get(weights) != whole[weights]
    for moment in moments(folder):
        assert not (folder / f"{moment.name}.said").exists(), (folder / f"{moment.name}.said").read_text()
        assert decided(moment) == whole, moment.name
        killed = folder / f"{moment.name}.killed"
        RunFolder(killed).settle()
        left = decided(killed)
        assert older.items() <= left.items() or left[weights] == whole[weights], moment.name


def test_a_killed_push_leaves_run_and_repository_as_one_that_was_not(jobs):
    folder, hub = jobs[0] / "push", jobs[1]
    whole = contents(folder / "whole")
    assert not json.loads(whole["thresholds.json"])["folded"]
    for moment in [folder / "whole", *moments(folder)]:
        files = contents(moment)
        assert not (folder / f"{moment.name}.said").exists()
        published = hub.files(f"user/emotions-{moment.name}")
        assert published == {name: files[name] for name in published} | {
            name: published[name] for name in published if name not in files
        }
        assert {name for name in published if name != ".gitattributes"} == {
            str(path.relative_to(moment)) for pattern in PUBLISHED for path in moment.glob(pattern)
        }
        same = {name: content for name, content in files.items() if name not in ("README.md", "run.json")}
        assert same == {name: content for name, content in whole.items() if name in same}
        assert files.keys() == whole.keys()
