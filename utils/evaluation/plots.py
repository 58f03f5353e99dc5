"""The pictures of a run, for its card: 800 pixels wide, readable there without zooming.

They show the probabilities that the run has stored, those of the model before its thresholds are folded into it, and
say so; how the published model decides stands in each picture whose numbers depend on it. What a run has not done or
cannot know is not drawn. Names of labels are drawn as they are, none of their signs means anything to matplotlib. With
many labels the most frequent ones are drawn, and the title says so.
"""

import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from utils.console import left_out
from utils.data.labels import on_one_line
from utils.evaluation.bootstrap import label_f1_intervals
from utils.evaluation.calibration import BINS, cross_fitted, expected_calibration_error, reliability
from utils.evaluation.decision import how_it_decides, is_moved_by_folding, stored_predictions
from utils.evaluation.scores import label_scores
from utils.evaluation.thresholds import decide, micro_and_macro_f1
from utils.run_folder import RUN_FILE, STATE_FILE, THRESHOLDS_FILE, RunFolder, whole_file

SHOWN = 40  # labels in one picture
BLUE, ORANGE, GREY, DARK = "#3465a4", "#e07b39", "#8a8f98", "#444"
METHODS = {"temperature": "temperature scaling", "platt": "Platt scaling"}


def _figure(height: float, rows: int = 1, columns: int = 1, **ratios: Sequence[int]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=ratios).ravel()
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


def _describe(figure: Figure, title: str, caption: str) -> None:
    """A title above all, and below in a sentence or two what else has to be known."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.supxlabel(textwrap.fill(caption, 118), x=0.01, ha="left", fontsize=8.5, color=DARK)


def threshold_curves(
    path: Path, gold: np.ndarray, probabilities: np.ndarray, split: str, decision: str, x: str
) -> None:
    """Micro- and macro-F1 of every global threshold, which is called `x`; the best of each is marked, 0.5 shown."""
    figure, (axis,) = _figure(3.9)
    thresholds = np.linspace(0.01, 0.99, 99)
    curves = [micro_and_macro_f1(gold, probabilities >= threshold) for threshold in thresholds]
    kinds = [("f1_micro", "micro-F1", BLUE), ("f1_macro", "macro-F1", ORANGE)]
    for key, name, colour in kinds if gold.shape[1] > 1 else [("f1_micro", "F1", BLUE)]:
        scores = np.array([curve[key] for curve in curves])
        best = scores.argmax()
        label = f"{name}: {scores[best]:.3f} at {thresholds[best]:.2f}, {scores[49]:.3f} at 0.50"
        axis.plot(thresholds, scores, color=colour, lw=2, label=label)
        axis.plot(thresholds[best], scores[best], "o", color=colour)
    axis.axvline(0.5, color=GREY, lw=1, ls="--")
    axis.set(xlabel=x, ylabel="F1", xlim=(0, 1), ylim=(0, None))
    _describe(figure, f"F1 by threshold ({split})", f"The model itself has {decision}.")
    axis.legend(fontsize=9, loc="best", edgecolor="white", framealpha=0.8)
    _save(figure, path)


def per_label_f1(
    path: Path,
    names: Sequence[str],
    f1: np.ndarray,
    intervals: np.ndarray,
    support: np.ndarray,
    split: str,
    decision: str,
    of: int | None = None,
) -> None:
    """A bar a label with its interval, best first, and the number of texts that carry it; no bar where none does.

    Args:
        intervals: from and to, shape (2, labels).
        of: how many labels there are in all.
    """
    figure, (axis,) = _figure(0.24 * max(len(names), 4) + 1.3)
    order = np.lexsort((np.arange(len(names)), f1, support > 0))
    axis.set_yticks(range(len(names)), _drawn([names[i] for i in order], 40), parse_math=False)
    for position, index in enumerate(order):
        if not support[index]:
            axis.text(0.01, position, "–  (0)", va="center", fontsize=8, color=DARK)
            continue
        low, high = intervals[:, index]
        axis.barh(position, f1[index], color=BLUE, height=0.7)
        if low < high:
            axis.plot([low, high], [position, position], color=ORANGE, lw=1.5, marker="|", ms=6)
        text = f"{f1[index]:.2f}  ({support[index]:,})"
        axis.text(max(f1[index], high) + 0.015, position, text, va="center", fontsize=8, color=DARK)
    axis.set(xlim=(0, 1.14), ylim=(-0.6, len(names) - 0.4))
    axis.set_xticks(np.arange(0, 1.01, 0.2))
    which = f"the {len(names)} most frequent of {of:,} labels, {split}" if of else split
    caption = (
        "In brackets: texts with the label. In orange: 95 % bootstrap interval; none where all resamples agree, which "
        f"few texts do by chance. The model has {decision}."
    )
    _describe(figure, f"F1 by label ({which})", caption)
    _save(figure, path)


def reliability_diagram(
    path: Path, gold: np.ndarray, versions: Mapping[str, np.ndarray], split: str, caption: str
) -> None:
    """Share of positives against probability, for each version of the probabilities; the diagonal is perfect.

    Below, how many probabilities, of all labels and texts, each point is the mean of.
    """
    figure, (axis, below) = _figure(5.4, rows=2, height_ratios=(3, 1))
    axis.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
    edges = np.linspace(0, 1, BINS + 1)
    width = 0.8 / BINS / len(versions)
    for number, ((name, probabilities), colour) in enumerate(zip(versions.items(), (BLUE, ORANGE), strict=False)):
        predicted, observed, counts = reliability(gold, probabilities)
        error = expected_calibration_error(gold, probabilities)
        axis.plot(predicted, observed, "o-", color=colour, lw=1.5, ms=4, label=f"{name}: calibration error {error:.4f}")
        lefts = edges[np.minimum((predicted * BINS).astype(int), BINS - 1)] + 0.1 / BINS + number * width
        below.bar(lefts, counts, width, align="edge", color=colour)
        if len(versions) == 1:
            for left, count in zip(lefts, counts, strict=True):
                below.annotate(f"{count:,}", (left + width / 2, count), (0, 1), textcoords="offset points",
                               ha="center", va="bottom", fontsize=7, color=DARK)  # fmt: skip
    axis.set(ylabel="share of positives", xlim=(0, 1), ylim=(0, 1))
    below.set(xlabel="probability", ylabel="count", yscale="log", xlim=(0, 1), ylim=(0.5, 4 * gold.size))
    below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else ""))
    below.yaxis.set_minor_formatter(NullFormatter())
    _describe(figure, f"Reliability{' over all labels' if gold.shape[1] > 1 else ''} ({split})", caption)
    axis.legend(frameon=False, fontsize=9, loc="upper left")
    _save(figure, path)


def cooccurrence(
    path: Path,
    names: Sequence[str],
    gold: np.ndarray,
    decided: np.ndarray,
    split: str,
    decision: str,
    of: int | None = None,
) -> None:
    """How often a text with the row's label also carries the column's: gold beside predicted.

    Args:
        of: how many labels there are in all.
    """
    figure, axes = _figure(5.8, columns=2)
    drawn = _drawn(names, 20)
    for axis, labels, title in zip(axes, (gold > 0, decided), ("Gold", "Predicted"), strict=True):
        together = labels.astype(np.float64).T @ labels.astype(np.float64)
        rows = np.diag(together)[:, None].copy()
        with np.errstate(invalid="ignore"):
            share = np.where(rows > 0, together / rows, np.nan)
        np.fill_diagonal(share, np.nan)
        axis.set_facecolor("#e4e6ea")
        image = axis.imshow(share, cmap="Blues", vmin=0, vmax=0.3)
        axis.set_xticks(range(len(names)), drawn, rotation=90, fontsize=6.5, parse_math=False)
        axis.set_yticks(range(len(names)), drawn if axis is axes[0] else [], fontsize=6.5, parse_math=False)
        axis.set_title(title, loc="left", fontsize=10)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    which = f"the {len(names)} most frequent of {of:,} labels, {split}" if of else split
    bar = figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.5, pad=0.02, extend="max")
    bar.set_label("share of the texts with the row's label that also carry the column's", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    caption = f"Grey: a label with itself, and labels that no text has. The model has {decision}."
    _describe(figure, f"Labels that occur together ({which})", caption)
    _save(figure, path)


def training_curves(path: Path, log_history: list[dict], loss: str, kept: float | None) -> None:
    """Training and validation loss, and validation micro-F1 at 0.5 and at its best threshold, by epoch.

    Args:
        log_history: the Trainer's; what it has not logged is not drawn.
        loss: what was minimised.
        kept: the epoch whose model the run has kept; None: the last.
    """
    evaluations = [entry for entry in log_history if "eval_loss" in entry]
    losses = [entry for entry in log_history if "loss" in entry]
    figure, (left, right) = _figure(3.9, columns=2)
    if losses:
        left.plot(*_points(losses, "loss"), "o-", color=GREY, label="training")
    left.plot(*_points(evaluations, "eval_loss"), "o-", color=BLUE, label="validation")
    for key, name, colour in (
        ("eval_f1_micro", "at its best threshold", BLUE),
        ("eval_f1_micro_at_0.5", "at 0.5", ORANGE),
    ):
        right.plot(*_points(evaluations, key), "o-", color=colour, label=name)
    for axis in (left, right):
        if kept is not None:
            axis.axvline(kept, color=GREY, lw=1, ls="--", label="model kept")
        axis.set(xlabel="epoch", ylim=(0, 1.1 * axis.get_ylim()[1]))
        axis.legend(frameon=False, fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    left.set_title("Loss", loc="left", fontsize=10)
    right.set_title("Micro-F1 on validation", loc="left", fontsize=10)
    caption = f"Minimised: {loss}. Calibration, thresholds and folding come after training."
    _describe(figure, "Training", caption)
    _save(figure, path)


def _points(entries: list[dict], key: str) -> tuple[list[float], list[float]]:
    return [entry["epoch"] for entry in entries], [entry[key] for entry in entries]


def plot_run(run: RunFolder) -> None:
    """All pictures of a scored run into its folder plots, from the files that the run has written.

    They belong to one state of the model: drawn once its thresholds are folded, or not, as they are going to stay.

    Scores and calibration are shown on test where there is one, threshold curves on validation, where thresholds are
    fitted. A split in which no text has a label has no pictures, a single label none of labels that occur together, a
    baseline none of its training. A picture that cannot be drawn or written is left out, and a line says so.
    """
    folder = run.path / "plots"
    names, validation = run.read_predictions("validation")
    split, reported = "validation", validation
    if run.has_predictions("test"):
        split, (_, reported) = "test", run.read_predictions("test")
    stored = run.read(THRESHOLDS_FILE)
    decision = how_it_decides(stored)
    thresholds = np.array([stored["thresholds"][name] for name in names])
    gold, probabilities = reported.gold, reported.probabilities

    if validation.gold.any():
        with _picture(folder, "threshold_curves") as path:
            x = ("one threshold for all labels" if len(names) > 1 else "threshold") + (
                ", before folding" if is_moved_by_folding(stored) else ""
            )
            threshold_curves(path, validation.gold, validation.probabilities, "validation", decision, x)
    if gold.any():
        with _picture(folder, "reliability") as path:
            reliability_diagram(path, gold, *_calibration(run, split, is_moved_by_folding(stored)))
        shown = most_frequent(gold)
        of = len(names) if len(shown) < len(names) else None
        names, gold, probabilities, thresholds = (
            [names[i] for i in shown], gold[:, shown], probabilities[:, shown], thresholds[shown]
        )  # fmt: skip
        with _picture(folder, "per_label_f1") as path:
            scores = label_scores(gold, probabilities, thresholds)
            intervals = label_f1_intervals(gold, probabilities, thresholds)
            per_label_f1(path, names, scores["f1"], intervals, scores["support"], split, decision, of)
        if len(names) > 1:
            with _picture(folder, "cooccurrence") as path:
                cooccurrence(path, names, gold, decide(probabilities, thresholds), split, decision, of)
    if (run.path / STATE_FILE).is_file():
        with _picture(folder, "training_curves") as path:
            state = run.read(STATE_FILE)
            if any("eval_loss" in entry for entry in state["log_history"]):
                training_curves(path, state["log_history"], *_training(run, state))


def _calibration(run: RunFolder, split: str, is_moved: bool) -> tuple[Mapping[str, np.ndarray], str, str]:
    """Probabilities before and after the run's calibration, where it has one; then the split and what to say of them.

    A calibration is shown on rows that it was not fitted on; see `calibration_rows`.
    """
    _, uncalibrated, calibration = stored_predictions(run)
    trained, method = uncalibrated[split], calibration.method
    caption = "Below: how many probabilities, one for each text and label, a point is the mean of."
    if method == "none":
        versions = {"not calibrated": trained.probabilities}
    elif split == "validation":
        caption += " Calibrated on validation, here each half by the other."
        fitted = cross_fitted(trained.gold, trained.probabilities, method)
        versions = {"as trained": trained.probabilities, METHODS[method]: fitted}
    else:
        caption += " Calibrated on validation."
        versions = {"as trained": trained.probabilities, METHODS[method]: run.read_predictions(split)[1].probabilities}
    if is_moved:
        caption += " From before folding: the published scores are no probabilities."
    return versions, split, caption


def _training(run: RunFolder, state: Mapping[str, Any]) -> tuple[str, float | None]:
    """What a run has minimised, and the epoch whose model it has kept, if it has chosen one."""
    arguments = run.read(RUN_FILE)["arguments"]
    loss = "binary cross-entropy"
    loss += ", positives weighed" if arguments.get("class_weights") == "balanced" else ""
    loss += "; training towards soft targets" if arguments.get("teacher") else ""
    steps = {entry["step"]: entry["epoch"] for entry in state["log_history"] if "eval_loss" in entry}
    best = state.get("best_global_step") if arguments.get("load_best_model_at_end") else None
    return loss, steps.get(best)
