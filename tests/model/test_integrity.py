"""A model whose files do not belong together is refused, whatever the libraries would make of it."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

import run_evaluate
import run_export
import run_finetune
import run_inference
from utils.console import InputError
from utils.model.classifiers import load_classifier
from utils.model.loading import load_model


def edit(name, **changes):
    """Change keys of a JSON file; a value that is called gets the old one."""

    def damage(folder):
        content = json.loads((folder / name).read_text())
        for key, value in changes.items():
            content[key] = value(content.get(key)) if callable(value) else value
        (folder / name).write_text(json.dumps(content))

    return damage


def weights(change):
    """Change the tensors of model.safetensors, a dictionary."""

    def damage(folder):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return damage


def rename(tensors):
    for name in [name for name in tensors if "layer.0.attention" in name]:
        tensors[name.replace("attention", "atention")] = tensors.pop(name)


def of_integers(tensors):
    name = next(name for name in tensors if name.endswith("query.weight"))
    tensors[name] = (tensors[name] * 100).to(torch.int8)


def not_a_number(tensors):
    tensors[next(name for name in tensors if name.endswith("query.weight"))][0, 0] = torch.nan


def one_more_layer(tensors):
    for name in [name for name in tensors if ".layer.0." in name]:
        tensors[name.replace(".layer.0.", ".layer.7.")] = tensors[name].clone()


def another_shape(tensors):
    name = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    tensors[name] = tensors[name][:-10].clone()


def without_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()


def more_tokens(folder):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_tokens([f"word{number}" for number in range(2000)])
    tokenizer.save_pretrained(folder)


def cut_short(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:1000])


def first_to(value):
    return lambda thresholds: {name: value if i == 0 else old for i, (name, old) in enumerate(thresholds.items())}


OF_ANY_MODEL = {
    "no tokenizer": (without_tokenizer, "has no tokenizer"),
    "a tokenizer with more tokens": (more_tokens, "its tokenizer has more"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "could not be loaded"),
    "weights cut short": (cut_short("model.safetensors"), "could not be loaded"),
    "weights called otherwise": (weights(rename), "its file lacks 10 of the weights"),
    "weights of integers": (weights(of_integers), "is stored as I8"),
    "weights that are no numbers": (weights(not_a_number), "no numbers"),
    "a layer too many": (weights(one_more_layer), "weights that config.json knows nothing of"),
    "a layer too few": (edit("config.json", num_hidden_layers=lambda count: count + 1), "its file lacks"),
    "a million layers": (edit("config.json", num_hidden_layers=1_000_000), "num_hidden_layers 1,000,000"),
    "a smaller vocabulary": (weights(another_shape), "shape|size"),
    "config.json is a list": (lambda folder: (folder / "config.json").write_text("[]"), "could not be loaded"),
}
OF_A_RUN = {
    "id2label with a gap": (
        edit("config.json", id2label=lambda names: {i: name for i, name in names.items() if i != "1"}),
        "id2label|could not be loaded",
    ),
    "a label twice": (edit("config.json", id2label=lambda names: names | {"1": names["0"]}), "more than one id"),
    "a label that is no text": (edit("config.json", id2label=lambda names: names | {"1": 5}), "no text"),
    "a threshold above 1": (edit("thresholds.json", folded=False, thresholds=first_to(1.5)), "1.5"),
    "a threshold of nan": (edit("thresholds.json", folded=False, thresholds=first_to(float("nan"))), "nan"),
    "thresholds for other labels": (
        edit("thresholds.json", thresholds=lambda old: {f"{name}x": value for name, value in old.items()}),
        "name different labels",
    ),
    "a classifier for more labels": (
        edit("config.json", id2label=lambda names: names | {str(len(names)): "more"}),
        "name different labels",
    ),
    "a classifier called otherwise": (
        weights(lambda tensors: tensors.update({"score.weight": tensors.pop("classifier.weight")})),
        "its file lacks 1 of the weights",
    ),
}


def copy(run, folder):
    return shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoints", "plots"))


@pytest.mark.parametrize("kind", [*OF_ANY_MODEL, *OF_A_RUN])
def test_a_finished_model(kind, finished_run, tmp_path):
    damage, words = (OF_ANY_MODEL | OF_A_RUN)[kind]
    folder = copy(finished_run, tmp_path / "run")
    damage(folder)
    with pytest.raises(InputError, match=words) as caught:
        run_inference.main(["--model", str(folder), "so fast"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", OF_ANY_MODEL)
def test_an_encoder(kind, tiny_bert, finetune_arguments, tmp_path):
    """A new classifier is drawn at random, and nothing else."""
    damage, words = OF_ANY_MODEL[kind]
    folder = shutil.copytree(tiny_bert, tmp_path / "encoder")
    damage(folder)
    arguments = [*finetune_arguments, "--model_name_or_path", str(folder), "--output_dir", str(tmp_path / "new")]
    with pytest.raises(InputError, match=words) as caught:
        run_finetune.main(arguments)
    assert "\n" not in str(caught.value)


def test_every_script_that_takes_a_run_refuses_it(finished_run, finetune_arguments, tmp_path):
    folder = copy(finished_run, tmp_path / "run")
    weights(rename)(folder)
    teacher = [*finetune_arguments, "--teacher", str(folder), "--output_dir", str(tmp_path / "new")]
    for main, arguments in (
        (run_export.main, [str(folder)]),
        (run_evaluate.main, [str(folder), "--threshold_strategy", "global"]),
        (run_finetune.main, teacher),
    ):
        with pytest.raises(InputError, match="its file lacks 10 of the weights"):
            main(arguments)


@pytest.mark.parametrize("kept", ["no file of skops", "of fewer labels"])
def test_a_baseline(kept, baseline_run, tmp_path):
    folder = copy(baseline_run, tmp_path / "run")
    if kept == "no file of skops":
        (folder / "baseline.skops").write_bytes(b"PK\x03\x04 and more")
    else:
        edit("thresholds.json", thresholds=lambda old: dict(list(old.items())[1:]))(folder)
    with pytest.raises(InputError, match=r"is no baseline|answers for 28 labels"):
        load_classifier(folder)


def test_what_an_encoder_was_trained_with_is_no_surplus(tiny_bert, tmp_path):
    """A language model's head in the file, no pooler in it: as bert-base-uncased and ModernBERT are published."""
    folder = shutil.copytree(tiny_bert, tmp_path / "encoder")

    def as_published(tensors):
        for name in [name for name in tensors if "pooler" in name]:
            del tensors[name]
        tensors["cls.predictions.bias"] = torch.zeros(10)

    weights(as_published)(folder)
    model, is_new = load_model(str(folder), ["joy", "grief"])
    assert is_new
    before = BertModel.from_pretrained(tiny_bert).embeddings.word_embeddings.weight
    assert torch.equal(model.base_model.embeddings.word_embeddings.weight, before)


def test_a_classifier_that_is_kept_is_not_drawn_anew(tmp_path, tiny_bert):
    config = BertConfig.from_pretrained(tiny_bert, id2label={0: "joy", 1: "grief"}, label2id={"joy": 0, "grief": 1})
    model = BertForSequenceClassification(config)
    shutil.copytree(tiny_bert, tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    kept, is_new = load_model(str(tmp_path / "model"), ["joy", "grief"])
    assert not is_new
    assert np.array_equal(kept.classifier.weight.detach(), model.classifier.weight.detach())
    weights(lambda tensors: tensors.pop("classifier.weight"))(tmp_path / "model")
    with pytest.raises(InputError, match="lacks 1 of the weights"):
        load_model(str(tmp_path / "model"), ["joy", "grief"])
    load_model(str(tmp_path / "model"), ["joy", "pride"])  # another classifier takes its place
