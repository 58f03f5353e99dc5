"""The demo: published beside its model, and used in a real browser."""

import base64
import hashlib
import http.client
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, encoder_configs, file_rows, refold
from hub_server import Repo, serve
from huggingface_hub import constants
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import RobertaProcessing
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

import run_push
from utils.console import InputError
from utils.data.labels import GO_EMOTIONS, label_maps
from utils.data.splits import DEMO_FOLDER
from utils.model.classifiers import load_classifier
from utils.model.folding import CONFIG_KEY
from utils.publishing import preview
from utils.publishing.onnx_export import export_onnx
from utils.publishing.space import SPACE_FILES
from utils.run_folder import RunFolder, read_json

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def as_model_of(run: Path, kind: str, texts: list[str], tokenizer_of: Path) -> Path:
    """Put another model into a finished run: of a class, with large random weights, and a tokenizer as its kind has."""
    torch.manual_seed(0)
    config, _ = encoder_configs()[kind]
    config.id2label, config.label2id = label_maps(GO_EMOTIONS)
    config.problem_type = "multi_label_classification"
    setattr(config, CONFIG_KEY, read_json(run / "thresholds.json")["thresholds"])
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    if kind == "roberta":
        bytes_of = ByteLevelBPETokenizer()
        special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        bytes_of.train_from_iterator(texts, vocab_size=800, special_tokens=list(special.values()))
        closing, opening = (("</s>", bytes_of.token_to_id("</s>")), ("<s>", bytes_of.token_to_id("<s>")))
        bytes_of._tokenizer.post_processor = RobertaProcessing(closing, opening)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_of._tokenizer, model_max_length=64, **special)
        config.pad_token_id = tokenizer.pad_token_id
    else:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_of)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    for stale in run.glob("*token*"):
        stale.unlink()
    model.save_pretrained(run)
    tokenizer.save_pretrained(run)
    export_onnx(RunFolder(run))
    return run


SENTENCES = [
    "I'm so happy that I finally passed the deep learning exam!",
    "so happy today, thank you",
    "Why would anyone do this? Disgusting.",
    "ok",
    "naïve café 😀 – what a day!!! 日本",
    "Thanks for explaining, but I still don't see why it crashes on my machine.",
    "I love you ❤️ and I hate   spaces",
    "sad " * 80,
    "Wait, you two have known each other since school? I had no idea!",
    "It's not that bad, is it?",
    "THIS IS AMAZING",
    "meh",
    "I miss my dog every single day.",
    "Congratulations on the new job, you deserve it!",
    "Nobody told me, and now I am the one who has to apologise.",
    "What does that even mean",
    "can't wait for tomorrow :)",
    "The meeting is at ten.",
    "Sorry, my mistake.",
    "ugh, traffic again; I give up…",
]
SENTENCES[10:10] = [row["text"] for row in file_rows(DEMO_FOLDER / "validation.csv")[:30]]
EXPLAINED = [GO_EMOTIONS[3], GO_EMOTIONS[17]]
HOSTILE_TEXT = "<img src=x onerror=globalThis.ran=1> <script>globalThis.ran=2</script> <b>so</b> & &amp; happy"
HOSTILE_LABEL = "<img src=x onerror=globalThis.ran=3>&lt;"
TABLE = 'id,comment\r\n1,"so happy, ""really"""\r\n2,=HYPERLINK("http://x")\r\n3,"two\nlines"\r\n4,-1+1\r\n'


@pytest.fixture(scope="module")
def folded_run(finished_run, demo, tiny_bert, tmp_path_factory):
    """A finished run with ONNX files; its model is BERT, with large random weights."""
    run = tmp_path_factory.mktemp("space") / "run"
    shutil.copytree(finished_run, run, ignore=shutil.ignore_patterns("checkpoints"))
    return as_model_of(run, "bert", demo["train"]["text"], tiny_bert)


@pytest.fixture
def run(folded_run, tmp_path):
    return shutil.copytree(folded_run, tmp_path / "run")


@pytest.fixture
def hub(monkeypatch):
    """A Hub that scripts called in this process speak to, as somebody who may write."""
    with serve() as running:
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "writer")
        yield running


def push(run, *options):
    return run_push.main([str(run), "--hub_model_id", "emotions", "--hub_space_id", "demo", *options])


def refused(run, *options):
    with pytest.raises(InputError) as caught:
        push(run, *options)
    return str(caught.value)


# --- publishing -----------------------------------------------------------------------------------------------------


def test_one_commit_for_the_model_and_one_for_its_demo(hub, run, capsys):
    url = push(run)
    assert [repo for repo, _ in hub.commits] == ["user/emotions", "user/demo"]
    commit = hub.repos["models/user/emotions"].branches["main"]
    files = hub.files("user/demo", kind="spaces")
    assert set(files) == set(SPACE_FILES)
    assert url.endswith(commit)
    assert re.search(r"^Its demo: http.*/spaces/user/demo/commit/\w{40}$", capsys.readouterr().out, re.MULTILINE)

    _, block, _ = files["README.md"].decode().split("---\n", 2)
    metadata = yaml.safe_load(block)
    assert (metadata["sdk"], metadata["models"]) == ("static", ["user/emotions"])
    config = json.loads(files["config.json"])
    assert (config["model"], config["revision"], config["host"]) == ("user/emotions", commit, f"{hub.url}/")
    assert config["labels"] == list(GO_EMOTIONS)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', files["index.html"].decode())[1]
    assert f"connect-src 'self' https://cdn.jsdelivr.net/npm/ {hub.url};" in policy
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy
    assert "huggingface.co/spaces/user/demo" in hub.files("user/emotions")["README.md"].decode()
    for content in files.values():
        assert b"writer" not in content
        assert str(run.parent).encode() not in content

    push(run)
    assert len(hub.commits) == 2  # nothing changed, no commit


def test_a_later_push_keeps_the_link_to_the_demo_while_that_is_there(hub, run):
    def link(model):
        return "huggingface.co/spaces/user/demo" in hub.files(model)["README.md"].decode()

    push(run)
    run_push.main([str(run), "--hub_model_id", "emotions"])
    assert link("user/emotions")
    assert len(hub.commits) == 2  # the card is the same
    run_push.main([str(run), "--hub_model_id", "others"])
    assert not link("user/others")  # which has none
    del hub.repos["spaces/user/demo"]
    run_push.main([str(run), "--hub_model_id", "emotions"])
    assert not link("user/emotions")


def test_the_lines_for_onnxruntime_in_the_card_answer_as_the_run_does(hub, run, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    push(run)
    blocks = re.findall(r"```python\n(.*?)```", hub.files("user/emotions")["README.md"].decode(), re.DOTALL)
    (lines,) = [block for block in blocks if "InferenceSession" in block]
    found: dict = {}
    exec(lines, found)
    text = json.loads((run / "run.json").read_text())["examples"][0]["text"]
    (expected,) = load_classifier(str(run), backend="onnx", precision="int8")[0].predict([text]).tolist()
    assert [found["scores"][label] for label in GO_EMOTIONS] == pytest.approx(expected, abs=1e-5)
    assert list(found["scores"].values()) == sorted(found["scores"].values(), reverse=True)


def test_the_lines_for_optimum_in_the_card_answer_as_the_run_does(hub, finished_run, tmp_path):
    """It stands on transformers 4, and is run where OPTIMUM_PYTHON names a Python that has it."""
    if not (python := os.environ.get("OPTIMUM_PYTHON")):
        pytest.skip("OPTIMUM_PYTHON names no Python with optimum-onnx; docs/troubleshooting.md says how to make one")
    run = shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    export_onnx(RunFolder(run))
    push(run)
    blocks = re.findall(r"```python\n(.*?)```", hub.files("user/emotions")["README.md"].decode(), re.DOTALL)
    (lines,) = [block for block in blocks if "optimum" in block]
    environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_TOKEN": "writer", "PATH": os.environ["PATH"]}
    command = [python, "-c", lines + "\nimport json; print(json.dumps(scores))"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {item["label"]: item["score"] for item in json.loads(done.stdout.splitlines()[-1])}
    text = json.loads((run / "run.json").read_text())["examples"][0]["text"]
    (expected,) = load_classifier(str(run), backend="onnx", precision="int8")[0].predict([text]).tolist()
    assert [found[label] for label in GO_EMOTIONS] == pytest.approx(expected, abs=1e-5)


def test_what_no_page_can_run_is_refused_before_anything_is_uploaded(hub, run, baseline_run):
    assert "holds a baseline, which no browser runs" in refused(baseline_run)
    assert "the demo decides at 0.5; add --fold_thresholds true" in refused(run, "--fold_thresholds", "false")
    assert "--hub_space_id else/demo: user may publish under user" in refused(run, "--hub_space_id", "else/demo")
    refold(run, folded=False)
    assert "the demo decides at 0.5; add --fold_thresholds true" in refused(run)
    refold(run, folded=True)
    assert "has no onnx/model_quantized.onnx, which the demo runs; `python run_export.py" in refused(run)
    assert hub.repos == {}
    assert hub.commits == []


def test_an_unfolded_run_is_folded_and_exported_for_its_demo(hub, run):
    refold(run, folded=False)  # which removes the ONNX files
    push(run, "--fold_thresholds", "true")
    assert "onnx/model_quantized.onnx" in hub.files("user/emotions")


def test_the_demo_of_a_private_model_is_never_public(hub, run, capsys):
    push(run, "--hub_private_repo")
    assert "user/emotions is private, and so is its demo, which reads public models only." in capsys.readouterr().out
    assert hub.repos["spaces/user/demo"].private
    hub.repos["spaces/user/demo"].private = False
    assert "--hub_private_repo: user/demo exists and is public" in refused(
        run
    )  # the model is private, asked for or not
    assert "give another --hub_space_id" in refused(run)
    hub.repos["models/user/emotions"].private = False
    push(run)


def test_an_account_whose_repositories_are_private_gets_a_private_space(hub, run):
    hub.before("POST /api/repos/create", lambda: hub.repos.update({"models/user/emotions": Repo(private=True)}))
    push(run)
    assert hub.repos["spaces/user/demo"].private


def test_a_demo_that_fails_goes_on_where_it_stopped(hub, run):
    hub.fail("POST /api/spaces/user/demo/commit", 500)
    error = refused(run, "--hub_tag", "v1.0")
    assert "Publishing as user/demo failed (HTTP 500: the Hub is in trouble" in error
    assert [repo for repo, _ in hub.commits] == ["user/emotions"]
    hub.faults.clear()
    run_push.main(shlex.split(error.split("this continues: ")[1])[2:])
    assert [repo for repo, _ in hub.commits] == ["user/emotions", "user/demo"]


def test_what_another_space_holds_is_kept(hub, run):
    hub.repos["spaces/user/demo"] = repo = Repo()
    repo.commit("main", {"app.py": b"print()", "README.md": b"---\nsdk: gradio\n---\n"})
    error = refused(run)
    assert "user/demo holds something else (README.md, app.py); give another --hub_space_id" in error
    assert hub.commits == []
    push(run, "--overwrite_repo")
    assert set(hub.files("user/demo", kind="spaces")) == set(SPACE_FILES)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"run_fingerprint": "another"}))
    assert "user/demo holds the demo of another model" in refused(run, "--hub_model_id", "other")


# --- on one's own machine -------------------------------------------------------------------------------------------


@pytest.fixture
def address(folded_run):
    require_packages()
    with preview.serve(RunFolder(folded_run), dtype="fp32") as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield "127.0.0.1", server.server_port
        server.shutdown()


def require_packages() -> None:
    if not (shutil.which("node") and (ROOT / "node_modules" / "playwright-core").is_dir()):
        pytest.skip("Node, transformers.js, playwright-core or axe-core is not installed: `make node` does it")


def test_the_preview_serves_the_page_and_the_published_files_and_nothing_else(address):
    def status(path, host="127.0.0.1:1"):
        connection = http.client.HTTPConnection(*address, timeout=10)
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        with connection.getresponse() as answer:
            return answer.status

    model = "/local/model/resolve/main/"
    for path in ("/", "/config.json", f"{model}config.json", f"{model}onnx/model.onnx", "/?x#y"):
        assert status(path) == 200, path
    up = "/".join([".."] * 12)
    for path in (
        "/README.md", f"{model}run.json", f"{model}predictions/test.parquet", f"{model}{up}/etc/passwd",
        f"{model}onnx/../run.json", f"{model}plots/../run.json", f"/{up}/etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
        f"{model}plots/{up}/etc/x.png", "/npm/@huggingface/transformers@1/dist/../package.json", "//etc/passwd",
        "/npm/onnxruntime-web@1/package.json", f"{model}", "/local/", "/\0",
    ):  # fmt: skip
        assert status(path.replace("\0", "%00")) == 404, path
    assert status("/", host="somewhere.example") == 404


def test_the_page_knows_the_digest_of_all_code_that_it_fetches():
    """transformers.js and ONNX Runtime, as npm has them in the versions that the page asks for."""
    require_packages()
    named = re.findall(r'path: "([^"]+)",\s+integrity: "sha384-([^"]+)"', (ROOT / "space" / "model.js").read_text())
    assert len(named) == 3
    for path, digest in named:
        package, version, file = re.fullmatch(r"((?:@[^/]+/)?[^/@]+)@([^/]+)/(.+)", path).groups()
        folder = ROOT / "node_modules" / package
        assert json.loads((folder / "package.json").read_text())["version"] == version
        assert base64.b64encode(hashlib.sha384((folder / file).read_bytes()).digest()).decode() == digest


# --- in a browser ---------------------------------------------------------------------------------------------------


def use_page(address: str, checks: list[str], **order) -> dict:
    """What a reader sees in Chromium, see tests/demo_page.mjs."""
    require_packages()
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    order = {
        "page": address, "chromium": CHROMIUM, "sentences": SENTENCES, "labels": EXPLAINED, "checks": checks,
        "hostile": [HOSTILE_TEXT, HOSTILE_LABEL], "table": TABLE, "pictures": os.environ.get("DEMO_PICTURES"),
    } | order  # fmt: skip
    command = ["node", str(ROOT / "tests" / "demo_page.mjs"), json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def assert_answers(answers, run):
    """Labels, scores and the words' shares are those of ONNX Runtime in Python, to 1e-3."""
    classifier, _ = load_classifier(str(run), backend="onnx", precision="fp32")
    texts = [text.strip() for text in SENTENCES]
    marked = 0
    for text, expected, seen in zip(texts, classifier.predict(texts), answers, strict=True):
        scores = {item["label"]: item["score"] for item in seen["labels"]}
        assert [scores[label] for label in GO_EMOTIONS] == pytest.approx(expected.tolist(), abs=1e-3)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        for item in seen["labels"]:
            assert item["counts"] == (item["score"] >= 0.5) == (float(item["shown"]) >= 0.5)

        assert seen["said"].endswith("its end is left out.") == (text.count("sad") == 80)
        words = text.split()
        explained = words[:60] if len(words) > 1 else []
        without = [" ".join(explained[:left] + explained[left + 1 :]) for left in range(len(explained))]
        lost = expected - classifier.predict(without) if without else np.empty((0, len(GO_EMOTIONS)))
        for label in EXPLAINED:
            shares = lost[:, GO_EMOTIONS.index(label)]
            assert [item["word"] for item in seen["words"][label]] == words
            assert [item["share"] for item in seen["words"][label][: len(shares)]] == pytest.approx(shares, abs=1e-3)
            most = max(0.2, *np.abs(shares), 0)
            for item, share in zip(seen["words"][label], shares, strict=False):
                if abs(abs(share) - 0.005) > 1e-3:
                    kind = "" if abs(share) < 0.005 else " for" if share > 0 else " against"
                    assert (item["kind"], item["tinted"]) == (f"word{kind}", bool(kind))
                    assert item["strength"] == pytest.approx(55 * abs(share) / most, abs=1)
                    marked += bool(kind)
    assert marked > 20


def test_the_published_page_in_a_browser(hub, run):
    push(run)
    page = f"http://localhost:{hub.server_port}/static/user/demo/"
    seen = use_page(page, ["scores", "plain", "hostile", "keyboard", "looks", "many", "failures"])
    scores = seen["scores"]
    assert_answers(scores["answers"], run)
    assert scores["reproduced"] == SENTENCES[-1]
    assert scores["timed"] < 1500  # milliseconds from the question to the answer
    assert scores["complaints"] == scores["violations"] == []
    assert sum(scores["shifts"]) < 0.02
    commit = hub.repos["models/user/emotions"].branches["main"]
    files = f"{hub.url}/user/emotions/resolve/{commit}/"
    assert f"{files}onnx/model.onnx" in scores["cached"]
    for url in scores["asked"]:  # nothing goes anywhere else, and no text with it
        assert url.startswith((page, files, "https://cdn.jsdelivr.net/npm/", "blob:")), url
        assert "happy" not in url

    # As published, in int8: WebAssembly's kernels round otherwise, and the model that is tested here is a random one.
    classifier, _ = load_classifier(str(run), backend="onnx", precision="int8")
    expected = classifier.predict([text.strip() for text in SENTENCES])
    by_label = [{item["label"]: item["score"] for item in answer} for answer in seen["plain"]]
    found = np.array([[answer[label] for label in GO_EMOTIONS] for answer in by_label])
    assert np.abs(found - expected).max() < 0.06
    assert ((found >= 0.5) != (expected >= 0.5)).mean() < 0.02

    hostile = seen["hostile"]
    assert hostile["words"] == HOSTILE_TEXT
    assert HOSTILE_LABEL in hostile["labels"]
    assert hostile["title"] == HOSTILE_LABEL
    assert (hostile["elements"], hostile["ran"], hostile["sinks"]) == (0, None, "TypeError")

    visited = seen["keyboard"]
    places = [stop["at"] for stop in visited]
    assert places[:2] == ["text", "Read it"]
    assert {"all", "link", "lines", "file", "download"} <= set(places)
    assert all(stop["outline"] == "solid" for stop in visited)
    labels = [stop for stop in visited if stop["at"].isdigit()]
    assert len(labels) >= 3
    assert all(stop["why"] == GO_EMOTIONS[int(stop["at"])] for stop in labels)
    assert next(stop for stop in visited if stop["at"] == "all")["labels"] == len(GO_EMOTIONS)

    for look in seen["looks"]:
        assert look["axe"] == []
        assert look["wide"] <= look["width"]

    many = seen["many"]
    assert many["column"] == "1"
    assert many["status"] == "4 of 4 texts read."
    assert many["file"].startswith('\ufeffid,comment,labels,scores\r\n1,"so happy, ""really""",')
    assert '\r\n2,"\'=HYPERLINK(""http://x"")",' in many["file"]
    assert '\r\n4,"\'-1+1",' in many["file"]
    assert sum(count for _, count in many["counted"]) >= 4

    failures = seen["failures"]
    assert "from cdn.jsdelivr.net, or is not the one that was tested" in failures["changed"]["said"]
    assert "is private, or it is no longer there (HTTP 401)" in failures["private"]["said"]
    assert "could not be fetched. Is there a connection" in failures["offline"]["said"]
    assert all(failure["again"] for failure in failures.values())
    assert failures["private"]["then"].startswith(("It reads", "No label"))


def test_a_roberta_with_its_own_kind_of_tokenizer_answers_alike(folded_run, demo, tiny_bert, tmp_path):
    require_packages()
    run = shutil.copytree(folded_run, tmp_path / "run")
    as_model_of(run, "roberta", demo["train"]["text"], tiny_bert)
    with preview.serve(RunFolder(run)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        seen = use_page(f"http://127.0.0.1:{server.server_port}/", ["scores"])
        server.shutdown()
    assert_answers(seen["scores"]["answers"], run)
    assert seen["scores"]["complaints"] == seen["scores"]["violations"] == []
