import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from skops import io as skops_io
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from utils.console import InputError
from utils.explaining import attributions as module
from utils.explaining.attributions import Explainer, attributions
from utils.explaining.words import words_of
from utils.model.baseline import BaselineClassifier
from utils.model.classifiers import EncoderClassifier, load_classifier

TEXTS = ["I'm so happy, happy today!! 😂", "", "İİ so 高兴 well-known", "<b>\x00\u202e", "ok ok", "thanks " * 40]


@pytest.fixture(scope="module")
def known_baseline(tmp_path_factory):
    """A baseline over three words of equal weight, with coefficients that a test can add up in its head."""
    pipeline = make_pipeline(TfidfVectorizer(norm=None, use_idf=False), OneVsRestClassifier(LogisticRegression()))
    pipeline.fit(["good bad so", "good", "bad", "so"], np.array([[1, 0], [1, 0], [0, 1], [0, 1]]))
    vocabulary = pipeline[0].vocabulary_
    for estimator, weights in zip(pipeline[-1].estimators_, ({"good": 2.0, "bad": -1.5}, {"bad": 3.0}), strict=True):
        estimator.coef_[:] = [[weights.get(word, 0.0) for word in sorted(vocabulary)]]
        estimator.intercept_[:] = -1
    path = tmp_path_factory.mktemp("baseline") / "baseline.skops"
    path.write_bytes(skops_io.dumps(pipeline))
    return BaselineClassifier(str(path), ["joy", "anger"])


def test_a_baseline_explains_itself_by_its_coefficients(known_baseline):
    ((cell,), (anger,)) = Explainer(known_baseline)(["Good, good but BAD-so 😂"], [["joy"]]) + Explainer(
        known_baseline, "anger"
    )(["no such word, bad"], [[]])
    assert [(item["word"], item["contribution"]) for item in cell["words"]] == [
        ("Good", 2.0), (",", 0.0), ("good", 2.0), ("but", 0.0), ("BAD-so", -1.5), ("😂", 0.0)
    ]  # fmt: skip
    assert (cell["without_words"], cell["together"], cell["log_odds"]) == (-1.0, 0.0, 1.5)
    assert expit(cell["log_odds"]) == pytest.approx(
        known_baseline.predict(["Good, good but BAD-so 😂"])[0, 0], abs=1e-6
    )
    assert anger["label"] == "anger"
    assert [item["contribution"] for item in anger["words"]] == [0.0, 0.0, 0.0, 0.0, 3.0]


def one_word_drives(tiny_bert, word):
    """A BERT in which every embedding is zero but one word's, which attention hands to the classifier's token."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_bert)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, id2label={0: "joy", 1: "anger", 2: "none"},
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if "LayerNorm.weight" in name else 0.0)
        layer = model.bert.encoder.layer[0].attention
        for linear in (layer.self.value, layer.output.dense, model.bert.pooler.dense):
            linear.weight.copy_(torch.eye(32))
        model.bert.embeddings.word_embeddings.weight[tokenizer.convert_tokens_to_ids(word), 0] = 1.0
        model.classifier.weight[0, 0], model.classifier.weight[1, 0] = 3.0, -3.0
        model.classifier.bias[:] = torch.tensor([-1.0, 1.0, 0.5])
    return EncoderClassifier(model, tokenizer)


def test_an_encoders_word_gets_the_contribution_that_it_makes(tiny_bert):
    classifier = one_word_drives(tiny_bert, "thanks")
    text = "Many thanks for it, today!"
    (found,) = attributions(classifier, [text])
    words = [word.text for word in found.words]
    driver, others = words.index("thanks"), [index for index, word in enumerate(words) if word != "thanks"]
    score, without, nothing = (
        logit(classifier.predict([each])[0].astype(float)) for each in (text, "Many for it, today!", "")
    )
    np.testing.assert_allclose(nothing, [-1, 1, 0.5], atol=1e-5)
    np.testing.assert_allclose(found.contributions[driver], score - without, atol=1e-5)
    assert found.contributions[driver, 0] > 2
    assert found.contributions[driver, 1] < -2
    assert np.abs(found.contributions[others]).max() < 0.1
    assert np.abs(found.contributions[:, 2]).max() < 1e-6


@pytest.mark.parametrize("kind", ["finished_run", "baseline_run"])
def test_contributions_and_what_else_is_named_add_up_to_the_score(kind, request):
    classifier, _ = load_classifier(request.getfixturevalue(kind))
    probabilities, counted = classifier.predict(TEXTS).astype(float), []
    for text, row, found in zip(TEXTS, probabilities, attributions(classifier, TEXTS, counted.append), strict=True):
        assert [word.text for word in found.words] == [word.text for word in words_of(text)]
        total = found.without_words + found.contributions.sum(axis=0) + found.together
        np.testing.assert_allclose(total, logit(row), atol=1e-4)
        cell = found.of_label(3, "annoyance")
        rounded = cell["without_words"] + sum(item["contribution"] for item in cell["words"]) + cell["together"]
        assert rounded == pytest.approx(cell["log_odds"], abs=1e-9)
    assert sum(counted) == len(TEXTS)


def test_words_that_the_model_does_not_read_contribute_nothing(finished_run, monkeypatch):
    classifier, _ = load_classifier(finished_run)
    long = " ".join(f"word{number} happy" for number in range(50))
    (found,) = attributions(classifier, [long])
    read = np.flatnonzero(np.abs(found.contributions).max(axis=1) > 0)
    limit = classifier.tokenizer.model_max_length
    assert len(found.words) == 100
    assert 0 < read.max() < limit
    prefix = long[: found.words[read.max()].end]
    assert classifier.encode([prefix])["input_ids"] == classifier.encode([long])["input_ids"]
    monkeypatch.setattr(module, "AT_ONCE", 50)  # one text at a time
    again = [each.contributions for each in attributions(classifier, ["so happy", long, "ok"])]
    np.testing.assert_allclose(again[1], found.contributions, atol=1e-5)


def test_a_label_that_is_not_there_is_named_with_the_nearest(known_baseline):
    with pytest.raises(InputError, match="no label 'joi'; did you mean 'joy'"):
        Explainer(known_baseline, "joi")


def test_only_texts_that_have_got_a_label_cost_anything(known_baseline, monkeypatch):
    asked, counted = [], []
    monkeypatch.setattr(
        BaselineClassifier, "token_weights", lambda self, texts: asked.extend(texts) or iter([[]] * len(texts))
    )
    cells = Explainer(known_baseline)(["a", "b", "c"], [[], ["joy", "anger"], []], counted.append)
    assert asked == ["b"]
    assert [len(cell) for cell in cells] == [0, 2, 0]
    assert sum(counted) == 3
