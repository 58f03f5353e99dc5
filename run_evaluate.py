"""Decide otherwise with a finished run, without training it again: thresholds, calibration, folding; in seconds.

    python run_evaluate.py outputs/minilm --threshold_strategy per_label --threshold_metric f1_macro
    python run_evaluate.py outputs/minilm --set_threshold joy=0.7 grief=0.2
    python run_evaluate.py outputs/minilm --calibration platt --fold_thresholds false
    python run_evaluate.py outputs/minilm --calibration none --set_threshold none

What is not named stays as it is. Report, model, ONNX files (where the run has them) and card are made from the
predictions that the run has stored. A calibration is undone before another takes its place: `--calibration none` brings
back the answers from before, to the rounding of the thresholds' log-odds in the weights (less than 1e-6).
"""

import argparse
import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from utils.command_line import plain_parser, run_folder, true_or_false
from utils.console import InputError, one_sentence_errors, say
from utils.evaluation.choices import METHODS, METRICS, STRATEGIES
from utils.run_folder import AFTER_TRAINING, RunFolder

if TYPE_CHECKING:
    from utils.evaluation.decision import Decision


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = plain_parser(__doc__)
    add = parser.add_argument_group("run and decision").add_argument
    add("run", type=run_folder, metavar="OUTPUT_DIR", help="the folder of a finished run")
    add("--threshold_strategy", choices=STRATEGIES, help="fit the thresholds this way")
    add("--threshold_metric", choices=METRICS, help="what they are to maximise on validation")
    add("--set_threshold", nargs="+", action="extend", default=[], metavar="LABEL=VALUE",
        help="thresholds by hand, in (0, 1), beside those set before; none: take all of these back")  # fmt: skip
    add("--calibration", choices=METHODS, help="of the probabilities, fitted on validation")
    add("--fold_thresholds", type=true_or_false, metavar="true|false", help="the thresholds inside the model")
    args = parser.parse_args(argv)
    args.run.require_finished()
    if not args.run.is_encoder and (args.calibration or args.fold_thresholds is not None):
        option = "--calibration" if args.calibration else "--fold_thresholds"
        raise InputError(f"{option}: {args.run} holds a baseline; only an encoder is calibrated or folded.")
    return args


def main(argv: list[str] | None = None) -> dict[str, float]:
    # 1. Arguments, checked before the libraries are imported; what they leave open stays as the run has it. Nobody else
    # changes the run meanwhile.
    args = parse(argv)

    from utils.evaluation.calibration import calibrate_predictions
    from utils.evaluation.decision import (
        Decision,
        other_calibration,
        put_by_hand,
        record_changes,
        stored_predictions,
        training_results,
    )
    from utils.evaluation.plots import plot_run
    from utils.evaluation.report import results_table, score, write_report
    from utils.evaluation.thresholds import fit_thresholds
    from utils.model.classifiers import load_encoder
    from utils.model.folding import as_trained, write_calibrated
    from utils.publishing.card import write_card
    from utils.publishing.finish import next_steps, write_ending

    run: RunFolder = args.run
    with run.exclusive():
        classifier = load_encoder(run) if run.is_encoder else None
        names, uncalibrated, had = stored_predictions(run)
        decision = asked_for(args, Decision.of(run), names)

        # 2. What the run predicted, calibrated as it is to be.
        model = classifier.model if classifier else None
        calibration = other_calibration(run, model, decision.calibration, had, uncalibrated["validation"])
        if calibration is not had:
            decision = decision._replace(calibration=calibration.method)
        predictions = calibrate_predictions(uncalibrated, calibration)

        # 3. The decision: thresholds from validation or by hand, scores on validation and test.
        strategy, metric = decision.threshold_strategy, decision.threshold_metric
        validation = predictions["validation"]
        thresholds = fit_thresholds(validation.gold, validation.probabilities, strategy, metric)
        thresholds = put_by_hand(names, thresholds, decision.set_threshold)
        results = training_results(run) | score(names, predictions, thresholds)

        # 4. In one stroke: the report, the model that decides so, its ONNX files, an example. Then pictures and card.
        kept = ("calibration",) if calibration is had else ()
        with run.change(outdated=[step for step in AFTER_TRAINING if step not in kept]) as folder:
            if classifier and not kept:
                as_trained(run, classifier.model)
                write_calibrated(classifier.model, calibration, uncalibrated, folder)
            changed = RunFolder(folder)
            write_report(changed, names, predictions, thresholds, results, strategy, metric, decision.set_threshold)
            write_ending(run, folder, classifier, decision.fold_thresholds, run.has_onnx)
            record_changes(run, decision, folder)
        plot_run(run)
        write_card(run)
    say(f"{results_table([run])}\n\n{next_steps(run)}")
    return results


def asked_for(args: argparse.Namespace, now: "Decision", names: Sequence[str]) -> "Decision":
    """`now`, with what the arguments name in its place."""
    by_hand = dict(now.set_threshold)
    for item in args.set_threshold:
        label, _, value = item.rpartition("=")
        if item == "none":
            by_hand = {}
        elif not label:
            raise InputError(f"--set_threshold {item}: accepted: LABEL=VALUE, such as {names[0]}=0.5, or none.")
        elif label not in names:
            near = difflib.get_close_matches(label, names, n=1, cutoff=0.0)[0]
            raise InputError(f"--set_threshold {item}: {args.run} has no label {label!r}; did you mean {near!r}?")
        else:
            by_hand[label] = threshold(item, value)
    chosen = {name: getattr(args, name) for name in now._fields if getattr(args, name) is not None}
    return now._replace(**chosen | {"set_threshold": by_hand})


def threshold(item: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise InputError(f"--set_threshold {item}: a threshold is a number between 0 and 1, without these two.")
    return value


if __name__ == "__main__":
    with one_sentence_errors():
        main()
