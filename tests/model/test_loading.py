import numpy as np
import pytest
import torch
from conftest import causal_configs, encoder_configs, saved
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BartConfig,
    DebertaV2Config,
    PreTrainedTokenizerFast,
    RobertaConfig,
    T5Config,
    XLNetConfig,
    pipeline,
)

from utils.console import InputError
from utils.data.labels import GO_EMOTIONS
from utils.model import loading
from utils.model.classifiers import load_classifier
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


# --- what cannot work -----------------------------------------------------------------------------------------------

ENCODER_DECODERS = {
    "bart": BartConfig(vocab_size=800, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
                       decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16),
    "t5": T5Config(vocab_size=800, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0),
}  # fmt: skip


@pytest.mark.parametrize("kind", ENCODER_DECODERS)
def test_encoder_decoders_are_refused_in_one_sentence(kind, tiny_bert, tmp_path):
    config = ENCODER_DECODERS[kind]
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)  # a finished one
    PreTrainedTokenizerFast.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    for load in (load_tokenizer, lambda path: load_model(path, ["a", "b"]), load_classifier):
        with pytest.raises(InputError, match=f"is an encoder-decoder \\({kind}\\)") as caught:
            load(str(tmp_path))
        assert "\n" not in str(caught.value)


def test_a_padding_token_that_the_model_does_not_know_is_refused(tiny_bert, tmp_path):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_bert)
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    folder = saved(causal_configs()["gpt2"], tiny_bert, tmp_path)
    tokenizer.save_pretrained(folder)
    with pytest.raises(
        InputError, match=r"knows 800 tokens, and its tokenizer pads with another \('<padding>', id 800"
    ):
        load_model(str(folder), ["a", "b"], load_tokenizer(str(folder)))


# --- how much a model reads, and how it is padded -------------------------------------------------------------------


def tabled() -> dict[str, tuple[object, int | None]]:
    """Configurations whose tables of positions have 80 rows (DistilBERT's: 512), and for how many tokens these last."""
    encoders = {kind: config for kind, (config, _) in encoder_configs().items()}
    return {
        "bert": (encoders["bert"], 80), "electra": (encoders["electra"], 80), "gpt2": (causal_configs()["gpt2"], 80),
        "deberta-v2": (encoders["deberta-v2"], 80), "distilbert": (encoders["distilbert"], 512),
        "roberta": (encoders["roberta"], 78), "xlm-roberta": (encoders["xlm-roberta"], 78),
        "mpnet": (encoders["mpnet"], 78), "opt": (causal_configs()["opt"], 80),
        "modernbert": (encoders["modernbert"], None), "llama": (causal_configs()["llama"], None),
        "relative deberta-v2": (DebertaV2Config(
            vocab_size=800, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=28,
            max_position_embeddings=80, relative_attention=True, position_biased_input=False,
        ), None),
    }  # fmt: skip


@pytest.mark.parametrize("kind", tabled())
def test_a_tokenizers_limit_ends_where_its_models_positions_end(kind, tiny_bert, tmp_path):
    config, places = tabled()[kind]
    saved(config, tiny_bert, tmp_path, model_max_length=1000)
    assert load_tokenizer(str(tmp_path)).model_max_length == (
        places or 1000
    )  # relative positions: as the tokenizer says
    saved(config, tiny_bert, tmp_path, model_max_length=40)
    assert load_tokenizer(str(tmp_path)).model_max_length == 40
    saved(config, tiny_bert, tmp_path, model_max_length=10**30)
    assert load_tokenizer(str(tmp_path)).model_max_length == (places or config.max_position_embeddings)


def test_a_long_row_is_cut_to_robertas_positions_in_training_and_inference(tiny_bert, tmp_path):
    """80 rows, of which two belong to padding: a tokenizer that allows 80 tokens would end a whole file."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 28}
    config = RobertaConfig(vocab_size=800, max_position_embeddings=80, **sizes)
    folder = saved(config, tiny_bert, tmp_path / "base", model_max_length=80)
    tokenizer = load_tokenizer(str(folder))
    model, _ = load_model(str(folder), ["a", "b"], tokenizer)
    model.save_pretrained(tmp_path / "run")
    tokenizer.save_pretrained(tmp_path / "run")
    published = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert published.model_max_length == 78
    for classifier in (load_classifier(str(tmp_path / "run"))[0], load_classifier(str(folder_of_foreign(tmp_path)))[0]):
        assert classifier.predict(["short", "a long comment " * 100]).shape == (2, 2)


def folder_of_foreign(tmp_path):
    """The same classifier with a tokenizer that has never been corrected."""
    PreTrainedTokenizerFast.from_pretrained(tmp_path / "base", model_max_length=80).save_pretrained(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("kind", [*causal_configs(), "bert", "xlnet"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_comment_has_one_answer_alone_and_in_any_batch(kind, side, tiny_bert, tmp_path):
    xlnet = XLNetConfig(vocab_size=800, d_model=16, n_layer=1, n_head=2, d_inner=28)
    config = {**causal_configs(), "bert": encoder_configs()["bert"][0], "xlnet": xlnet}[kind]
    folder = saved(config, tiny_bert, tmp_path, padding_side=side)
    tokenizer = load_tokenizer(str(folder))
    model, _ = load_model(str(folder), ["a", "b", "c"], tokenizer)
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    classifier, _ = load_classifier(str(folder))
    texts = ["I am glad!", "what a long and tedious story about nothing at all this is", "no", "Thanks a lot, friend."]
    alone = np.concatenate([classifier.predict([text]) for text in texts])
    assert np.ptp(alone, axis=0).max() > 0.01
    np.testing.assert_allclose(classifier.predict(texts), alone, atol=1e-6)
    by_others = pipeline("text-classification", model=str(folder), top_k=None, function_to_apply="sigmoid")
    answers = by_others(texts, batch_size=1 if kind == "xlnet" else 4)  # whose memories the pipeline cannot divide
    np.testing.assert_allclose([[{a["label"]: a["score"] for a in row}[name] for name in "abc"] for row in answers],
                               alone, atol=1e-6)  # fmt: skip


def test_a_comment_without_a_token_is_answered(tiny_bert, tmp_path):
    """Causal models add no tokens of their own; two blanks are none."""
    folder = saved(causal_configs()["gpt2"], tiny_bert, tmp_path)
    tokenizer = load_tokenizer(str(folder))
    tokenizer._tokenizer.post_processor = None
    model, _ = load_model(str(folder), ["a", "b"], tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    classifier, _ = load_classifier(str(folder))
    for texts in (["  "], ["glad", "  "]):
        assert np.isfinite(classifier.predict(texts)).all()
