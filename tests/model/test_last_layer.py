"""The last layer answers for the first token alone where nothing else is read, and nowhere else."""

import pytest
import torch
from conftest import encoder_configs
from transformers import AutoModelForSequenceClassification

from utils.model.classifiers import EncoderClassifier, load_classifier, load_encoder
from utils.model.last_layer import compute_first_token_only
from utils.model.pooling import random_batch
from utils.run_folder import RunFolder

LIKE_BERT = {"bert", "roberta", "xlm-roberta", "electra"}


def classifier(kind):
    config, _ = encoder_configs()[kind]
    config.num_labels = 28
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("weight") and weight.dim() == 2:
                weight.normal_(std=0.3)  # far enough from zero that another token is another answer
    return model


def widths(layer):
    """How many tokens the feed-forward part of a layer has computed, call by call."""
    found = []
    layer.intermediate.register_forward_hook(lambda module, given, output: found.append(output.shape[1]))
    return found


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", sorted(encoder_configs()))
@torch.inference_mode()
def test_the_answer_stays_and_the_work_shrinks(kind, attention):
    model = classifier(kind)
    if kind in LIKE_BERT:
        model.set_attn_implementation(attention)
    batch = random_batch(model)
    before, saved = model(**batch).logits, set(model.state_dict())
    assert compute_first_token_only(model) == (kind in LIKE_BERT)
    torch.testing.assert_close(model(**batch).logits, before, rtol=0, atol=1e-5)
    assert set(model.state_dict()) == saved
    if kind in LIKE_BERT:
        computed = widths(model.base_model.encoder.layer[-1])
        model(**batch)
        model.bfloat16()(**batch)
        assert computed == [1, 1]


def test_a_classifier_that_reads_all_tokens_stays_as_it_is():
    model = classifier("bert")
    model.bert.pooler.forward = lambda states: torch.tanh(model.bert.pooler.dense(states.mean(dim=1)))
    assert not compute_first_token_only(model)
    computed = widths(model.bert.encoder.layer[-1])
    batch = random_batch(model)
    model(**batch)
    assert computed == [batch["input_ids"].shape[1]]


def test_what_is_loaded_to_answer_computes_less_than_what_is_exported(finished_run):
    texts = ["so happy", "I finally passed the exam, and nobody noticed!"]
    whole = load_encoder(RunFolder(finished_run))
    answering, _ = load_classifier(finished_run)
    assert isinstance(answering, EncoderClassifier)
    computed = [widths(one.model.bert.encoder.layer[-1]) for one in (whole, answering)]
    torch.testing.assert_close(
        torch.from_numpy(answering.predict(texts)), torch.from_numpy(whole.predict(texts)), rtol=0, atol=1e-5
    )
    assert max(computed[0]) > 1
    assert computed[1] == [1]
