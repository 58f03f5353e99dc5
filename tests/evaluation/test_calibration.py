import numpy as np
import pytest

import run_finetune
from utils.data.labels import GO_EMOTIONS
from utils.evaluation.calibration import (
    brier_score,
    calibrate,
    calibration_rows,
    cross_fitted,
    expected_calibration_error,
    fit_calibration,
    reliability,
)
from utils.evaluation.mistakes import confident_mistakes, confused_pairs
from utils.model.classifiers import load_classifier
from utils.run_folder import Predictions, RunFolder, read_json


def overconfident(rows=4000, labels=3):
    """Labels drawn from sigmoid(z / 2 − 0.5 · label), announced as sigmoid(z)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(rows, labels))
    truth = 1 / (1 + np.exp(-(logits / 2 - 0.5 * np.arange(labels))))
    return (rng.random((rows, labels)) < truth).astype(float), 1 / (1 + np.exp(-logits))


def test_platt_scaling_finds_the_scale_and_shift_of_each_label():
    scale, shift = fit_calibration(*overconfident(), "platt")
    assert scale == pytest.approx([0.5] * 3, abs=0.06)
    assert shift == pytest.approx([0.0, -0.5, -1.0], abs=0.1)


def test_temperature_scaling_shares_one_scale():
    gold, probabilities = overconfident(labels=1)
    scale, shift = fit_calibration(gold, probabilities, "temperature")
    assert scale == pytest.approx([0.5], abs=0.05)
    assert shift == pytest.approx([0.0])
    assert (np.argsort(calibrate(probabilities, scale, shift)[:, 0]) == np.argsort(probabilities[:, 0])).all()


def test_measures_fall_on_rows_that_were_not_fitted():
    gold, probabilities = overconfident()
    before, after = probabilities, cross_fitted(gold, probabilities, "platt")
    assert expected_calibration_error(gold, after) < 0.3 * expected_calibration_error(gold, before)
    assert brier_score(gold, after) < brier_score(gold, before)
    assert cross_fitted(gold, probabilities, "none") == pytest.approx(before)


def test_calibration_error_of_known_cases():
    gold = np.array([[1.0], [0.0], [1.0], [0.0]])
    assert expected_calibration_error(gold, np.full((4, 1), 0.5)) == 0
    assert expected_calibration_error(gold, np.full((4, 1), 0.9)) == pytest.approx(0.4)
    assert expected_calibration_error(gold, gold) == 0
    predicted, observed, counts = reliability(gold, np.array([[1.0], [0.0], [1.0], [1.0]]))
    assert (predicted.tolist(), counts.tolist()) == ([0.0, 1.0], [1, 3])
    assert observed == pytest.approx([0.0, 2 / 3])
    assert brier_score(gold, np.full((4, 1), 0.9)) == pytest.approx((2 * 0.01 + 2 * 0.81) / 4)


def test_a_label_of_one_class_is_left_as_it_is():
    gold, probabilities = overconfident()
    gold[:, 1] = 0
    scale, shift = fit_calibration(gold, probabilities, "platt")
    assert (scale[1], shift[1]) == (1.0, 0.0)
    with pytest.raises(ValueError, match="accepted: none, temperature, platt"):
        fit_calibration(gold, probabilities, "isotonic")


def test_a_calibrated_run_saves_the_calibrated_model(finished_run, finetune_arguments, tmp_path):
    run = tmp_path / "run"
    run_finetune.main(
        [*finetune_arguments, "--calibration", "platt", "--fold_thresholds", "false", "--output_dir", str(run)]
    )
    names, plain = RunFolder(finished_run).read_predictions("validation")
    _, calibrated = RunFolder(run).read_predictions("validation")
    assert names == list(GO_EMOTIONS)
    expected = calibrate(plain.probabilities, *fit_calibration(plain.gold, plain.probabilities, "platt"))
    np.testing.assert_allclose(calibrated.probabilities, expected, atol=1e-6)
    classifier, thresholds = load_classifier(str(run))
    np.testing.assert_allclose(classifier.predict(calibrated.texts), expected, atol=1e-5)
    assert thresholds.tolist() == list(read_json(run / "thresholds.json")["thresholds"].values())


def test_mistakes_and_confusions_are_those_of_the_decisions():
    names, texts = ["a", "b", "c"], ["one", "two", "three", "four"]
    gold = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    probabilities = np.array([[0.9, 0.1, 0.1], [0.05, 0.8, 0.1], [0.1, 0.45, 0.6], [0.1, 0.1, 0.7]])
    thresholds = np.full(3, 0.5)
    mistakes = confident_mistakes(names, texts, gold, probabilities, thresholds)
    assert [(row["text"], row["label"], row["mistake"]) for row in mistakes] == [
        ("two", "a", "gold, not predicted"), ("three", "c", "predicted, not gold"),
    ]  # fmt: skip
    assert mistakes[0]["predicted"] == "b"
    assert confused_pairs(names, gold, probabilities, thresholds) == [
        {"gold": "a", "predicted": "b", "rows": 1, "share": 0.5},
        {"gold": "b", "predicted": "c", "rows": 1, "share": 1.0},
    ]


@pytest.mark.parametrize("method", ["temperature", "platt"])
@pytest.mark.parametrize("value", [0, 1], ids=["no positive", "all positive"])
def test_where_there_is_nothing_to_fit_probabilities_stay_as_they_are(method, value):
    _, probabilities = overconfident(rows=9)
    gold = np.full(probabilities.shape, float(value))
    scale, shift = fit_calibration(gold, probabilities, method)
    assert (scale.tolist(), shift.tolist()) == ([1.0] * 3, [0.0] * 3)
    assert cross_fitted(gold, probabilities, method) == pytest.approx(probabilities)
    assert cross_fitted(gold[:1], probabilities[:1], method) == pytest.approx(probabilities[:1])  # one half is empty


def test_a_label_called_all_is_not_taken_for_all_labels():
    gold, probabilities = overconfident(rows=50)
    rows = calibration_rows(["a", "all", "b"], {"validation": Predictions([""] * 50, gold, probabilities)})
    assert [row["label"] for row in rows[:4]] == ["all labels", "a", "all", "b"]


def test_labels_with_commas_are_told_apart_in_one_cell():
    gold, probabilities = np.array([[1, 1, 0]]), np.array([[0.1, 0.2, 0.9]])

    def cells(names):
        (row,) = confident_mistakes(names, ["one"], gold, probabilities, np.full(3, 0.5))
        return row["gold"], row["predicted"]

    assert cells(["a", "b", "c"]) == ("a,b", "c")
    assert cells(["a", "late, or lost", "ü"]) == ('["a", "late, or lost"]', '["ü"]')
