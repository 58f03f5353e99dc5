"""A new classifier starts from its labels' descriptions, on every kind of encoder, and knows what they say."""

import pytest
import torch
from conftest import ROOT, causal_configs, encoder_configs, saved
from sklearn.metrics import average_precision_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import run_finetune
from utils.arguments import FinetuneArguments, ModelArguments, parse_arguments
from utils.console import InputError
from utils.data.descriptions import read_descriptions
from utils.data.labels import GO_EMOTIONS, multi_hot
from utils.model.descriptions import start_from_descriptions
from utils.model.head import has_bias, output_layer
from utils.model.loading import load_for_training, load_tokenizer, resolve_model
from utils.run_folder import PUBLISHED, RunFolder

KINDS = {name: config for name, (config, _) in encoder_configs().items()} | causal_configs()


@pytest.fixture(params=KINDS)
def loaded(request, tiny_bert, tmp_path, demo):
    """A new classifier of each kind, its tokenizer and the demo corpus' training rows."""
    folder = saved(KINDS[request.param], tiny_bert, tmp_path / request.param)
    tokenizer = load_tokenizer(str(folder))
    return load_for_training(str(folder), tokenizer, demo["train"]), tokenizer, demo["train"]


def logits(model, tokenizer, texts) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")).logits


def test_comments_differ_around_the_label_frequencies(loaded):
    """By half a unit, unless weights of a sane size do not reach that with what random encoders tell apart."""
    model, tokenizer, train = loaded
    model.train()
    before = output_layer(model).bias.clone() if has_bias(model) else None
    descriptions = read_descriptions("go_emotions", GO_EMOTIONS)
    texts = train["text"][:256]
    start_from_descriptions(model, tokenizer, descriptions, texts)
    assert model.training
    answers, weights = logits(model, tokenizer, texts), output_layer(model).weight.detach()
    spread, size = answers.std(dim=0, correction=0).mean().item(), weights.square().mean().sqrt().item()
    assert 0 < spread < 0.505
    assert 0 < size < 0.1005
    assert spread > 0.495 or size > 0.0995
    if before is not None:  # the mean over comments still says how frequent each label is
        torch.testing.assert_close(answers.mean(dim=0), before, atol=0.01, rtol=0)
    # The rows of weights have a mean of zero: what all descriptions share moves no label.
    assert weights.mean(dim=0).abs().max() < 1e-3 * size


def test_a_single_label_has_a_start_and_what_is_all_the_same_is_refused(tiny_bert, demo):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    texts = demo["train"]["text"][:50]
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=1)
    start_from_descriptions(model, tokenizer, ["refund: wants money back"], texts)
    assert 0 < logits(model, tokenizer, texts).std(correction=0).item() < 0.505
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=2)
    for same, descriptions in ((["a comment"] * 3, ["one", "two"]), (texts, ["the same", "the same"])):
        with pytest.raises(InputError, match="makes the same of every text"):
            start_from_descriptions(model, tokenizer, descriptions, same)


def test_a_classifier_of_another_build_is_refused(tiny_bert):
    model = AutoModelForSequenceClassification.from_config(KINDS["bert"])
    model.classifier.register_forward_hook(lambda _, inputs, outputs: outputs * 2)
    model.register_forward_hook(lambda _, inputs, outputs: outputs.__setitem__("logits", outputs.logits + 1) or outputs)
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    with pytest.raises(InputError, match="does not know how BertForSequenceClassification classifies"):
        start_from_descriptions(model, tokenizer, ["one", "two"], ["a comment", "another"])


@pytest.mark.parametrize("source", ["go_emotions", "names"])
def test_minilm_knows_much_of_described_emotions_before_it_has_learned(source, demo):
    """Mean average precision on 56 validation comments of the demo corpus, two of each label."""
    path, _ = resolve_model("minilm")
    tokenizer = load_tokenizer(path)
    rows = demo["validation"]
    places = {place for label in range(28) for place in [p for p, ids in enumerate(rows["labels"]) if label in ids][:2]}
    rows, train = rows.select(sorted(places)), demo["train"].select(range(100))
    gold = multi_hot(rows["labels"], 28)
    precision = {}
    for start in (None, source):
        torch.manual_seed(0)
        model = load_for_training(path, tokenizer, train, True, "mean", False, read_descriptions(start, GO_EMOTIONS))
        answers = logits(model, tokenizer, rows["text"])
        precision[start] = average_precision_score(gold, answers.numpy(), average="macro")
    assert precision[source] > 2 * precision[None], precision


def test_what_a_recipe_says_is_taken_back():
    recipe = ROOT / "recipes" / "few_comments.yaml"
    for said, kept in (([], "names"), (["--label_descriptions", "none"], None)):
        (model,) = parse_arguments((ModelArguments, FinetuneArguments), ["--config", str(recipe), *said], "")[:1]
        assert model.label_descriptions == kept


def test_a_run_starts_from_a_file_and_shows_nobody_where_it_lies(finetune_arguments, tmp_path, capsys):
    source = tmp_path / "secret folder" / "meanings.yaml"
    source.parent.mkdir()
    source.write_text("".join(f"{name}: what people call {name}\n" for name in GO_EMOTIONS))
    arguments = [*finetune_arguments, "--label_descriptions", str(source), "--output_dir", str(tmp_path / "run")]
    run_finetune.main(arguments)
    RunFolder(tmp_path / "run").require_finished()
    assert RunFolder(tmp_path / "run").read("run.json")["shown"]["label_descriptions"] == "meanings.yaml"
    for path in PUBLISHED:
        if (tmp_path / "run" / path).is_file():
            assert b"secret folder" not in (tmp_path / "run" / path).read_bytes()
    said = capsys.readouterr().out
    assert "classifier starts at what the labels mean: 'admiration: what people call admiration', …" in said

    source.write_text(source.read_text().replace("people call", "nobody calls"))
    differs = r"something else \(label_descriptions .*meanings.yaml \(sha256 \w+…\) then, .* now\)"
    with pytest.raises(InputError, match=differs):
        run_finetune.main([*arguments, "--resume_from_checkpoint"])
