"""The demo: published beside its model, and used in a real browser."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, encoder_configs
from hub_server import serve
from scipy.special import expit
from test_hub import on_hub, one_error
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from utils.data.labels import GO_EMOTIONS, label_maps
from utils.model.classifiers import load_classifier
from utils.model.folding import CONFIG_KEY
from utils.publishing.onnx_export import export_onnx
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
        bytes_of.post_processor = None
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
]
EXPLAINED = [GO_EMOTIONS[3], GO_EMOTIONS[17]]
HOSTILE_TEXT = "<img src=x onerror=globalThis.ran=1> <script>globalThis.ran=2</script> <b>so</b> & &amp; happy"
HOSTILE_LABEL = "<img src=x onerror=globalThis.ran=3>&lt;"
TABLE = 'id,comment\r\n1,"so happy, ""really"""\r\n2,=HYPERLINK("http://x")\r\n3,"two\nlines"\r\n4,-1+1\r\n'


def use_page(address: str, checks: list[str], **order) -> dict:
    """What a reader sees in Chromium, see tests/demo_page.mjs."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    if not (shutil.which("node") and (ROOT / "node_modules" / "playwright-core").is_dir()):
        pytest.skip("Node, transformers.js, playwright-core or axe-core is not installed: `make node` does it")
    order |= {
        "page": address, "chromium": CHROMIUM, "sentences": SENTENCES, "labels": EXPLAINED, "checks": checks,
        "hostile": [HOSTILE_TEXT, HOSTILE_LABEL], "table": TABLE, "pictures": os.environ.get("DEMO_PICTURES"),
    }  # fmt: skip
    command = ["node", str(ROOT / "tests" / "demo_page.mjs"), json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folded_run(finished_run, demo, tiny_bert, tmp_path_factory):
    """A finished run with ONNX files; its model is BERT, with large random weights."""
    run = tmp_path_factory.mktemp("space") / "run"
    shutil.copytree(finished_run, run, ignore=shutil.ignore_patterns("checkpoints"))
    return as_model_of(run, "bert", demo["train"]["text"], tiny_bert)


@pytest.fixture
def hub():
    with serve() as running:
        yield running


def push(hub, tmp_path, run, *options, **settings):
    arguments = ["run_push.py", run, "--hub_model_id", "emotions", "--hub_space_id", "demo", *options]
    return on_hub(hub, tmp_path, *arguments, **settings)


def test_the_published_page_in_a_browser(hub, folded_run, tmp_path):
    done = push(hub, tmp_path, folded_run)
    assert done.returncode == 0, done.stderr[-2000:]
    page = f"http://localhost:{hub.server_port}/static/user/demo/"
    seen = use_page(page, ["scores", "hostile", "keyboard", "looks", "many", "failures"])
    print(json.dumps(seen, indent=1)[:20000])
