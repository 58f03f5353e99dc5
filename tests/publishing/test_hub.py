"""Publishing to a Hub on the loopback interface, with the unmodified clients in processes of their own."""

import json
import os
import re
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import pytest
from conftest import run_python
from hub_server import CUT, Repo, serve
from huggingface_hub import ModelCard, constants, hf_hub_download
from skops.io import get_untrusted_types, load

import run_finetune
import run_push
from utils.console import InputError
from utils.data.labels import GO_EMOTIONS
from utils.model.baseline import TRUSTED_TYPES
from utils.model.classifiers import load_classifier
from utils.run_folder import read_json, write_json

CLIENTS = """
import json, sys
from transformers import AutoModelForSequenceClassification, pipeline
scores = pipeline("text-classification", model="user/emotions", top_k=None)(["so happy today"])[0]
old = AutoModelForSequenceClassification.from_pretrained("user/emotions", revision=sys.argv[1])
new = AutoModelForSequenceClassification.from_pretrained("user/emotions")
print(json.dumps({"scores": scores, "biases": [m.classifier.bias[0].item() for m in (old, new)]}))
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
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    return run_python(*arguments, env=environment)


def push(hub, tmp_path, run, *options, token="writer", name="emotions"):
    return on_hub(hub, tmp_path, "run_push.py", run, "--hub_model_id", name, *options, token=token)


@pytest.fixture
def refused(hub, run, monkeypatch):
    """The sentence with which a script refuses, called in this process to save the time of starting another."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)

    def call(*options, token="writer", name="emotions", folder=run, finetune=None):
        monkeypatch.delenv("HF_TOKEN", raising=False)
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        main, arguments = run_push.main, [folder, "--hub_model_id", name]
        if finetune:
            main, arguments = run_finetune.main, finetune
        with pytest.raises(InputError) as caught:
            main([*map(str, arguments), *options])
        return str(caught.value)

    return call


def one_error(done):
    """The sentence of a script that was refused: one line, no traceback, no token."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr[-3000:]
    assert not any(token in errors[0] for token in ("writer", "reader"))
    return errors[0]


def snapshot(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "README.md"
    }


# --- the straight path ----------------------------------------------------------------------------------------------


def test_one_commit_with_the_published_files_and_a_stranger_can_use_it(hub, run, tmp_path):
    (run / "training_args.bin").write_bytes(b"a pickle")
    done = push(hub, tmp_path, run)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [repo for repo, _ in hub.commits] == ["user/emotions"]
    files, first = hub.files("user/emotions"), hub.repos["models/user/emotions"].branches["main"]
    assert {"config.json", "model.safetensors", "thresholds.json", "README.md", "plots/reliability.png"} <= set(files)
    assert not [path for path in files if path.startswith(("predictions", "checkpoints", "run.json", "trainer_state"))]
    assert not [path for path in files if path.endswith((".bin", ".pt", ".pth", ".parquet"))]
    for path, content in files.items():
        assert b"writer" not in content, path
        if path.endswith((".json", ".md", ".csv")):
            assert str(tmp_path.parent).encode() not in content, path
    assert 'model="user/emotions"' in files["README.md"].decode()

    assert push(hub, tmp_path, run).returncode == 0
    assert len(hub.commits) == 1  # nothing changed, no commit

    assert push(hub, tmp_path, run, "--fold_thresholds", "false").returncode == 0
    assert len(hub.commits) == 2
    answer = on_hub(hub, tmp_path, "-c", CLIENTS, first, token=None)
    assert answer.returncode == 0, answer.stderr[-2000:]
    answer = json.loads(answer.stdout.splitlines()[-1])
    scores = {item["label"]: item["score"] for item in answer["scores"]}
    classifier, _ = load_classifier(str(run))
    expected = classifier.predict(["so happy today"])[0].tolist()
    assert [scores[label] for label in GO_EMOTIONS] == pytest.approx(expected, abs=1e-5)
    assert answer["biases"][0] != answer["biases"][1]

    answer = on_hub(
        hub, tmp_path, "run_inference.py", "--model", "user/emotions", "so happy", "--top_k", "1", token=None
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert json.loads(answer.stdout)["labels"][0] in GO_EMOTIONS


def test_thresholds_are_folded_or_unfolded_before_a_push(hub, run, tmp_path):
    assert push(hub, tmp_path, run, "--fold_thresholds", "false").returncode == 0
    files = hub.files("user/emotions")
    stored = json.loads(files["thresholds.json"])
    assert not stored["folded"]
    assert "folded_thresholds" not in json.loads(files["config.json"])
    assert "at or above its threshold" in " ".join(files["README.md"].decode().split())

    assert push(hub, tmp_path, run, "--fold_thresholds", "true").returncode == 0
    refolded = hub.files("user/emotions")
    assert json.loads(refolded["thresholds.json"])["folded"]
    assert json.loads(refolded["config.json"])["folded_thresholds"] == stored["thresholds"]
    assert "at or above 0.5" in " ".join(refolded["README.md"].decode().split())
    assert refolded["model.safetensors"] != files["model.safetensors"]
    assert len(hub.commits) == 2


def test_a_branch_a_tag_and_files_that_the_run_no_longer_has(hub, run, tmp_path, refused):
    assert push(hub, tmp_path, run, "--hub_tag", "v1").returncode == 0
    repo = hub.repos["models/user/emotions"]
    assert repo.tags == {"v1": repo.branches["main"]}
    (run / "plots" / "reliability.png").unlink()
    assert push(hub, tmp_path, run, "--hub_revision", "next").returncode == 0
    assert "plots/reliability.png" in hub.files("user/emotions")
    assert "plots/reliability.png" not in hub.files("user/emotions", "next")
    assert "has that tag already" in refused("--hub_tag", "v1")


def test_a_baseline_is_published_and_used_too(hub, baseline_run, tmp_path, refused):
    run = shutil.copytree(baseline_run, tmp_path / "baseline")
    assert push(hub, tmp_path, run, name="team/baseline").returncode == 0
    files = hub.files("team/baseline")
    assert "baseline.skops" in files
    data = ModelCard(files["README.md"].decode()).data
    assert (data.library_name, "skops" in data.tags) == ("sklearn", True)
    answer = on_hub(hub, tmp_path, "run_inference.py", "--model", "team/baseline", "fine", "--top_k", "2", token=None)
    assert len(json.loads(answer.stdout)["labels"]) == 2
    assert "only an encoder's thresholds" in refused("--fold_thresholds", "true", folder=run)


def test_a_baseline_is_loaded_as_the_hubs_use_this_model_and_the_card_say(
    hub, refused, baseline_run, tmp_path, monkeypatch
):
    """As model-libraries-snippets.ts of huggingface.js does: the file that config.json names, and skops.io.load."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "writer")
    run = shutil.copytree(baseline_run, tmp_path / "baseline")
    run_push.main([str(run), "--hub_model_id", "baseline"])
    config = json.loads(hub.files("user/baseline")["config.json"])["sklearn"]
    assert config["model_format"] == "skops"
    assert config["environment"] == [f"{name}={version(name)}" for name in ("scikit-learn", "skops")]
    texts, (classifier, thresholds) = config["example_input"]["data"], load_classifier(str(run))
    file = hf_hub_download("user/baseline", config["model"]["file"])
    assert set(get_untrusted_types(file=file)) <= set(TRUSTED_TYPES)
    probabilities = load(file, trusted=get_untrusted_types(file=file)).predict_proba(texts)
    expected = classifier.predict(texts)
    assert probabilities.astype("float32").tolist() == expected.tolist()

    card = hub.files("user/baseline")["README.md"].decode()
    (lines,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    found: dict = {}
    exec(lines, found)
    assert list(found["scores"]) == list(classifier.labels)
    assert list(found["scores"].values()) == probabilities[0].tolist()
    assert found["predicted"] == [name for name, yes in zip(GO_EMOTIONS, expected[0] >= thresholds, strict=True) if yes]


# --- who may publish, and who may read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "name", "words"),
    [
        (None, "emotions", "HF_TOKEN"),
        ("wrong", "emotions", "does not accept the token"),
        ("reader", "emotions", "may only read"),
        ("narrow", "others", "may only read user/others"),
        ("writer", "stranger/emotions", "may publish under user or team"),
        ("writer", "a/b/c", "user/name is needed"),
    ],
)
def test_what_can_be_known_to_fail_is_refused_before_anything_is_touched(hub, run, refused, token, name, words):
    before = (run / "README.md").read_bytes()
    assert words in refused(token=token, name=name)
    assert hub.repos == {}
    assert (run / "README.md").read_bytes() == before


def test_a_private_repository_answers_those_who_may_read_it(hub, run, tmp_path):
    done = push(hub, tmp_path, run, "--hub_private_repo", token="narrow")
    assert done.returncode == 0, done.stderr[-2000:]
    assert hub.repos["models/user/emotions"].private

    def ask(token):
        return on_hub(hub, tmp_path, "run_inference.py", "--model", "user/emotions", "fine", "--top_k=1", token=token)

    assert json.loads(ask("reader").stdout)["labels"][0] in GO_EMOTIONS
    for token in (None, "wrong"):
        assert "Model user/emotions is neither a folder nor available from the Hub" in one_error(ask(token))


def test_a_public_repository_is_not_taken_for_a_private_one(hub, refused):
    hub.repos["models/user/emotions"] = Repo(private=False)
    assert "exists and is public" in refused("--hub_private_repo")


def test_only_finished_runs(refused, run, tmp_path):
    assert "not a finished run" in refused(folder=tmp_path)
    write_json(run / "run.json", {key: value for key, value in read_json(run / "run.json").items() if key != "example"})
    assert "not a finished run" in refused()  # killed before its card was written


# --- the Hub fails --------------------------------------------------------------------------------------------------

UPLOAD, COMMIT, CREATE = "PUT /blobs/", "POST /api/models/.*/commit/", "POST /api/repos/create"


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (COMMIT, 401, "HTTP 401: the Hub does not accept the token"),
        (COMMIT, 403, "HTTP 403: the token may not write there"),
        (COMMIT, 404, "HTTP 404: there is no such repository"),
        (COMMIT, 409, "HTTP 409: another change came in between"),
        (UPLOAD, 413, "HTTP 413: the Hub finds a file too large"),
        (CREATE, 429, "HTTP 429: the Hub has had too many requests"),
        (CREATE, 500, "HTTP 500: the Hub is in trouble"),
    ],
)
def test_a_refusal_half_way_says_what_happened_and_how_to_go_on(hub, run, refused, request_, status, words):
    hub.fail(request_, status, after=1 if request_ == UPLOAD else 0)
    before = snapshot(run)
    sentence = refused("--hub_revision", "next", "--hub_private_repo", "--hub_tag", "v1")
    assert words in sentence
    assert "\n" not in sentence
    assert hub.commits == []
    assert snapshot(run) == before
    hub.faults.clear()
    _, script, *arguments = shlex.split(sentence.split("this continues: ")[1])
    assert script == "run_push.py"
    run_push.main(arguments)
    assert len(hub.commits) == 1
    assert "config.json" in hub.files("user/emotions", "v1")
    assert hub.repos["models/user/emotions"].private


def test_a_server_error_or_a_cut_connection_that_lasts(run, tmp_path):
    """The client retries an upload for half a minute by itself; both cases wait at the same time."""

    def case(status, words):
        with serve() as hub:
            folder = tmp_path / str(status)
            copy = shutil.copytree(run, folder / "run")
            hub.fail(UPLOAD, status, after=2)
            error = one_error(push(hub, folder, copy))
            assert words in error
            assert snapshot(copy) == snapshot(run)
            hub.faults.clear()
            hub.log.clear()
            arrived = len(hub.blobs)
            done = on_hub(hub, folder, *shlex.split(error.split("this continues: ")[1])[1:])
            assert done.returncode == 0, done.stderr[-2000:]
            assert len(hub.commits) == 1
            uploads = [line for line in hub.log if line.startswith("PUT /blobs")]
            assert arrived > 0
            assert len(uploads) == len(hub.blobs) - arrived  # what had arrived is not sent again

    with ThreadPoolExecutor() as pool:
        faults = {500: "HTTP 500: the Hub is in trouble", CUT: "Publishing as user/emotions failed ("}
        for result in [pool.submit(case, *fault) for fault in faults.items()]:
            result.result()


def test_a_short_disturbance_is_overcome_by_itself(hub, run, tmp_path):
    hub.fail(UPLOAD, 503, times=1)
    hub.fail(UPLOAD, CUT, times=1, after=1)
    done = push(hub, tmp_path, run)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(hub.commits) == 1


def test_no_hub_at_all(refused, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "does not know who is publishing" in refused()


def test_a_full_disk_leaves_the_old_card(hub, run, tmp_path):
    before = (run / "README.md").read_bytes()
    (run / "README.md.unfinished").symlink_to("/dev/full")
    assert "No space left on device" in one_error(push(hub, tmp_path, run))
    assert hub.commits == []
    assert (run / "README.md").read_bytes() == before


# --- fine-tuning with the Hub at both ends --------------------------------------------------------------------------


@pytest.fixture
def finetune(hub, finetune_arguments, tmp_path):
    """`run_finetune.py` on this Hub: one epoch of the tiny model, published as it goes out."""

    def start(*options, token="writer"):
        folder = tmp_path / "finetuned"
        shutil.rmtree(folder, ignore_errors=True)
        arguments = [*finetune_arguments, "--num_train_epochs", "1", "--output_dir", folder, *options]
        return on_hub(hub, tmp_path, "run_finetune.py", *arguments, token=token), folder

    return start


def test_fine_tuning_from_a_published_dataset_and_model_to_a_new_repository(hub, run, small_data, finetune, tmp_path):
    assert push(hub, tmp_path, run).returncode == 0
    hub.add_dataset("user/comments", {path.name: path.read_bytes() for path in small_data.glob("*.csv")}, private=True)
    hub.commits.clear()
    hub.log.clear()
    done, folder = finetune(
        "--dataset_name", "user/comments", "--label_names", "go_emotions", "--model_name_or_path", "user/emotions",
        "--push_to_hub", "--hub_model_id", "further", "--hub_private_repo",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "The classifier of user/emotions knows these labels already; it is kept" in done.stdout
    assert [repo for repo, _ in hub.commits] == ["user/further"]
    assert hub.repos["models/user/further"].private
    assert sum("/api/repos/create" in line for line in hub.log) == 1
    assert not [line for line in hub.log if "refs/pr" in line]
    card = hub.files("user/further")["README.md"].decode()
    assert "base_model: user/emotions" in card
    assert "- user/comments" in card
    assert 'model="user/further"' in card
    assert (folder / "README.md").read_text() == card
    assert not json.loads((folder / "run.json").read_text())["arguments"]["push_to_hub"]
    assert "writer" not in (folder / "run.json").read_text()


def test_a_run_that_cannot_be_published_is_not_started(hub, refused, finetune_arguments, tmp_path):
    arguments = [*finetune_arguments, "--output_dir", tmp_path / "finetuned"]
    for options, token, words in (
        (["--push_to_hub"], None, "HF_TOKEN"),
        (["--push_to_hub"], "reader", "may only read user/finetuned"),
        (["--push_to_hub", "--hub_token", "x"], "writer", "--hub_token would show the token"),
        (["--push_to_hub", "--hub_strategy", "checkpoint"], "writer", "here is one, at the end"),
        (["--hub_model_id", "x"], "writer", "--hub_model_id without --push_to_hub"),
        (["--push_to_hub", "--model_name_or_path", "bad id"], "writer", "does not accept the model card's metadata"),
    ):
        assert words in refused(*options, token=token, finetune=arguments)
        assert not (tmp_path / "finetuned" / "checkpoints").exists()
    assert hub.repos == {}


def test_a_push_that_fails_after_training_loses_nothing(hub, finetune, tmp_path):
    hub.fail(COMMIT, 500)
    done, folder = finetune("--push_to_hub", "--hub_model_id", "late")
    error = one_error(done)
    assert "HTTP 500" in error
    assert (folder / "all_results.json").is_file()
    hub.faults.clear()
    done = on_hub(hub, tmp_path, *shlex.split(error.split("this continues: ")[1])[1:])
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'model="user/late"' in hub.files("user/late")["README.md"].decode()
