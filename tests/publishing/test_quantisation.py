"""The int8 file gives a text one answer, whatever stands beside it, in numbers that every CPU can add up."""

import json
import shutil
import subprocess

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import ROOT
from scipy.special import expit
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from utils.model.loading import resolve_model
from utils.model.pooling import pool_by_mean
from utils.publishing.onnx_export import _write_fp32, _write_int8
from utils.publishing.quantisation import MAX_LOSS, int8_columns


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The ONNX files of MiniLM's first two layers, which have large outliers, with mean pooling and a random
    classifier."""
    torch.manual_seed(0)
    name, _ = resolve_model("minilm")
    model = AutoModelForSequenceClassification.from_pretrained(name, num_labels=28, num_hidden_layers=2).eval()
    pool_by_mean(model)
    with torch.no_grad():
        model.bert.pooler.dense.weight.copy_(torch.eye(384))  # as a run starts
        model.classifier.weight.normal_(std=0.2)
    tokenizer, folder = AutoTokenizer.from_pretrained(name), tmp_path_factory.mktemp("minilm")
    _write_fp32(model, tokenizer, folder / "fp32.onnx")
    _write_int8(folder / "fp32.onnx", folder / "int8.onnx")
    return folder / "fp32.onnx", folder / "int8.onnx", tokenizer


def natively(file, batches):
    session = onnxruntime.InferenceSession(file)
    names = [item.name for item in session.get_inputs()]
    return [session.run(["logits"], {name: batch[name] for name in names})[0] for batch in batches]


def in_webassembly(file, batches):
    if shutil.which("node") is None or not (ROOT / "node_modules" / "onnxruntime-web").is_dir():
        pytest.skip("onnxruntime-web is not installed: `make node` does it (and needs Node)")
    given = json.dumps([{name: rows.tolist() for name, rows in batch.items()} for batch in batches])
    command = ["node", str(ROOT / "tests" / "onnxruntime_web.mjs"), str(file)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [np.array(logits).reshape(-1, 28) for logits in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.parametrize("run", [natively, in_webassembly])
def test_a_text_has_one_answer_whatever_stands_beside_it(files, demo, run):
    fp32, int8, tokenizer = files
    texts = demo["validation"]["text"][:60]
    shuffled = np.random.default_rng(0).permutation(60)
    by_length = np.argsort([len(text) for text in texts])
    compositions = [
        (np.arange(60), 1, 0),  # rows in their order, texts of a batch, tokens to pad to
        (shuffled, 2, 0),
        (shuffled, 15, 0),
        (by_length, 20, 0),
        (shuffled[::-1], 60, 0),
        (shuffled, 5, 64),
    ]
    batches = [
        dict(tokenizer([texts[row] for row in rows], return_tensors="np", padding="max_length" if to else True,
                       max_length=to or None))
        for order, size, to in compositions for rows in order.reshape(-1, size)
    ]  # fmt: skip
    logits = iter(run(int8, batches))
    found = []
    for order, size, _ in compositions:
        answers = np.empty((60, 28))
        answers[order] = expit(np.concatenate([next(logits) for _ in range(60 // size)]))
        found.append(answers)
    alone, *others = found
    assert alone.std(axis=0).mean() > 0.05
    for answers in others:
        assert np.abs(answers - alone).max() < 1e-3
        np.testing.assert_array_equal(answers >= 0.5, alone >= 0.5)
    exact = expit(np.concatenate(natively(fp32, batches[:60])))
    assert np.sqrt(((alone - exact) ** 2).mean()) < 0.02
    assert int8.stat().st_size < 0.28 * fp32.stat().st_size


@pytest.mark.parametrize("shape", [(384, 40), (7, 3), (1, 1), (64, 1)])
def test_int8_columns_lose_little_and_never_overflow_sixteen_bits(shape):
    weights = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    weights[:, 0] = 0  # no division by zero
    for outlier in (1, 60):  # one row far above the others: the matrix gets a second part
        weights[0] *= outlier
        parts = int8_columns(weights)
        left = weights - sum(integers * scales for integers, scales in parts)
        assert np.linalg.norm(left) <= MAX_LOSS * np.linalg.norm(weights)
        for integers, _ in parts:
            assert integers.dtype == np.int8
            padded = np.pad(integers.astype(int), ((0, shape[0] % 2), (0, 0)))
            for sign in (1, -1):  # CPUs without VNNI add up 255 · a + 255 · b
                assert (255 * np.maximum(sign * padded, 0).reshape(-1, 2, shape[1]).sum(axis=1)).max() < 2**15
    assert shape != (384, 40) or len(int8_columns(weights)) == 2
    assert shape != (384, 40) or len(int8_columns(np.random.default_rng(0).normal(size=shape))) == 1
