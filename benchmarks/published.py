"""The picture of README.md: F1 on GoEmotions' test split against a model's size, ours and published ones.

    python -m benchmarks.published        # draws docs/scores.png from benchmarks/results/published.json

The file names each figure's source. Its protocol is where the thresholds come from: points whose thresholds were fitted
on validation, or fixed, are filled; where they were fitted on test, or nobody says, the point is hollow. Whiskers are
what the source gives: a standard deviation or the range over seeds, or a bootstrap interval over rows (ours:
docs/results.md).
"""

import json
from pathlib import Path

from matplotlib.figure import Figure

from utils.console import one_sentence_errors
from utils.evaluation.choices import METRICS

ROOT = Path(__file__).resolve().parent.parent
OURS, OTHERS = "#c2410c", "#475569"
HONEST = ("validation", "fixed at 0.5")
PLACES = {  # of a point's name: points of type to the right and above, alignment
    "left": ((-9, 0), "right", "center"),
    "right": ((9, 0), "left", "center"),
    "above": ((0, 8), "center", "bottom"),
    "below": ((0, -9), "center", "top"),
}
SMALLEST = 15  # million parameters; the baseline, which has fewer, is drawn as a line


def draw(points: list[dict]) -> Figure:
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True)
    for panel, metric in zip(axes, METRICS, strict=True):
        drawn = [point for point in points if point.get(metric)]
        for point in drawn:
            ours = point.get("ours", False)
            size, score, colour = point["million_parameters"], point[metric], OURS if ours else OTHERS
            if size < SMALLEST:
                panel.axhline(score, color=colour, linewidth=1, linestyle=":")
                panel.annotate(point["model"], (SMALLEST, score), xytext=(2, 3), textcoords="offset points",
                               color=colour, fontsize=8)  # fmt: skip
                continue
            low, high = point.get(f"{metric}_range") or (score, score)
            panel.errorbar(size, score, [[score - low], [high - score]], color=colour, capsize=2, linewidth=1)
            panel.plot(size, score, "o", markersize=8 if ours else 6, markeredgecolor=colour,
                       markerfacecolor=colour if point["protocol"] in HONEST else "white")  # fmt: skip
            (x, y), across, up = PLACES[point["name_stands"]]
            panel.annotate(
                point["model"], (size, score), xytext=(x, y), textcoords="offset points", ha=across, va=up, fontsize=8,
                color=colour, fontweight="bold" if ours else "normal",
            )  # fmt: skip
        panel.set_xscale("log")
        panel.set_xlim(SMALLEST, 1500)
        panel.set_xticks([25, 50, 100, 200, 400], ["25M", "50M", "100M", "200M", "400M"])
        panel.minorticks_off()
        panel.set_xlabel("parameters")
        panel.set_title(f"{metric.removeprefix('f1_')}-F1, test", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color="#e2e8f0", linewidth=0.6)
        panel.set_axisbelow(True)
    figure.supxlabel(
        "orange: this project    grey: published    hollow: thresholds fitted on test, or nobody says", fontsize=9
    )
    return figure


def main() -> None:
    points = json.loads((ROOT / "benchmarks" / "results" / "published.json").read_text(encoding="utf-8"))
    draw(points).savefig(ROOT / "docs" / "scores.png", dpi=130)


if __name__ == "__main__":
    with one_sentence_errors():
        main()
