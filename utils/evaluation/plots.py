"""The pictures of a run, for its card: 800 pixels wide, readable there without zooming.

Names of labels are drawn as they are, none of their signs means anything to matplotlib. With many labels the most
frequent ones are drawn, and the title says so.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from utils.console import left_out
from utils.data.labels import on_one_line
from utils.evaluation.calibration import (
    calibrate,
    expected_calibration_error,
    fit_calibration,
    fittable,
    reliability,
)
from utils.evaluation.scores import label_scores
from utils.evaluation.thresholds import decide, micro_and_macro_f1
from utils.run_folder import STATE_FILE, THRESHOLDS_FILE, RunFolder, whole_file

SHOWN = 40  # labels in one picture
BLUE, ORANGE, GREY = "#3465a4", "#e07b39", "#8a8f98"


def _figure(height: float, columns: int = 1) -> tuple[Figure, list]:
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=9)
    return figure, list(axes)


@contextmanager
def _picture(folder: Path, name: str) -> Iterator[Path]:
    """The path of a picture to draw; where that fails, it is left out with a line, and an older one does not stay."""
    path = folder / f"{name}.png"
    with left_out(f"the picture {folder.name}/{path.name}"):
        try:
            yield path
        except BaseException:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box is drawn for such a sign
        figure.savefig(file, format="png", dpi=100, facecolor="white", metadata={"Software": None})


def most_frequent(gold: np.ndarray) -> np.ndarray:
    """Indices of the `SHOWN` labels that most rows carry, in the order of the labels; all where there are no more."""
    return np.sort(np.argsort(-gold.sum(axis=0), kind="stable")[:SHOWN])


def _drawn(names: Sequence[str], width: int) -> list[str]:
    """Names in one line each and at most so many characters."""
    lines = map(on_one_line, names)
    return [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]


def threshold_curves(path: Path, gold: np.ndarray, probabilities: np.ndarray, split: str) -> None:
    """Micro- and macro-F1 of every global threshold; the best of each is marked, 0.5 shown."""
    figure, (axis,) = _figure(3.6)
    thresholds = np.linspace(0.01, 0.99, 99)
    curves = [micro_and_macro_f1(gold, probabilities >= threshold) for threshold in thresholds]
    for key, name, colour in (("f1_micro", "micro-F1", BLUE), ("f1_macro", "macro-F1", ORANGE)):
        scores = np.array([curve[key] for curve in curves])
        best = scores.argmax()
        label = f"{name}: {scores[best]:.3f} at {thresholds[best]:.2f}, {scores[49]:.3f} at 0.50"
        axis.plot(thresholds, scores, color=colour, lw=2, label=label)
        axis.plot(thresholds[best], scores[best], "o", color=colour)
    axis.axvline(0.5, color=GREY, lw=1, ls="--")
    axis.set(xlabel="one threshold for all labels", ylabel="F1", xlim=(0, 1), ylim=(0, None))
    axis.set_title(f"F1 by threshold ({split})", loc="left", fontsize=11)
    axis.legend(fontsize=9, loc="lower center", edgecolor="white", framealpha=1)
    _save(figure, path)


def per_label_f1(
    path: Path, names: Sequence[str], f1: np.ndarray, support: np.ndarray, split: str, of: int | None = None
) -> None:
    """A bar a label, best first, with the number of comments that carry it; `of`: how many labels there are in all."""
    figure, (axis,) = _figure(0.24 * max(len(names), 4) + 1)
    order = np.argsort(f1, kind="stable")
    axis.barh(range(len(names)), f1[order], color=BLUE, height=0.7)
    axis.set_yticks(range(len(names)), _drawn([names[i] for i in order], 40), parse_math=False)
    for position, index in enumerate(order):
        text = f"{f1[index]:.2f}  ({support[index]:,})"
        axis.text(f1[index] + 0.01, position, text, va="center", fontsize=8, color="#444")
    axis.set(xlim=(0, 1.12), ylim=(-0.6, len(names) - 0.4))
    axis.set_xticks(np.arange(0, 1.01, 0.2))
    which = f"the {len(names)} most frequent of {of:,} labels, {split}" if of else split
    axis.set_title(f"F1 by label ({which}; comments with the label in brackets)", loc="left", fontsize=11)
    _save(figure, path)


def reliability_diagram(path: Path, gold: np.ndarray, versions: dict[str, np.ndarray], split: str) -> None:
    """Share of positives against probability, for each version of the probabilities; the diagonal is perfect."""
    figure, (axis,) = _figure(4.4)
    axis.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
    for (name, probabilities), colour in zip(versions.items(), (BLUE, ORANGE, "#4e9a06"), strict=False):
        predicted, observed, _ = reliability(gold, probabilities)
        error = expected_calibration_error(gold, probabilities)
        axis.plot(predicted, observed, "o-", color=colour, lw=1.5, ms=4, label=f"{name}: calibration error {error:.4f}")
    axis.set(xlabel="probability", ylabel="share of positives", xlim=(0, 1), ylim=(0, 1))
    axis.set_title(f"Reliability over all labels ({split})", loc="left", fontsize=11)
    axis.legend(frameon=False, fontsize=9, loc="upper left")
    _save(figure, path)


def cooccurrence(
    path: Path, names: Sequence[str], gold: np.ndarray, decided: np.ndarray, split: str, of: int | None = None
) -> None:
    """How often a comment with the row's label also carries the column's: gold beside predicted.

    `of`: how many labels there are in all.
    """
    figure, axes = _figure(5.4, columns=2)
    drawn, which = _drawn(names, 20), f"{split}, {len(names)} most frequent of {of:,}" if of else split
    for axis, labels, title in zip(axes, (gold > 0, decided), ("gold", "predicted"), strict=True):
        together = labels.astype(np.float64).T @ labels.astype(np.float64)
        share = together / np.maximum(np.diag(together)[:, None], 1)
        np.fill_diagonal(share, np.nan)
        image = axis.imshow(share, cmap="Blues", vmin=0, vmax=0.3)
        axis.set_xticks(range(len(names)), drawn, rotation=90, fontsize=6.5, parse_math=False)
        axis.set_yticks(range(len(names)), drawn if axis is axes[0] else [], fontsize=6.5, parse_math=False)
        axis.set_title(f"{title} ({which})", loc="left", fontsize=11)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.5, pad=0.02, extend="max")
    bar.set_label("share of comments with the row's label that also carry the column's", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    _save(figure, path)


def training_curves(path: Path, log_history: list[dict]) -> None:
    """Training and validation loss, and validation micro-F1 at 0.5 and at its best threshold, by epoch."""
    evaluations = [entry for entry in log_history if "eval_loss" in entry]
    losses = [entry for entry in log_history if "loss" in entry]
    figure, (left, right) = _figure(3.4, columns=2)
    left.plot(*_points(losses, "loss"), "o-", color=GREY, label="training")
    left.plot(*_points(evaluations, "eval_loss"), "o-", color=BLUE, label="validation")
    left.set(xlabel="epoch")
    left.set_title("Loss (binary cross-entropy)", loc="left", fontsize=11)
    for key, name, colour in (
        ("eval_f1_micro", "at its best threshold", BLUE),
        ("eval_f1_micro_at_0.5", "at 0.5", ORANGE),
    ):
        right.plot(*_points(evaluations, key), "o-", color=colour, label=name)
    right.set(xlabel="epoch")
    right.set_title("Validation micro-F1", loc="left", fontsize=11)
    for axis in (left, right):
        axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
        axis.legend(frameon=False, fontsize=9)
        axis.xaxis.get_major_locator().set_params(integer=True)
    _save(figure, path)


def _points(entries: list[dict], key: str) -> tuple[list[float], list[float]]:
    return [entry["epoch"] for entry in entries], [entry[key] for entry in entries]


def plot_run(run: RunFolder) -> None:
    """All pictures of a scored run into its folder plots, from the files that the run has written.

    Scores and calibration are shown on test where there is one, threshold curves on validation, where thresholds are
    fitted. A single label has no picture of labels that occur together. A picture that cannot be drawn or written is
    left out, and a line says so.
    """
    folder = run.path / "plots"
    names, validation = run.read_predictions("validation")
    split, reported = "validation", validation
    if run.has_predictions("test"):
        split, (_, reported) = "test", run.read_predictions("test")
    stored = run.read(THRESHOLDS_FILE)["thresholds"]
    thresholds = np.array([stored[name] for name in names])
    gold, probabilities = reported.gold, reported.probabilities

    with _picture(folder, "threshold_curves") as path:
        threshold_curves(path, validation.gold, validation.probabilities, "validation")
    with _picture(folder, "reliability") as path:
        versions = {"as trained": probabilities}
        if fittable(validation.gold).any():
            fitted = fit_calibration(validation.gold, validation.probabilities, "platt")
            versions["Platt scaling"] = calibrate(probabilities, *fitted)
        reliability_diagram(path, gold, versions, split)

    shown = most_frequent(gold)
    of = len(names) if len(shown) < len(names) else None
    names, gold, probabilities, thresholds = (
        [names[i] for i in shown], gold[:, shown], probabilities[:, shown], thresholds[shown]
    )  # fmt: skip
    with _picture(folder, "per_label_f1") as path:
        scores = label_scores(gold, probabilities, thresholds)
        per_label_f1(path, names, scores["f1"], scores["support"], split, of)
    if len(names) > 1:
        with _picture(folder, "cooccurrence") as path:
            cooccurrence(path, names, gold, decide(probabilities, thresholds), split, of)
    if (run.path / STATE_FILE).is_file():
        with _picture(folder, "training_curves") as path:
            log_history = run.read(STATE_FILE)["log_history"]
            if any("eval_loss" in entry for entry in log_history):
                training_curves(path, log_history)
