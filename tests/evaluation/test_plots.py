"""The pictures: what is drawn for each kind of run, and what stands in them, read from each figure as it is saved."""

import re
import shutil

import numpy as np
import pytest
from conftest import refold
from matplotlib.image import imread

import run_evaluate
from utils.evaluation import plots
from utils.evaluation.decision import how_it_decides
from utils.evaluation.plots import most_frequent, plot_run
from utils.run_folder import Predictions, RunFolder, read_json, write_json

ODD = ["$10_to_$20", "a^$b", "x\ny", "\\frac{", "😀 %s", "_hidden", "n" * 300, "שמחה", "悲しみ", "\u202eevil"]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that have been saved, by the picture's name."""
    figures = {}
    save = plots._save
    monkeypatch.setattr(plots, "_save", lambda figure, path: (figures.update({path.stem: figure}), save(figure, path)))
    return figures


def texts_in(figure):
    return "\n".join(item.get_text() for item in figure.findobj(lambda part: hasattr(part, "get_text")))


def scored(path, names, splits, strategy="expected_f1", folded=True, threshold=0.33, **stored):
    """A run's folder with predictions and thresholds, as far as its pictures need it."""
    run = RunFolder(path)
    for split, (gold, probabilities) in splits.items():
        run.write_predictions(split, names, Predictions(["text"] * len(gold), gold, probabilities))
    positives = dict(zip(names, splits["validation"][0].sum(axis=0).astype(int).tolist(), strict=True))
    thresholds = dict.fromkeys(names, threshold)
    content = {"strategy": strategy, "folded": folded, "positives": positives, "thresholds": thresholds}
    write_json(run.path / "thresholds.json", content | stored)
    return run


def draw(rows, labels, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    gold = (rng.random((rows, labels)) < share).astype(float)
    return gold, np.clip(0.4 * gold + 0.6 * rng.random((rows, labels)), 0, 1)


def pictures(run):
    return {path.stem: imread(path) for path in (run.path / "plots").glob("*")}


def test_pictures_have_the_width_of_a_card(finished_run, baseline_run):
    for folder in (finished_run, baseline_run):
        for picture in pictures(RunFolder(folder)).values():
            height, width, _ = picture.shape
            assert width == 800
            assert 200 <= height <= 900
            assert picture[:, :, :3].std() > 0.02  # something is drawn
    assert set(pictures(RunFolder(finished_run))) - set(pictures(RunFolder(baseline_run))) == {"training_curves"}


@pytest.mark.parametrize(
    ("strategy", "threshold", "stored", "said"),
    [
        ("expected_f1", 0.33, {}, "thresholds fitted on validation"),
        ("per_label", 0.33, {"set_by_hand": {"a": 0.7}}, "thresholds fitted on validation, 1 of 2 set by hand"),
        ("global", 0.33, {}, "one threshold for all labels, 0.33, fitted on validation"),
        ("fixed", 0.5, {}, "threshold 0.5"),
        ("per_label", 0.5, {"positives": {"a": 0, "b": 0}}, "threshold 0.5, for validation has no label to fit on"),
    ],
)
def test_the_decision_is_named_and_folding_only_where_it_changes_something(strategy, threshold, stored, said):
    content = {"strategy": strategy, "thresholds": {"a": threshold, "b": threshold}, **stored}
    assert how_it_decides(content | {"folded": False}) == said
    one = {"strategy": "global", "thresholds": {"a": 0.33}, "folded": False}
    assert how_it_decides(one) == "threshold 0.33, fitted on validation"
    assert how_it_decides(one | {"set_by_hand": {"a": 0.33}}) == "threshold 0.33, set by hand"
    folding = "" if threshold == 0.5 else "; published at 0.5 by folding"
    assert how_it_decides(content | {"folded": True}) == said + folding


def test_each_picture_with_a_decision_names_it_as_the_folder_has_it(finished_run, tmp_path, drawn):
    run = RunFolder(shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints")))
    names = ("threshold_curves", "per_label_f1", "cooccurrence", "reliability")
    for folded in (True, False):
        if not folded:
            refold(run.path, folded)
        plot_run(run)
        said = [" ".join(texts_in(drawn[name]).split()) for name in names]
        assert ["published at 0.5 by folding" in text for text in said[:3]] == [folded] * 3
        assert all("thresholds fitted on validation" in text for text in said[:3])
        assert ("one threshold for all labels, before folding" in said[0]) == folded
        assert ("the published scores are no probabilities" in said[3]) == folded


def test_a_run_that_is_folded_otherwise_gets_other_pictures(finished_run, tmp_path, drawn):
    """Pictures are never left behind by a change: what they say of folding is what the folder says."""
    run = RunFolder(shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints")))
    run_evaluate.main([str(run), "--fold_thresholds", "false", "--calibration", "platt"])
    assert not read_json(run.path / "thresholds.json")["folded"]
    assert "by folding" not in texts_in(drawn["per_label_f1"])
    said = texts_in(drawn["reliability"])
    assert "as trained: calibration error" in said
    assert "Platt scaling: calibration error" in said
    assert "Calibrated on validation." in " ".join(said.split())
    assert set(pictures(run)) == set(pictures(RunFolder(finished_run)))
    run_evaluate.main([str(run), "--fold_thresholds", "true", "--calibration", "none", "--threshold_strategy", "fixed"])
    assert "The model has threshold 0.5." in " ".join(texts_in(drawn["per_label_f1"]).split())
    said = texts_in(drawn["reliability"])
    assert "not calibrated" in said
    assert "scaling" not in said
    assert "folding" not in said  # 0.5 moves no score


def test_f1_has_intervals_and_a_label_that_no_text_has_has_no_bar(tmp_path, drawn):
    gold, probabilities = draw(60, 4)
    gold[:, 1], probabilities[:, 1] = 0, 0.9  # never there, always predicted
    gold[:, 2], probabilities[:, 2] = 0, 0
    gold[:6, 2] = 1
    probabilities[:3, 2] = 1  # six texts, three found
    gold[:, 3] = probabilities[:, 3] = np.arange(60) < 5  # each answer is right
    plot_run(scored(tmp_path, ["many", "never", "six", "sure"], {"validation": (gold, probabilities)}))
    (axis,) = drawn["per_label_f1"].axes
    labels = [tick.get_text() for tick in axis.get_yticklabels()]
    bars = {labels[round(bar.get_y() + bar.get_height() / 2)]: bar.get_width() for bar in axis.patches}
    intervals = {labels[int(line.get_ydata()[0])]: line.get_xdata() for line in axis.lines}
    assert set(bars) == {"many", "six", "sure"}
    assert labels[0] == "never"  # below all others
    assert bars["six"] == pytest.approx(2 / 3)
    assert set(intervals) == {"many", "six"}  # nothing is known of how sure the other is
    low, high = intervals["six"]
    assert low < 0.4
    assert high > 0.85
    assert intervals["many"][1] - intervals["many"][0] < high - low
    assert "–  (0)" in texts_in(drawn["per_label_f1"])


def test_each_point_of_the_reliability_diagram_says_how_many_it_is_of(tmp_path, drawn):
    gold, probabilities = draw(100, 3)
    plot_run(scored(tmp_path, ["a", "b", "c"], {"validation": (gold, probabilities)}))
    points, below = drawn["reliability"].axes
    counts = [int(bar.get_height()) for bar in below.patches]
    assert sum(counts) == 300
    assert len(points.lines[1].get_xdata()) == len(counts)
    assert all(f"{count:,}" in texts_in(drawn["reliability"]) for count in counts)


def test_without_a_test_split_a_calibration_is_shown_on_rows_that_it_was_not_fitted_on(tmp_path, drawn):
    gold, trained = draw(200, 2)
    run = scored(tmp_path, ["a", "b"], {"validation": (gold, gold)})  # as if it had learned them by heart
    run.write_predictions("validation", ["a", "b"], Predictions(["text"] * 200, gold, trained), "uncalibrated")
    same = {"a": 1.0, "b": 1.0}
    write_json(run.path / "calibration.json", {"method": "temperature", "scale": same, "shift": same})
    plot_run(run)
    said = " ".join(texts_in(drawn["reliability"]).split())
    assert "here each half by the other" in said
    assert "temperature scaling: calibration error 0.0000" not in said
    assert "(validation)" in said


def test_what_has_no_label_has_no_picture(tmp_path, drawn):
    some, none = draw(30, 2), (np.zeros((30, 2)), draw(30, 2)[1])
    plot_run(scored(tmp_path / "none", ["a", "b"], {"validation": none}, threshold=0.5))
    assert drawn == {}
    plot_run(scored(tmp_path / "test", ["a", "b"], {"validation": some, "test": none}))
    assert set(drawn) == {"threshold_curves"}
    drawn.clear()
    plot_run(scored(tmp_path / "validation", ["a", "b"], {"validation": none, "test": some}, threshold=0.5))
    assert set(drawn) == {"per_label_f1", "cooccurrence", "reliability"}
    drawn.clear()
    plot_run(scored(tmp_path / "one", ["a"], {"validation": draw(30, 1)}))
    assert set(drawn) == {"threshold_curves", "per_label_f1", "reliability"}
    for figure in drawn.values():
        assert not re.search(r"all labels|micro|macro|thresholds", texts_in(figure))


def test_training_curves_show_what_was_logged_and_which_model_was_kept(finished_run, tmp_path, drawn):
    run = RunFolder(shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints")))
    state, record = read_json(run.path / "trainer_state.json"), read_json(run.path / "run.json")
    plot_run(run)
    assert "Minimised: binary cross-entropy. " in texts_in(drawn["training_curves"])
    assert [line.get_label() for line in drawn["training_curves"].axes[0].lines] == [
        "training",
        "validation",
        "model kept",
    ]
    quiet = [entry for entry in state["log_history"] if "loss" not in entry]
    write_json(run.path / "trainer_state.json", state | {"log_history": quiet})
    arguments = {"class_weights": "balanced", "teacher": ["a"], "load_best_model_at_end": False}
    write_json(run.path / "run.json", record | {"arguments": record["arguments"] | arguments})
    plot_run(run)
    assert [line.get_label() for line in drawn["training_curves"].axes[0].lines] == ["validation"]
    assert "positives weighed; training towards soft targets" in texts_in(drawn["training_curves"])


def test_pictures_of_any_names_and_any_number_of_labels(tmp_path, drawn):
    """Names with signs that mean something to matplotlib, and 1,000 of them, of which the most frequent are drawn."""
    rng = np.random.default_rng(0)
    gold = (rng.random((60, 1000)) < np.linspace(0.0, 0.5, 1000)).astype(float)
    gold[0, :2] = 1
    names = [*ODD, *(f"label {number}" for number in range(len(ODD), 1000))]
    shown = most_frequent(gold)
    assert len(shown) == 40
    assert (np.diff(shown) > 0).all()
    assert gold[:, shown].sum(axis=0).min() >= np.delete(gold, shown, axis=1).sum(axis=0).max()
    for which in (slice(0, 1), slice(0, 2), slice(0, len(ODD)), slice(0, 1000)):
        run = scored(tmp_path / str(which.stop), names[which], {"validation": (gold[:, which], gold[:, which])})
        plot_run(run)
        found = pictures(run)
        assert {picture.shape[1] for picture in found.values()} == {800}
        assert max(picture.shape[0] for picture in found.values()) <= 1100
        assert ("cooccurrence" in found) == (which.stop > 1)
    for name in ("per_label_f1", "cooccurrence"):
        assert "the 40 most frequent of 1,000 labels, validation" in texts_in(drawn[name])
