"""Publishing to a Hub on the loopback interface, with the unmodified clients in processes of their own."""

import json
import os
import shutil

import pytest
from conftest import run_python
from hub_server import serve

from utils.classifiers import load_classifier
from utils.labels import GO_EMOTIONS

PIPELINE = """
import json
from transformers import pipeline
print(json.dumps(pipeline("text-classification", model="user/emotions", top_k=None)(["so happy today"])[0]))
"""


@pytest.fixture
def hub():
    with serve() as running:
        yield running


@pytest.fixture
def run(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run")


def on_hub(hub, tmp_path, *arguments, token="writer"):
    """`python arguments…` with this Hub, an empty cache, and `token`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    if token:
        environment["HF_TOKEN"] = token
    return run_python(*arguments, env=environment)


def push(hub, tmp_path, run, *options, token="writer"):
    return on_hub(hub, tmp_path, "run_push.py", run, "--hub_model_id", "emotions", *options, token=token)


def test_one_commit_with_the_published_files_and_a_stranger_can_use_it(hub, run, tmp_path):
    done = push(hub, tmp_path, run)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [repo for repo, _ in hub.commits] == ["user/emotions"]
    files = hub.repos["user/emotions"]["files"]
    assert {"config.json", "model.safetensors", "thresholds.json", "README.md", "plots/reliability.png"} <= set(files)
    assert not [path for path in files if path.startswith(("predictions", "checkpoints", "run.json", "trainer_state"))]
    assert not [path for path in files if path.endswith((".bin", ".pt", ".pth", ".parquet"))]
    for path, content in files.items():
        assert b"writer" not in content, path
        if path.endswith((".json", ".md", ".csv")):
            assert str(tmp_path).encode() not in content, path
    assert 'model="user/emotions"' in files["README.md"].decode()

    assert push(hub, tmp_path, run).returncode == 0
    assert len(hub.commits) == 1  # nothing changed, no commit

    answer = on_hub(hub, tmp_path, "-c", PIPELINE, token=None)
    scores = {item["label"]: item["score"] for item in json.loads(answer.stdout.splitlines()[-1])}
    classifier, _ = load_classifier(str(run))
    assert [scores[label] for label in GO_EMOTIONS] == pytest.approx(
        classifier.predict(["so happy today"])[0].tolist(), abs=1e-5
    )

    answer = on_hub(
        hub, tmp_path, "run_inference.py", "--model", "user/emotions", "so happy", "--top_k", "1", token=None
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert json.loads(answer.stdout)["labels"][0] in GO_EMOTIONS


def test_thresholds_are_folded_or_unfolded_before_a_push(hub, run, tmp_path):
    assert push(hub, tmp_path, run, "--fold_thresholds", "false").returncode == 0
    files = hub.repos["user/emotions"]["files"]
    stored = json.loads(files["thresholds.json"])
    assert not stored["folded"]
    assert "folded_thresholds" not in json.loads(files["config.json"])
    assert "at or above its threshold" in " ".join(files["README.md"].decode().split())
    unfolded = files["model.safetensors"]

    assert push(hub, tmp_path, run, "--fold_thresholds", "true").returncode == 0
    assert json.loads(files["thresholds.json"])["folded"]
    assert json.loads(files["config.json"])["folded_thresholds"] == stored["thresholds"]
    assert "at or above 0.5" in " ".join(files["README.md"].decode().split())
    assert files["model.safetensors"] != unfolded
    assert len(hub.commits) == 2


@pytest.mark.parametrize(
    ("token", "words"),
    [(None, "HF_TOKEN"), ("wrong", "HF_TOKEN"), ("reader", "may only read")],
)
def test_without_a_token_that_may_write_nothing_is_touched(hub, run, tmp_path, token, words):
    before = (run / "README.md").read_bytes()
    done = push(hub, tmp_path, run, token=token)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in errors[0]
    assert "Traceback" not in done.stderr
    assert hub.commits == []
    assert (run / "README.md").read_bytes() == before


def test_only_finished_runs_and_proper_names(hub, tmp_path, run):
    assert "not a finished run" in push(hub, tmp_path, tmp_path).stderr
    done = on_hub(hub, tmp_path, "run_push.py", run, "--hub_model_id", "a/b/c")
    assert done.returncode == 2
    assert "user/name is needed" in done.stderr
