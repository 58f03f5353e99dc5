"""Train the baseline: TF-IDF and one logistic regression per emotion, in seconds on a laptop.

    python run_baseline.py                                                  # GoEmotions from the Hub
    python run_baseline.py --max_train_samples 2000 --max_eval_samples 200 --output_dir outputs/baseline_2000
    python run_baseline.py --dataset_name demo --output_dir outputs/demo_baseline

Without --config, recipes/baseline.yaml is the recipe; arguments override it.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

from joblib import parallel_config
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MultiLabelBinarizer
from skops import io as skops_io

from utils.arguments import (
    DataArguments,
    OutputArguments,
    ThresholdArguments,
    check_output_dir,
    parse_arguments,
    remove_run,
)
from utils.card import write_card
from utils.classifiers import BASELINE_FILE
from utils.console import one_sentence_errors, say
from utils.data import describe, label_names, load_splits, stratified_subset
from utils.example import record_example
from utils.plots import plot_run
from utils.results import Predictions, results_table, write_bytes, write_results, write_run_json

RECIPE = str(Path(__file__).parent / "recipes" / "baseline.yaml")


@dataclass
class BaselineArguments:
    """The classifier."""

    output_dir: str | None = field(default=None, metadata={"help": "folder for the results"})
    seed: int = field(default=42, metadata={"help": "of the stratified subsets"})
    max_features: int = field(default=5000, metadata={"help": "size of the TF-IDF vocabulary"})
    n_jobs: int = field(default=-1, metadata={"help": "processes; -1 uses every core, the result is the same"})


def main(argv: list[str] | None = None) -> dict[str, float]:
    # 1. Arguments, all checked before anything is loaded.
    kinds = (DataArguments, BaselineArguments, ThresholdArguments, OutputArguments)
    data_args, args, threshold_args, output_args = parse_arguments(kinds, argv, __doc__, RECIPE)
    run_dir = check_output_dir(args.output_dir, output_args.overwrite_output_dir)

    # 2. Comments and their emotions.
    splits = load_splits(
        data_args.dataset_name, data_args.dataset_config_name, data_args.allow_unlabelled, data_args.taxonomy
    )
    dataset, names = describe(data_args.dataset_name, splits), label_names(splits)
    splits["train"] = stratified_subset(splits["train"], data_args.max_train_samples, args.seed)
    splits["validation"] = stratified_subset(splits["validation"], data_args.max_eval_samples, args.seed)
    say(f"{data_args.dataset_name}: " + ", ".join(f"{len(rows):,} {split} comments" for split, rows in splits.items()))
    remove_run(run_dir)

    # 3. One column of zeros and ones per emotion.
    binarizer = MultiLabelBinarizer(classes=range(len(names)))
    gold = {split: binarizer.fit_transform(rows["labels"]) for split, rows in splits.items()}

    # 4. Fit. Each process gets one emotion at a time and one thread, so that cores are used once, not squared.
    started = time.perf_counter()
    pipeline = make_pipeline(
        TfidfVectorizer(max_features=args.max_features),
        OneVsRestClassifier(LogisticRegression(max_iter=1000), n_jobs=args.n_jobs),
    )
    with parallel_config(backend="loky", inner_max_num_threads=1):
        pipeline.fit(splits["train"]["text"], gold["train"])
    seconds = time.perf_counter() - started
    pipeline[-1].set_params(n_jobs=None)  # predicting takes longer to distribute than to do
    say(f"fitted {len(names)} classifiers in {seconds:.1f} s")

    # 5. Thresholds from validation, scores on validation and test, files.
    write_bytes(run_dir / BASELINE_FILE, skops_io.dumps(pipeline))
    predictions = {
        name: Predictions(splits[split]["text"], gold[split], pipeline.predict_proba(splits[split]["text"]))
        for name, split in (("eval", "validation"), ("test", "test"))
        if split in splits
    }
    training = {"train_runtime": seconds, "train_samples_per_second": len(splits["train"]) / seconds}
    results = write_results(
        run_dir, names, predictions, threshold_args.threshold_strategy, threshold_args.threshold_metric, training
    )
    arguments = {key: value for kind in (data_args, args, threshold_args) for key, value in vars(kind).items()}
    dataset["rows"] = {split: len(comments) for split, comments in splits.items()}
    write_run_json(run_dir, arguments, dataset)
    record_example(run_dir)
    plot_run(run_dir)
    write_card(run_dir)
    say(f"\n{results_table([run_dir])}\n\nEverything is in {run_dir}.")
    return results


if __name__ == "__main__":
    with one_sentence_errors():
        main()
