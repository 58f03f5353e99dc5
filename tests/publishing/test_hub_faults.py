# ruff: noqa: F811 (fixtures of test_hub are arguments here)
"""What a Hub may do to those who call it: keep silent, ask for hours, hold another's model, send them elsewhere."""

import json
import os
import re
import shutil
import threading
import time

import pytest
from conftest import run_python
from hub_server import SILENCE, STALL, Repo, serve
from huggingface_hub import constants
from test_hub import COMMIT, CREATE, UPLOAD, hub, refused, run, snapshot  # noqa: F401 (fixtures)

import run_finetune
import run_push
from utils.arguments import DataArguments
from utils.console import InputError
from utils.data.splits import load_splits
from utils.hub_client import limit_waiting
from utils.model.classifiers import model_folder
from utils.publishing.hub import Publication
from utils.run_folder import RunFolder, read_json, write_json

WHOAMI, INFO, REFS = "GET /api/whoami", "GET /api/models/user/emotions$", "GET /api/models/user/emotions/refs"
CARD, VALIDATE, TAG = "/resolve/", "POST /api/validate-yaml", "POST /api/models/.*/tag/"


@pytest.fixture
def impatient(monkeypatch, tmp_path):
    """The Hub's client with a tenth of a second in place of ten, and an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    limit_waiting()
    yield
    limit_waiting()


@pytest.fixture
def publish(hub, refused, run):
    """`run_push.py` in this process, where it is not refused."""

    def call(*options, folder=run, name="emotions"):
        return run_push.main([str(folder), "--hub_model_id", name, *options])

    return call


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "writer")


def holding(hub, files, branch="main"):
    """The repository user/emotions, holding `files`."""
    repo = hub.repos.setdefault("models/user/emotions", Repo())
    repo.commit(branch, files)
    return repo


# --- every call ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [SILENCE, STALL, 429, 503])
@pytest.mark.parametrize("request_", [WHOAMI, INFO, REFS, CARD, VALIDATE, CREATE, UPLOAD, COMMIT, TAG])
def test_no_call_of_a_push_waits_longer_than_it_says(hub, run, refused, impatient, publish, request_, fault):
    if request_ == CARD:
        publish("--hub_private_repo")
    hub.fail(request_, fault, headers={"Retry-After": "5000"})
    before, started = snapshot(run), time.monotonic()
    sentence = refused("--hub_tag", "v1", "--hub_private_repo")
    assert time.monotonic() - started < 10  # of which the library sleeps up to 8 between two attempts
    assert "\n" not in sentence
    if isinstance(fault, int):
        assert f"HTTP {fault} and asks to wait 5,000 seconds" in sentence
    assert snapshot(run) == before


def test_all_limits_follow_from_one_setting_xets_included():
    program = (
        "from utils.hub_client import answer_limit, limit_waiting, patience; limit_waiting()\n"
        "from hf_xet import XetConfig\n"
        "xet = XetConfig(); print(answer_limit(), patience(), xet.get('client.read_timeout').total_seconds(),"
        "xet.get('client.connect_timeout').total_seconds(), xet.get('client.retry_max_duration').total_seconds())"
    )
    pytest.importorskip("hf_xet")
    for setting, limits in (({}, "60 120 10.0 10.0 60.0"), ({"HF_HUB_DOWNLOAD_TIMEOUT": "3"}, "18 36 3.0 3.0 18.0")):
        plain = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        assert run_python("-c", program, env=plain | setting).stdout.strip() == limits


@pytest.mark.parametrize("fault", [SILENCE, 503])
@pytest.mark.parametrize("request_", ["GET /api/models/user/emotions", CARD])
def test_no_model_is_waited_for_longer(hub, run, refused, impatient, publish, request_, fault):
    publish()
    hub.fail(request_, fault, headers={"Retry-After": "5000"})
    started = time.monotonic()
    with pytest.raises(
        InputError, match="Model user/emotions is neither a folder nor available from the Hub"
    ) as caught:
        model_folder("user/emotions")
    assert time.monotonic() - started < 10
    assert ("asks to wait" in str(caught.value)) == (fault == 503)


@pytest.mark.parametrize("fault", [SILENCE, 503])
def test_no_dataset_is_waited_for_longer(hub, refused, impatient, fault, small_data, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", hub.url)
    hub.add_dataset("user/comments", {path.name: path.read_bytes() for path in small_data.glob("*.csv")})
    hub.fail("/user/comments", fault, headers={"Retry-After": "5000"})
    started = time.monotonic()
    words = "has not answered for 1 seconds" if fault == SILENCE else "asks to wait 5,000 seconds"
    with pytest.raises(InputError, match=f"Dataset user/comments could not be loaded from the Hub .*{words}"):
        load_splits(DataArguments("user/comments"))
    assert time.monotonic() - started < 15


def test_a_cached_model_is_used_while_the_hub_is_silent(hub, refused, impatient, publish):
    publish()
    folder = model_folder("user/emotions")
    hub.fail(".", SILENCE)
    assert model_folder("user/emotions") == folder


def test_a_wait_that_the_hub_asks_for_is_waited_where_it_is_short(hub, refused, publish, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    hub.fail(UPLOAD, 429, times=1, headers={"Retry-After": "1"})
    publish()
    assert len(hub.commits) == 1


def test_what_a_server_says_is_shown_and_not_executed(hub, refused):
    hub.fail(COMMIT, 400, headers={"X-Error-Message": "\x1b]0;title\x07 no"})
    sentence = refused()
    assert sentence.isprintable()
    assert "no" in sentence


# --- the token stays at home ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [WHOAMI, INFO, REFS, CARD, VALIDATE, CREATE, UPLOAD, COMMIT, TAG])
def test_a_redirect_to_another_host_does_not_get_the_token(hub, refused, impatient, publish, request_):
    if request_ == CARD:
        publish("--hub_private_repo")
    with serve() as other:
        hub.redirect(request_, other.url.replace("127.0.0.1", "localhost"))
        sentence = ""
        try:
            publish("--hub_tag", "v1", "--hub_private_repo")
        except InputError as error:
            sentence = str(error)
        assert other.log or sentence
        assert other.authorized == []
        assert "writer" not in sentence


def test_a_models_files_may_lie_elsewhere_and_the_token_does_not_go_there(hub, refused, impatient, publish):
    publish()
    with serve() as other:
        other.repos.update(hub.repos)
        hub.redirect("GET /user/emotions/resolve/.*safetensors", other.url.replace("127.0.0.1", "localhost"))
        assert (model_folder("user/emotions") / "model.safetensors").stat().st_size
        assert any("model.safetensors" in line for line in other.log)
        assert other.authorized == []


# --- what is there already ------------------------------------------------------------------------------------------


FOREIGN = [
    {"config.json": b"{}", "model.safetensors": b"x"},
    {"README.md": b"---\nlicense: mit\n---\n\n# Somebody's model\n", "adapter_config.json": b"{}"},
    {"README.md": b"---\nrun_fingerprint: 0123456789abcdef\n---\n", "config.json": b"{}"},
    {"README.md": b"---\nrun_fingerprint: [\n---\n", "config.json": b"{}"},
    {"README.md": b"\xff\xfe", "pytorch_model.bin": b"x"},
    {"README.md": b"# A card written by hand\n"},
]


@pytest.mark.parametrize("files", FOREIGN)
def test_another_model_is_not_overwritten_unless_asked(hub, run, refused, publish, files):
    repo = holding(hub, files)
    before = dict(repo.branches), snapshot(run), (run / "README.md").read_bytes()
    sentence = refused("--hub_revision", "next")
    assert "user/emotions holds" in sentence
    assert "--overwrite_repo" in sentence
    assert (dict(repo.branches), snapshot(run), (run / "README.md").read_bytes()) == before
    assert not [line for line in hub.log if line.startswith(("PUT", "POST")) and "validate" not in line]
    publish("--overwrite_repo")
    assert set(hub.files("user/emotions")) & set(files) <= {"README.md", "config.json", "model.safetensors"}
    publish()  # its own by now


@pytest.mark.parametrize(
    "files",
    [{}, {".gitattributes": b"x", "LICENSE": b"MIT"}, {"README.md": b"---\nlicense: mit\n---\n"}, {"README.md": b""}],
)
def test_a_fresh_repository_is_taken(hub, refused, publish, files):
    holding(hub, files)
    publish()
    assert "config.json" in hub.files("user/emotions")
    assert set(files) <= set(hub.files("user/emotions"))


def test_a_runs_own_earlier_push_is_known_whatever_was_changed_since(hub, run, refused, publish, tmp_path):
    publish()
    moved = shutil.copytree(run, tmp_path / "moved")
    publish("--fold_thresholds", "false", folder=moved)
    assert len(hub.commits) == 2
    other = shutil.copytree(run, tmp_path / "other")
    write_json(other / "run.json", read_json(other / "run.json") | {"run_fingerprint": "of something else"})
    assert "a model that was not trained as this one was" in refused(folder=other)
    record = read_json(other / "run.json")
    del record["run_fingerprint"]  # a run that an earlier version trained
    write_json(other / "run.json", record)
    assert "--overwrite_repo" in refused(folder=other)
    publish("--overwrite_repo", folder=other)


def test_a_baseline_does_not_take_the_place_of_an_encoder(hub, refused, publish, baseline_run, tmp_path):
    publish()
    baseline = shutil.copytree(baseline_run, tmp_path / "baseline")
    assert "was not trained as this one was" in refused(folder=baseline)
    publish("--overwrite_repo", folder=baseline)
    assert not [path for path in hub.files("user/emotions") if "safetensors" in path or "tokenizer" in path]


def test_fine_tuning_finds_another_model_before_it_starts(hub, refused, finetune_arguments, tmp_path):
    holding(hub, FOREIGN[0])
    folder = tmp_path / "tuned"
    arguments = [*finetune_arguments, "--output_dir", folder, "--push_to_hub", "--hub_model_id", "emotions"]
    assert "--overwrite_repo" in refused(finetune=arguments)
    assert not (folder / "checkpoints").exists()
    assert "--overwrite_repo without --push_to_hub" in refused(
        finetune=[*finetune_arguments, "--output_dir", folder, "--overwrite_repo"]
    )


def test_fine_tuning_knows_its_own_model_however_long_it_is_trained(
    hub,
    run,
    refused,
    publish,
    finetune_arguments,
    tmp_path,
):
    publish()
    arguments = [*map(str, finetune_arguments), "--output_dir", str(tmp_path / "tuned"), "--push_to_hub"]
    arguments += ["--hub_model_id", "emotions", "--num_train_epochs", "1"]
    assert "was not trained as this one was" in refused(finetune=[*arguments, "--seed=1"])
    run_finetune.main(arguments)
    assert len(hub.commits) == 2


def test_a_tag_that_exists_is_found_before_anything_is_uploaded(hub, run, refused, publish):
    publish("--hub_tag", "v1")
    hub.log.clear()
    before = (run / "README.md").read_bytes()
    sentence = refused("--hub_tag", "v1", "--fold_thresholds", "false")
    assert "--hub_tag v1: user/emotions has that tag already" in sentence
    assert not [line for line in hub.log if line.startswith(("PUT", "POST"))]
    assert (run / "README.md").read_bytes() == before


@pytest.mark.parametrize("name", ["a b", "-x", "a..b", "x.lock", "ends/", "~1", "a:b", ""])
def test_names_that_git_does_not_take_are_refused_at_once(hub, refused, name):
    for option in ("--hub_tag", "--hub_revision"):
        assert f"{option} {name}: git has no such names" in refused(f"{option}={name}")
    assert hub.log == []


# --- a run that is not whole in every part is published all the same ------------------------------------------------


def test_publishing_goes_on_without_a_part_that_is_broken(hub, run, refused, publish, baseline_run, capsys):
    broken = shutil.copytree(baseline_run, run.parent / "broken")
    (broken / "run.json").write_text("[]")
    (run / "predictions" / "validation.parquet").write_bytes(b"no Parquet")
    publish("--fold_thresholds", "false")
    said = capsys.readouterr().out
    assert "The comparison with broken in the card is left out: " in said
    assert "The card's example is left out: " in said
    assert "config.json" in hub.files("user/emotions")


# --- others at the same time ----------------------------------------------------------------------------------------


def test_a_push_that_came_in_between_is_looked_at(hub, run, refused, publish):
    publish()
    repo = hub.repos["models/user/emotions"]
    hub.before(COMMIT, lambda: repo.commit("main", {"notes.txt": b"by hand"}))
    publish("--fold_thresholds", "false")  # the repository is still its own
    assert not json.loads(hub.files("user/emotions")["thresholds.json"])["folded"]
    assert "notes.txt" in hub.files("user/emotions")

    def replace():
        repo.commit("main", {"README.md": b"# Somebody's model\n"})

    hub.before(COMMIT, replace)
    before = len(hub.commits)
    sentence = refused("--fold_thresholds", "true")
    assert "holds something else" in sentence
    assert "is whole" in sentence
    assert len(hub.commits) == before


def test_others_that_always_come_in_between_are_named(hub, refused):
    hub.fail(COMMIT, 412)
    sentence = refused()
    assert "HTTP 412: another push came in between" in sentence
    assert re.search(r"this continues: \S*python run_push\.py", sentence)


def test_pushes_at_the_same_time_leave_one_whole_model(hub, run, refused, publish, tmp_path):
    publish()
    unfolded = shutil.copytree(run, tmp_path / "unfolded")
    publish("--fold_thresholds", "false", folder=unfolded)
    publish()
    errors = []

    def push(folder, count=5):
        for index in range(count):
            (folder / "per_label.csv").write_text(f"{folder.name} {index}")
            try:
                Publication("user/emotions").push(RunFolder(folder))
            except InputError as error:
                errors.append(str(error))

    threads = [threading.Thread(target=push, args=(folder,)) for folder in (run, unfolded)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [error for error in errors if "412" not in error]
    files = hub.files("user/emotions")
    folded = json.loads(files["thresholds.json"])["folded"]
    assert ("folded_thresholds" in json.loads(files["config.json"])) == folded
    assert files["per_label.csv"].decode().startswith("run" if folded else "unfolded")
    assert files["model.safetensors"] == ((run if folded else unfolded) / "model.safetensors").read_bytes()
