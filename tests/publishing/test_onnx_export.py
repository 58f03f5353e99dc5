"""The ONNX files of a run answer as its saved model does: in ONNX Runtime, and in transformers.js."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import ROOT, encoder_configs, refold, run_python
from hub_server import serve
from safetensors.torch import load_file, save_file
from scipy.special import expit
from test_hub import on_hub
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

import run_export
import run_finetune
import run_inference
from utils.console import InputError
from utils.data.labels import GO_EMOTIONS, label_maps
from utils.evaluation.thresholds import decide
from utils.model.classifiers import OnnxClassifier, load_classifier, load_encoder
from utils.model.folding import save_calibrated
from utils.publishing.finish import finish_run
from utils.publishing.onnx_export import PACKAGES, export_onnx
from utils.run_folder import ONNX_FILES, RunFolder

TEXTS = ["so happy today", "this is disgusting, honestly, and I am furious about every single bit of it", "ok"]
SEGMENTED = ("bert", "electra")  # whose tokenizers, here, make token_type_ids
WITHOUT_PACKAGES = "import sys; sys.modules['onnxscript'] = None; import {0}; {0}.main(sys.argv[1:])"
THREE_WAYS = """
import sys, run_inference
for options in (["--backend", "onnx"], ["--backend", "onnx", "--precision", "fp32"], ["--precision", "fp32"]):
    run_inference.main([*sys.argv[1:], *options])
"""


@pytest.fixture(scope="module")
def exported_run(tmp_path_factory, finetune_arguments):
    """One tiny run with its ONNX files, as run_finetune.py leaves it."""
    folder = tmp_path_factory.mktemp("runs") / "exported"
    run_finetune.main([*finetune_arguments, "--export_onnx", "true", "--output_dir", str(folder)])
    return folder


@pytest.fixture
def run(exported_run, tmp_path):
    return shutil.copytree(exported_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))


def onnx_files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "onnx" in str(path.relative_to(folder))}


@pytest.fixture
def run_of(request, tiny_bert, finished_run, tmp_path):
    """A run whose model is of the requested class: large random weights, and for ModernBERT local attention too."""
    torch.manual_seed(0)
    config, _ = encoder_configs()[request.param]
    if request.param == "modernbert":
        config.num_hidden_layers, config.local_attention = 2, 8
        config.layer_types = ["full_attention", "sliding_attention"]
    config.id2label, config.label2id = label_maps(GO_EMOTIONS)
    config.problem_type = "multi_label_classification"
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    model.save_pretrained(tmp_path)
    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * (request.param in SEGMENTED)
    PreTrainedTokenizerFast.from_pretrained(tiny_bert, model_input_names=inputs).save_pretrained(tmp_path)
    shutil.copytree(finished_run / "predictions", tmp_path / "predictions")
    stored = json.loads((finished_run / "thresholds.json").read_text())
    (tmp_path / "thresholds.json").write_text(json.dumps(stored | {"folded": False}))
    return tmp_path


KINDS = [kind for kind in encoder_configs() if kind != "xlm-roberta"]  # which is RoBERTa's code


@pytest.mark.parametrize("run_of", KINDS, indirect=True)
def test_every_encoder_answers_alike_in_batches_of_any_shape(run_of):
    """Any number of texts, any length, any padding: probabilities within 1e-4 of torch's; int8 near them, and the same
    for a text alone."""
    figures = export_onnx(RunFolder(run_of))
    model = AutoModelForSequenceClassification.from_pretrained(run_of, dtype=torch.float32).eval()
    sessions = {kind: onnxruntime.InferenceSession(run_of / file) for kind, file in ONNX_FILES.items()}
    inputs = {item.name for item in sessions["fp32"].get_inputs()}
    assert ("token_type_ids" in inputs) == (model.config.model_type in SEGMENTED)
    worst = dict.fromkeys(ONNX_FILES, 0.0)
    random = np.random.default_rng(0)
    for rows, length in ((1, 3), (7, 60), (1, 1), (7, 3), (2, 33)):
        lengths = random.integers(1, length + 1, rows)
        lengths[0] = length
        mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
        ids = np.where(mask, random.integers(5, 800, (rows, length)), model.config.pad_token_id or 0)
        batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": (ids > 400).astype(np.int64)}
        batch = {name: values for name, values in batch.items() if name in inputs}
        with torch.inference_mode():
            expected = model(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.sigmoid()
        assert expected.std() > 0.05
        for kind, session in sessions.items():
            (logits,) = session.run(["logits"], batch)
            difference = (torch.from_numpy(logits).sigmoid() - expected).abs().max().item()
            worst[kind] = max(worst[kind], difference)
            for row, tokens in enumerate(lengths):
                (alone,) = session.run(["logits"], {name: x[row : row + 1, :tokens] for name, x in batch.items()})
                assert np.abs(expit(alone[0]) - expit(logits[row])).max() < 1e-3, (kind, rows, length, row)
                np.testing.assert_array_equal(alone[0] >= 0, logits[row] >= 0)
    assert worst["fp32"] < 1e-4
    assert worst["int8"] < 0.3
    assert figures["fp32_max_difference"] < 1e-4
    assert (run_of / "onnx/model_quantized.onnx").stat().st_size < (run_of / "onnx/model.onnx").stat().st_size


def test_a_run_leaves_the_layout_that_clients_look_for(exported_run):
    assert onnx_files(exported_run) == {"onnx", "onnx/model.onnx", "onnx/model_quantized.onnx", "onnx/export.json"}
    for file in ONNX_FILES.values():
        session = onnxruntime.InferenceSession(exported_run / file)
        assert {item.name: item.shape for item in session.get_inputs()} == {
            name: ["batch", "sequence"] for name in ("input_ids", "attention_mask")
        }
        assert [(item.name, item.shape) for item in session.get_outputs()] == [("logits", ["batch", 28])]
        content = (exported_run / file).read_bytes()
        for private in (str(ROOT), str(exported_run.parent), "site-packages", ".py"):
            assert private.encode() not in content, (file, private)


def test_the_recorded_figures_are_what_the_files_do(exported_run):
    recorded = json.loads((exported_run / "onnx/export.json").read_text())
    assert recorded["fp32_mb"] == (exported_run / "onnx/model.onnx").stat().st_size / 1e6
    assert recorded["int8_mb"] == (exported_run / "onnx/model_quantized.onnx").stat().st_size / 1e6
    _, (texts, gold, _) = RunFolder(exported_run).read_predictions("validation")
    assert recorded["rows"] == len(texts) == 60
    decided, probabilities = {}, {}
    for backend, precision in (("torch", "fp32"), ("onnx", "fp32"), ("onnx", "int8")):
        classifier, thresholds = load_classifier(str(exported_run), backend=backend, precision=precision)
        probabilities[backend, precision] = classifier.predict(texts)
        decided[backend, precision] = decide(probabilities[backend, precision], thresholds)
    difference = np.abs(probabilities["torch", "fp32"] - probabilities["onnx", "fp32"]).max()
    assert recorded["fp32_max_difference"] == pytest.approx(difference, abs=1e-6)
    changed = (decided["torch", "fp32"] != decided["onnx", "int8"]).any(axis=1).mean()
    assert recorded["int8_changed_rows"] == pytest.approx(changed, abs=1e-9)
    assert changed < 0.1

    def f1(key):
        return 2 * (decided[key] & (gold > 0)).sum() / (decided[key].sum() + gold.sum())

    assert recorded["f1_micro"] == pytest.approx(f1(("torch", "fp32")))
    assert recorded["int8_f1_micro"] == pytest.approx(f1(("onnx", "int8")))
    results = json.loads((exported_run / "all_results.json").read_text())
    assert recorded["f1_micro"] == pytest.approx(results["eval_f1_micro"])


def test_run_inference_names_the_same_labels_with_either_backend(exported_run, capsys):
    def answers(*options):
        assert run_inference.main(["--model", str(exported_run), *TEXTS, "--at_least_one", *options]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    plain = answers("--precision", "fp32")
    for row, other in zip(plain, answers("--backend", "onnx", "--precision", "fp32"), strict=True):
        assert row["labels"] == other["labels"]
        assert row["scores"] == pytest.approx(other["scores"], abs=1e-5)
    assert [row["labels"][0] for row in answers("--backend", "onnx")] == [row["labels"][0] for row in plain]
    assert answers("--backend", "onnx") == answers("--backend", "onnx", "--precision", "int8")


@pytest.mark.parametrize("change", ["unfold", "fold", "calibrate"])
def test_a_changed_model_never_keeps_its_old_onnx_files(run, change):
    if change == "calibrate":
        folder = RunFolder(run)
        save_calibrated(folder, load_encoder(folder).model, np.ones(28), np.full(28, 0.5))
    else:
        refold(run, folded=change == "fold")
    assert onnx_files(run) == set()


def test_without_the_packages_a_run_says_so_in_one_line(finetune_arguments, run, monkeypatch, capsys):
    """A run over an older one leaves everything but ONNX, of which nothing stays; run_export.py is refused."""
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    arguments = [*finetune_arguments, "--export_onnx", "true", "--num_train_epochs", "1", "--overwrite_output_dir"]
    run_finetune.main([*arguments, "--output_dir", str(run)])
    lines = [line for line in capsys.readouterr().out.splitlines() if "ONNX" in line]
    assert lines == [
        "ONNX was left out: onnxscript is missing; `pip install -r requirements-onnx.txt` brings what the export needs."
    ]
    assert (run / "README.md").is_file()
    assert onnx_files(run) == set()
    with pytest.raises(InputError, match="onnxscript is missing"):
        run_export.main([str(run)])


def test_every_script_works_without_the_packages(exported_run):
    block = "import sys; sys.modules |= dict.fromkeys({!r}); import run_inference; run_inference.main(sys.argv[1:])"
    block = block.format((*PACKAGES, "onnx_ir"))
    done = run_python("-c", block, "--model", exported_run, "so happy", "--top_k", "1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(json.loads(done.stdout)["labels"]) == 1


def fails(*args, **kwargs):
    raise torch.onnx.OnnxExporterError("no such operator.\nA long story")


def answers_otherwise(self, texts):
    return np.full((len(texts), len(self.labels)), 0.5, dtype=np.float32)


@pytest.mark.parametrize(
    ("place", "name", "replacement", "words"),
    [
        (torch.onnx, "export", fails, "torch's exporter does not carry BertForSequenceClassification (no such op"),
        (OnnxClassifier, "predict", answers_otherwise, "the exported model's probabilities are off by up to 0."),
    ],
)
def test_a_failed_export_changes_nothing(run, monkeypatch, place, name, replacement, words):
    """The ONNX files of an earlier export belong to the same model: they are kept until new ones are whole."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    monkeypatch.setattr(place, name, replacement)
    with pytest.raises(InputError) as caught:
        run_export.main([str(run)])
    assert str(caught.value).startswith(words)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_model_that_is_changed_goes_without_onnx_where_the_export_fails(run, monkeypatch, capsys):
    monkeypatch.setattr(torch.onnx, "export", fails)
    folder = RunFolder(run)
    finish_run(folder, load_encoder(folder), fold_thresholds=False, export_onnx=True)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "ONNX" in line]
    assert line.startswith("ONNX was left out: torch's exporter does not carry BertForSequenceClassification")
    assert onnx_files(run) == set()
    assert not json.loads((run / "thresholds.json").read_text())["folded"]


def test_run_export_makes_the_files_of_a_finished_run(run, baseline_run, tmp_path, capsys):
    before = {file: (run / file).read_bytes() for file in ONNX_FILES.values()}
    (run / "onnx").rename(run / "pending.unfinished")  # as a killed export leaves it
    figures = run_export.main([str(run)])
    assert capsys.readouterr().out.startswith("ONNX: fp32 ")
    assert figures == json.loads((run / "onnx/export.json").read_text())
    assert {file: (run / file).read_bytes() for file in ONNX_FILES.values()} == before
    with pytest.raises(InputError, match="holds a baseline; only encoders are exported"):
        run_export.main([str(baseline_run)])
    with pytest.raises(InputError, match="is not a finished run"):
        run_export.main([str(tmp_path)])


@pytest.mark.parametrize(
    ("prepare", "options", "words"),
    [
        (lambda run: shutil.rmtree(run / "onnx"), {}, "`python run_export.py OUTPUT_DIR` makes it"),
        (lambda run: (run / "onnx/model_quantized.onnx").unlink(), {}, "has no onnx/model_quantized.onnx; use --pre"),
        (lambda run: (run / "onnx/model.onnx").write_bytes(b"no"), {"precision": "fp32"}, "model.onnx could not be lo"),
        (lambda run: None, {"precision": "bf16"}, "accepted: fp32, int8"),
        (lambda run: None, {"backend": "torch", "precision": "int8"}, "accepted: fp32, bf16"),
    ],
)
def test_what_onnx_cannot_do_is_said_in_one_sentence(run, prepare, options, words):
    prepare(run)
    with pytest.raises(InputError) as caught:
        load_classifier(str(run), **{"backend": "onnx", "precision": "int8", **options})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_baseline_has_no_onnx(baseline_run, monkeypatch, exported_run):
    with pytest.raises(InputError, match="is a baseline; --backend onnx is for encoders"):
        load_classifier(str(baseline_run), backend="onnx", precision="int8")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install -r requirements-onnx\.txt"):
        load_classifier(str(exported_run), backend="onnx", precision="int8")


def test_onnx_files_are_published_follow_a_refolding_and_are_fetched_where_asked_for(run, tmp_path):
    with serve() as hub:
        done = on_hub(hub, tmp_path, "run_push.py", run, "--hub_model_id", "emotions", "--fold_thresholds", "false")
        assert done.returncode == 0, done.stderr[-2000:]
        files = hub.files("user/emotions")
        assert {path for path in files if path.startswith("onnx")} == set(ONNX_FILES.values())
        unfolded = load_classifier(str(run), backend="onnx", precision="fp32")[0].predict(TEXTS)
        np.testing.assert_allclose(unfolded, load_classifier(str(run))[0].predict(TEXTS), atol=1e-5)
        for file in ONNX_FILES.values():
            assert files[file] == (run / file).read_bytes()

        hub.log.clear()
        done = on_hub(hub, tmp_path, "-c", THREE_WAYS, "--model", "user/emotions", *TEXTS, "--top_k", "1")
        assert done.returncode == 0, done.stderr[-2000:]
        assert len(done.stdout.splitlines()) == 3 * len(TEXTS)
        fetched = [line.split("/resolve/")[1].split("/", 1)[1] for line in hub.log if line.startswith("GET /user/")]
        weights = [path for path in fetched if path.endswith((".onnx", ".safetensors"))]
        assert weights == ["onnx/model_quantized.onnx", "onnx/model.onnx", "model.safetensors"]

        # Folded again where the export cannot be repeated: the repository must not keep files of the unfolded model.
        done = on_hub(hub, tmp_path, "-c", WITHOUT_PACKAGES.format("run_push"), run, "--hub_model_id", "emotions",
                      "--fold_thresholds", "true")  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        assert "ONNX was left out" in done.stdout
        assert not [path for path in hub.files("user/emotions") if path.startswith("onnx")]


def test_transformers_js_reads_the_same_from_the_hub(run, tmp_path, capsys):
    """Published with run_push.py, loaded with @huggingface/transformers in Node: labels and scores of run_inference."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    if not (ROOT / "node_modules" / "@huggingface" / "transformers").is_dir():
        pytest.skip("transformers.js is not installed: `make node` does it")
    with serve() as hub:
        done = on_hub(hub, tmp_path, "run_push.py", run, "--hub_model_id", "emotions")
        assert done.returncode == 0, done.stderr[-2000:]
        for dtype, precision in (("q8", "int8"), ("fp32", "fp32")):
            command = ["node", str(ROOT / "tests" / "transformers_js.mjs"), "user/emotions", dtype, *TEXTS]
            environment = os.environ | {"HF_ENDPOINT": hub.url}
            node = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
            assert node.returncode == 0, node.stderr[-2000:]
            run_inference.main(["--model", str(run), "--backend", "onnx", "--precision", precision, "--threshold", "0",
                                *TEXTS])  # fmt: skip
            rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            for scores, row in zip(json.loads(node.stdout.splitlines()[-1]), rows, strict=True):
                assert scores == pytest.approx(dict(zip(row["labels"], row["scores"], strict=True)), abs=1e-4)
                assert list(scores)[:3] == row["labels"][:3]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_onnx_files_of_another_model_are_refused(run, tmp_path, precision):
    """Of the same labels and the same kind, as after a second training in the same folder by other means."""
    weights = load_file(run / "model.safetensors")
    weights["classifier.weight"] += 0.1
    save_file(weights, run / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"onnx is of another model: its output layer is not that of model\.safeten"):
        load_classifier(str(run), backend="onnx", precision=precision)
    (run / "model.safetensors").unlink()  # as where they come from the Hub: by their labels
    load_classifier(str(run), backend="onnx", precision=precision)
    for name in ("config.json", "thresholds.json"):
        (run / name).write_text((run / name).read_text().replace("admiration", "awe"))
    with pytest.raises(InputError, match="its labels are not those of config"):
        load_classifier(str(run), backend="onnx", precision=precision)
