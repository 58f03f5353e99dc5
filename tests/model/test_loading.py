import numpy as np
import pytest
import torch
from conftest import encoder_configs
from transformers import AutoModelForSequenceClassification

from utils.console import InputError
from utils.data.labels import GO_EMOTIONS
from utils.model import loading
from utils.model.head import head_parameters, init_head_bias, output_layer, start_pooler_as_identity
from utils.model.loading import load_model, load_tokenizer, resolve_model


@pytest.mark.parametrize("kind", encoder_configs())
def test_the_head_starts_at_the_label_frequencies_in_every_encoder(kind):
    """An intermediate layer of 28 units (as many as labels) must not be taken for the output layer."""
    config, name = encoder_configs()[kind]
    config.num_labels = 28
    model = AutoModelForSequenceClassification.from_config(config).eval()
    assert output_layer(model) is model.get_submodule(name)
    assert {f"{name}.weight", f"{name}.bias"} <= head_parameters(model)
    assert not any("embeddings" in parameter for parameter in head_parameters(model))

    matrix = np.zeros((100, 28), dtype=np.float32)
    matrix[:30, 0] = matrix[:4, 1] = 1
    matrix[:, 2] = 1
    with torch.no_grad():
        output_layer(model).weight.zero_()
    init_head_bias(model, matrix)
    with torch.no_grad():
        probabilities = model(torch.tensor([[5, 6, 7]])).logits.sigmoid()[0].numpy()
    assert probabilities[:4] == pytest.approx([0.30, 0.04, 0.995, 0.005], abs=1e-5)


def test_a_pooler_that_was_never_trained_is_part_of_the_head_and_hands_on_what_it_gets(tiny_bert):
    """As in all-MiniLM, which averages over tokens; bert-base-uncased's has been trained with the encoder."""
    model, _ = load_model(str(tiny_bert), ["a", "b"])
    pooler = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert head_parameters(model) == pooler | {"classifier.weight", "classifier.bias"}
    start_pooler_as_identity(model)
    states = torch.randn(3, 5, 32)
    torch.testing.assert_close(model.bert.pooler(states), states[:, 0].tanh())

    with torch.no_grad():
        model.bert.pooler.dense.bias.fill_(0.1)
        trained = torch.nn.init.normal_(model.bert.pooler.dense.weight).clone()
    start_pooler_as_identity(model)
    assert head_parameters(model) == {"classifier.weight", "classifier.bias"}
    assert torch.equal(model.bert.pooler.dense.weight, trained)


def test_a_new_classifier_gets_names_and_problem_type(tiny_bert):
    model, is_new = load_model(str(tiny_bert), GO_EMOTIONS)
    assert is_new
    assert model.config.problem_type == "multi_label_classification"
    assert model.config.id2label[17] == "joy"
    assert model.config.label2id["neutral"] == 27
    assert model.dtype == torch.float32


def test_a_published_classifier_is_kept_for_its_own_labels_and_replaced_for_others(tiny_bert, tmp_path, capsys):
    model, _ = load_model(str(tiny_bert), ["up", "down"])
    with torch.no_grad():
        output_layer(model).bias.fill_(3.0)
    model.save_pretrained(tmp_path)
    same, is_new = load_model(str(tmp_path), ["up", "down"])
    assert not is_new
    assert output_layer(same).bias.tolist() == [3.0, 3.0]
    for others in (["down", "up"], ["up", "down", "still"]):
        other, is_new = load_model(str(tmp_path), others)
        assert is_new
        assert output_layer(other).bias.tolist() == [0.0] * len(others)
        assert "other labels (up, down" in capsys.readouterr().out


def test_minilm_is_the_official_file_or_refused(monkeypatch):
    path, hub_id = resolve_model("minilm")
    assert hub_id == "sentence-transformers/all-MiniLM-L6-v2"
    assert load_tokenizer(path).model_max_length == 512
    monkeypatch.setattr(loading, "MINILM_SHA256", "0" * 64)
    with pytest.raises(InputError, match="SHA-256 differs"):
        resolve_model("minilm")


def test_without_the_package_minilm_is_the_hubs(monkeypatch):
    monkeypatch.setattr(loading, "MINILM_PACKAGE", "no_such_package")
    assert resolve_model("minilm") == ("sentence-transformers/all-MiniLM-L6-v2",) * 2


def test_an_unknown_model_is_one_sentence():
    with pytest.raises(InputError, match="Model nobody/nothing could not be loaded") as caught:
        load_tokenizer("nobody/nothing")
    assert "\n" not in str(caught.value)
