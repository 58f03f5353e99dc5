"""Train the baseline: TF-IDF and one logistic regression per label, in seconds on a laptop.

    python run_baseline.py                                                  # GoEmotions from the Hub
    python run_baseline.py --max_train_samples 2000 --max_eval_samples 200 --output_dir outputs/baseline_2000
    python run_baseline.py --dataset_name demo --output_dir outputs/demo_baseline

Without --config, recipes/baseline.yaml is the recipe; arguments override it.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from utils.command_line import check_ranges
from utils.console import InputError, one_sentence_errors, say
from utils.locks import one_job

RECIPE = str(Path(__file__).parent / "recipes" / "baseline.yaml")


@dataclass
class BaselineArguments:
    """The classifier."""

    _argument_group_name: ClassVar[str] = "baseline"

    output_dir: str | None = field(default=None, metadata={"help": "folder for the results"})
    seed: int = field(default=42, metadata={"help": "of the stratified subsets"})
    max_features: int = field(default=5000, metadata={"help": "size of the TF-IDF vocabulary"})
    n_jobs: int = field(default=-1, metadata={"help": "processes; -1 uses every core, the result is the same"})

    def __post_init__(self) -> None:
        check_ranges(self, {"seed": (0, 2**32 - 1), "max_features": (1, 2**31), "n_jobs": (-1024, 1024)})
        if self.n_jobs == 0:
            raise InputError("--n_jobs is 0; accepted: 1 or more processes, or -1 for all cores.")


@one_job()
def main(argv: list[str] | None = None) -> dict[str, float]:
    # 1. Arguments, all checked before anything is loaded, libraries included.
    from utils.arguments import (
        CardArguments,
        DataArguments,
        OutputArguments,
        ThresholdArguments,
        as_recorded,
        parse_arguments,
        shown_names,
    )

    kinds = (DataArguments, BaselineArguments, ThresholdArguments, OutputArguments, CardArguments)
    data_args, args, threshold_args, output_args, card_args = parse_arguments(kinds, argv, __doc__, RECIPE)

    from joblib import parallel_config
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MultiLabelBinarizer
    from skops import io as skops_io

    from metrics.multilabel_scores.multilabel_scores import several_columns
    from utils.data.splits import describe, label_names, load_splits, stratified_subset
    from utils.evaluation.report import results_table, score, write_report
    from utils.evaluation.thresholds import fit_thresholds
    from utils.model.baseline import in_a_sentence, label_probabilities
    from utils.publishing.finish import finish_run, next_steps
    from utils.run_folder import BASELINE_FILE, METRIC_PREFIX, Predictions, digest, write_bytes

    run = output_args.open_run(args.output_dir, data_args.dataset_name, *(data_args.corrections or ()))
    shown = shown_names(data_args)

    # 2. Comments and their emotions.
    splits = load_splits(data_args, args.seed)
    dataset, names = describe(data_args, splits, args.seed), label_names(splits)
    splits["train"] = stratified_subset(splits["train"], data_args.max_train_samples, args.seed)
    splits["validation"] = stratified_subset(splits["validation"], data_args.max_eval_samples, args.seed)
    dataset["rows"] = {split: len(comments) for split, comments in splits.items()}
    say(f"{dataset['name']}: " + ", ".join(f"{count:,} {split} comments" for split, count in dataset["rows"].items()))

    # 3. One column of zeros and ones per emotion.
    binarizer = MultiLabelBinarizer(classes=range(len(names)))
    gold = {split: binarizer.fit_transform(rows["labels"]) for split, rows in splits.items()}

    # 4. Fit. Each process gets one emotion at a time and one thread, so that cores are used once, not squared.
    started = time.perf_counter()
    pipeline = make_pipeline(
        TfidfVectorizer(max_features=args.max_features),
        OneVsRestClassifier(LogisticRegression(max_iter=1000), n_jobs=args.n_jobs),
    )
    with parallel_config(backend="loky", inner_max_num_threads=1), in_a_sentence(dataset["name"]):
        pipeline.fit(splits["train"]["text"], several_columns(gold["train"]))
    seconds = time.perf_counter() - started
    pipeline[-1].set_params(n_jobs=None)  # predicting takes longer to distribute than to do
    say(f"fitted {len(names)} classifiers in {seconds:.1f} s")

    run.begin()
    with run.replace() as folder:
        write_bytes(folder / BASELINE_FILE, skops_io.dumps(pipeline))

    # 5. Predict.
    predictions = {
        split: Predictions(
            splits[split]["text"], gold[split], label_probabilities(pipeline, splits[split]["text"], names)
        )
        for split in METRIC_PREFIX
        if split in splits
    }

    # 6. The decision: thresholds from validation, scores on validation and test, the report.
    strategy, metric = threshold_args.threshold_strategy, threshold_args.threshold_metric
    validation = predictions["validation"]
    thresholds = fit_thresholds(validation.gold, validation.probabilities, strategy, metric)
    training = {"train_runtime": seconds, "train_samples_per_second": len(splits["train"]) / seconds}
    results = training | score(names, predictions, thresholds)
    trained_from = [dataset["sha256"], names, data_args.max_train_samples, args.max_features, args.seed]
    recorded = as_recorded(data_args, args, threshold_args, card_args)
    run.write_run_json(recorded, dataset, fingerprint=digest(trained_from), shown=shown)
    write_report(run, names, predictions, thresholds, results, strategy, metric)

    # 7. An example, pictures and the card.
    finish_run(run)
    say(f"\n{results_table([run])}\n\n{next_steps(run)}")
    return results


if __name__ == "__main__":
    with one_sentence_errors():
        main()
