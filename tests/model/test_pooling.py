import numpy as np
import pytest
import torch
from conftest import encoder_configs
from transformers import (
    AutoModelForSequenceClassification,
    CanineConfig,
    ConvBertConfig,
    LongformerConfig,
    MobileBertConfig,
    NystromformerConfig,
    YosoConfig,
    pipeline,
)

import run_finetune
from utils.console import InputError
from utils.model.classifiers import load_classifier
from utils.model.pooling import pool_by_mean
from utils.run_folder import RunFolder

WITH_A_LAYER_MORE = ["bert", "roberta", "xlm-roberta", "distilbert", "electra", "mpnet"]


def made(kind: str):
    torch.manual_seed(0)
    config, _ = encoder_configs()[kind]
    config.num_labels = 28
    return AutoModelForSequenceClassification.from_config(config).eval()


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Two comments of nine and of six tokens."""
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 6:] = 0
    return {"input_ids": torch.randint(5, 700, (2, 9), generator=torch.Generator().manual_seed(1)) * mask,
            "attention_mask": mask}  # fmt: skip


def states(model, batch) -> torch.Tensor:
    with torch.no_grad():
        return model.base_model(**batch).last_hidden_state


@pytest.mark.parametrize("kind", WITH_A_LAYER_MORE)
def test_the_first_token_starts_with_the_mean_over_all_that_are_not_padding(kind, batch):
    model = made(kind)
    if kind == "mpnet":  # its position bias, which all layers share, would make the mean a weighted one
        torch.nn.init.zeros_(model.mpnet.encoder.relative_attention_bias.weight)
    before, mask = states(model, batch), batch["attention_mask"][..., None]
    mean = (before * mask).sum(dim=1) / mask.sum(dim=1)
    pool_by_mean(model, share=3.0)
    expected = torch.nn.functional.layer_norm(before[:, 0] + 3 * mean, (16,))
    torch.testing.assert_close(states(model, batch)[:, 0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [*WITH_A_LAYER_MORE, "modernbert"])
def test_every_client_loads_it_again_and_all_of_it_learns(kind, batch, tmp_path):
    model = made(kind)
    pool_by_mean(model)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits)

    optimizer, start = torch.optim.AdamW(loaded.parameters(), lr=1e-2), loaded.state_dict()
    start = {name: tensor.clone() for name, tensor in start.items()}
    for _ in range(3):
        loaded(**batch).logits.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    last = f"layer.{loaded.config.num_hidden_layers - 1}."
    still = {name for name, tensor in loaded.state_dict().items() if last in name and torch.equal(tensor, start[name])}
    # A bias of all keys moves every score of a token alike: attention, and so the loss, does not depend on it.
    assert all(name.endswith(("key.bias", "attn.k.bias", "k_lin.bias")) for name in still)


def test_modernbert_reads_the_mean_by_its_own_setting(batch):
    model = made("modernbert")
    mean = states(model, batch)
    pool_by_mean(model)
    mask = batch["attention_mask"][..., None]
    expected = model.classifier(model.head((mean * mask).sum(dim=1) / mask.sum(dim=1)))
    torch.testing.assert_close(model(**batch).logits, expected)


def test_another_kind_of_encoder_is_refused_in_one_sentence():
    with pytest.raises(InputError, match=r"--pooling mean does not know how DebertaV2.* --pooling first_token"):
        pool_by_mean(made("deberta-v2"))


SIZES = {"vocab_size": 800, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 28, "max_position_embeddings": 80}  # fmt: skip
BUILT_OTHERWISE = {
    "longformer": LongformerConfig(**SIZES, attention_window=[4]),
    "a wide longformer": LongformerConfig(**SIZES, attention_window=512),
    "convbert": ConvBertConfig(**SIZES, embedding_size=16),
    "mobilebert": MobileBertConfig(**{**SIZES, "hidden_size": 32}, embedding_size=16, intra_bottleneck_size=16),
    "canine": CanineConfig(**{**SIZES, "vocab_size": None, "max_position_embeddings": 16384}),
    "nystromformer": NystromformerConfig(**SIZES),
    "yoso": YosoConfig(**SIZES),
}


@pytest.mark.parametrize("kind", BUILT_OTHERWISE)
def test_layers_that_look_alike_and_attend_otherwise_are_refused(kind):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(BUILT_OTHERWISE[kind])
    with pytest.raises(InputError, match=f"does not know how {type(model).__name__} is built") as caught:
        pool_by_mean(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [*WITH_A_LAYER_MORE, "modernbert"])
def test_looking_whether_it_works_leaves_no_trace(kind):
    """The model stays in its mode, MPNet keeps its position bias, and nothing else is drawn from another number on."""
    model = made(kind).train()
    bias = [weight.clone() for name, weight in model.named_parameters() if "relative_attention_bias" in name]
    assert len(bias) == (kind == "mpnet")
    torch.manual_seed(1)
    pool_by_mean(model)
    drawn = torch.rand(1)
    assert all(module.training for module in model.modules())
    after = [weight for name, weight in model.named_parameters() if "relative_attention_bias" in name]
    assert all(torch.equal(one, other) for one, other in zip(bias, after, strict=True))
    torch.manual_seed(1)
    if kind != "modernbert":
        for width in (16, 28):  # the query, and the first half of the feed-forward part
            torch.empty(width, 16).normal_()
    assert torch.equal(drawn, torch.rand(1))


def test_the_mean_reaches_the_output_layer():
    """RoBERTa's and MPNet's classifiers begin with a dense layer of their own, ELECTRA's with one before a GELU."""
    for kind in ("roberta", "mpnet", "electra"):
        model = made(kind)
        pool_by_mean(model)
        assert torch.equal(model.classifier.dense.weight, torch.eye(16)) == (kind != "electra")


def test_a_run_that_pools_answers_alike_in_the_pipeline_and_in_onnx(finetune_arguments, tmp_path):
    run_finetune.main(
        [*finetune_arguments, "--pooling", "mean", "--export_onnx", "true", "--output_dir", str(tmp_path)]
    )
    names, (texts, _, probabilities) = RunFolder(tmp_path).read_predictions("validation")
    classifier = pipeline("text-classification", model=str(tmp_path), top_k=None)
    assert classifier.model.config.num_hidden_layers == 3
    answers = [{answer["label"]: answer["score"] for answer in row} for row in classifier(list(texts[:20]))]
    by_pipeline = np.array([[row[name] for name in names] for row in answers])
    onnx, _ = load_classifier(str(tmp_path), backend="onnx")
    by_onnx = np.stack(list(onnx.predict(list(texts[:20]))))
    thresholds = np.array([classifier.model.config.folded_thresholds[name] for name in names])
    assert ((by_pipeline >= 0.5) == (probabilities[:20] >= thresholds)).all()
    np.testing.assert_allclose(by_onnx, by_pipeline, atol=1e-4)
