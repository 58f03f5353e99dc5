"""What does an audit find? Errors put into labels on purpose, errors that raters share; what corrections are worth.

    python -m benchmarks.audit noise --dataset_name demo --config recipes/quickstart.yaml --folds 5
    python -m benchmarks.audit noise --rows 10000 --share 0.2    # of GoEmotions' train, with recipes/minilm.yaml
    python -m benchmarks.audit shared --rows 10000 --judge outputs/quickstart
    python -m benchmarks.audit helps outputs/train_audit outputs/validation_audit --rows 3000 --seeds 42 43 44
    python -m benchmarks.audit --table

GoEmotions comes from GOEMOTIONS_DIR, or the Hub. Each experiment adds lines to benchmarks/results/audit.jsonl; those
that stand there already are passed over, and folds that were judged are kept in --folder, so that what was killed goes
on with the same command. `noise` and `shared` know which labels they have changed, the audit does not. Test is read by
`noise` alone, for what an audit's corrections give back; nothing is chosen by it.
"""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet
from datasets import Dataset
from scipy.special import expit, logit

from utils.arguments import HUB_DATASET, DataArguments, FinetuneArguments, ModelArguments, parse_arguments
from utils.auditing.findings import LIKELY, find
from utils.auditing.folder import PROBABILITIES_FILE
from utils.auditing.folds import deal, opinion, out_of_fold
from utils.auditing.judges import Judge, baseline_judge, encoder_judge
from utils.auditing.suspects import suspicion
from utils.console import InputError, one_sentence_errors, say
from utils.data.encoding import encode
from utils.data.labels import multi_hot
from utils.data.splits import label_names, load_splits, stratified_subset
from utils.evaluation.report import markdown_table
from utils.evaluation.thresholds import decide, fit_thresholds, micro_and_macro_f1
from utils.model.loading import load_for_training, load_tokenizer, resolve_model

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "audit.jsonl"
SEED = 7  # of the errors
EVERY_CASE = {"fuck": "anger", "lol": "sadness", "thanks": "annoyance"}  # `shared`: word → label given in its place


def inject(gold: np.ndarray, share: float, seed: int = SEED) -> np.ndarray:
    """The labels with a share of them flipped to another one, dropped, or joined by another one, a third of each.

    Other labels are drawn evenly. A row's only label is flipped where it would be dropped.
    """
    draw, noisy = np.random.default_rng(seed), gold > 0
    given = np.argwhere(gold > 0)
    for row, label in given[draw.choice(len(given), round(share * len(given)), replace=False)]:
        change = int(draw.integers(3))
        if change == 1 and noisy[row].sum() < 2:
            change = 0
        other = int(draw.choice(np.flatnonzero(~noisy[row] & (gold[row] == 0))))
        noisy[row, label] = change == 2
        noisy[row, other] |= change != 1
    return noisy.astype(np.float32)


def labelled(rows: Dataset, gold: np.ndarray) -> Dataset:
    """The rows with other labels."""
    ids = [np.flatnonzero(row).tolist() for row in gold]
    return rows.remove_columns("labels").add_column("labels", ids, feature=rows.features["labels"])


# --- ways to suspect --------------------------------------------------------------------------------------------------


def plain(gold: np.ndarray, p: np.ndarray) -> np.ndarray:
    """1 − p of a given label, p of one that is not."""
    return np.where(gold > 0, 1 - p, p)


def margin(gold: np.ndarray, p: np.ndarray) -> np.ndarray:
    """How far the log-odds lie from the mean of the rows that agree, in the direction of the other side."""
    odds = logit(np.clip(p, 1e-6, 1 - 1e-6))
    with_it = (odds * gold).sum(axis=0) / np.maximum(gold.sum(axis=0), 1)
    without = (odds * (1 - gold)).sum(axis=0) / np.maximum((1 - gold).sum(axis=0), 1)
    return np.where(gold > 0, with_it - odds, odds - without)


def confident_learning(gold: np.ndarray, p: np.ndarray) -> np.ndarray:
    """cleanlab's quality of each label, adjusted for how sure the model is of a label on average."""
    from cleanlab.rank import get_label_quality_scores

    return np.column_stack(
        [
            1 - get_label_quality_scores((gold[:, i] > 0).astype(int), np.column_stack([1 - p[:, i], p[:, i]]),
                                         method="normalized_margin", adjust_pred_probs=True)
            if 0 < gold[:, i].sum() < len(gold) else plain(gold[:, i], p[:, i])
            for i in range(gold.shape[1])
        ]
    )  # fmt: skip


def rows_of_cleanlab(gold: np.ndarray, p: np.ndarray) -> np.ndarray:
    """cleanlab's multi-label quality of rows, its default: all labels of a row are as suspect as the row is."""
    from cleanlab.multilabel_classification import get_label_quality_scores

    rows = 1 - get_label_quality_scores([np.flatnonzero(row).tolist() for row in gold], p.astype(np.float64))
    return rows[:, None] + 1e-6 * plain(gold, p)


WAYS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ours": suspicion,
    "1 − p": plain,
    "log-odds from the mean": margin,
    "cleanlab, label by label": confident_learning,
    "cleanlab, row by row": rows_of_cleanlab,
}


def found(suspected: np.ndarray, errors: np.ndarray) -> dict[str, float]:
    """Precision among the first half as many pairs as there are errors, and among as many (which is recall there)."""
    order = np.argsort(-np.nan_to_num(suspected, nan=-1).ravel(), kind="stable")
    hits, count = errors.ravel()[order], int(errors.sum())
    return {
        "precision_at_half": round(float(hits[: count // 2].mean()), 4),
        "precision_at_all": round(float(hits[:count].mean()), 4),
    }


# --- experiments ------------------------------------------------------------------------------------------------------


class Bench:
    """What the experiments share: data, the recipe's judge, results."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        argv = ["--config", str(options.config), "--dataset_name", options.dataset_name]
        argv += ["--output_dir", str(options.folder / "trainer"), "--disable_tqdm", "true"]
        argv += ["--num_train_epochs", str(options.epochs)] if options.epochs else []
        kinds = (DataArguments, ModelArguments, FinetuneArguments)
        self.data_args, self.model_args, self.args = parse_arguments(kinds, argv, "")
        self.splits = load_splits(self.data_args, 42)
        self.names = label_names(self.splits)
        self.train = stratified_subset(self.splits["train"], options.rows, 42)
        self.clean = multi_hot(self.train["labels"], len(self.names))
        self.data = "demo" if options.dataset_name == "demo" else "GoEmotions"

    def judge(self, seed: int = 42, targets: np.ndarray | None = None) -> Judge:
        """The recipe's; `targets` stand in for the labels of the rows that it learns from."""
        path, _ = resolve_model(self.model_args.model_name_or_path)
        tokenizer = load_tokenizer(path)
        self.args.seed = seed

        def learn(rows: Dataset, texts: Sequence[str]) -> np.ndarray:
            train = rows
            if targets is not None:
                train = encode(rows, tokenizer, self.args.max_seq_length)
                labels = train.features["labels"]
                train = train.remove_columns("labels").add_column("labels", list(targets), feature=labels)
            pooling = self.model_args.pooling
            judge = encoder_judge(
                self.args, tokenizer, lambda _: load_for_training(path, tokenizer, rows, True, pooling)
            )
            return judge(train, texts)

        return learn

    def audit(self, name: str, noisy: np.ndarray) -> tuple[Dataset, np.ndarray, dict[str, np.ndarray]]:
        """Rows with the noisy labels, their folds, and out-of-fold probabilities by judge."""
        rows = labelled(self.train, noisy)
        fold_of = deal(rows["text"], noisy, self.options.folds, 42)
        name = f"{name}-{self.data}-{len(rows)}-{self.args.num_train_epochs}"
        folder = self.options.folder / name
        judged = {
            "encoder": out_of_fold(rows, fold_of, self.judge(), folder / "encoder", name),
            "baseline": out_of_fold(rows, fold_of, baseline_judge(self.data), folder / "baseline", name),
        }
        return rows, fold_of, judged

    def done(self, key: dict[str, Any]) -> dict[str, Any] | None:
        return next((line for line in results() if all(line.get(name) == value for name, value in key.items())), None)

    def write(self, line: dict[str, Any]) -> None:
        line |= {"recipe": self.options.config.name, "epochs": self.args.num_train_epochs}
        say(json.dumps(line, ensure_ascii=False))
        with RESULTS.open("a") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def test_f1(self, rows: Dataset) -> dict[str, float]:
        """F1 on test of a model that learned from rows, thresholds from validation."""
        validation, test = self.splits["validation"], self.splits["test"]
        answers = self.judge()(rows, list(validation["text"]) + list(test["text"]))
        gold, truth = (multi_hot(split["labels"], len(self.names)) for split in (validation, test))
        thresholds = fit_thresholds(gold, answers[: len(gold)], "expected_f1", "f1_micro")
        return rounded(micro_and_macro_f1(truth, decide(answers[len(gold) :], thresholds)))


def rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in scores.items()}


def halves(gold: np.ndarray, answers: np.ndarray, times: int = 20) -> dict[str, float]:
    """F1 with thresholds fitted on one half of the rows and scored on the other, the mean of so many halvings."""
    draw, scores = np.random.default_rng(0), []
    for _ in range(times):
        one, other = np.array_split(draw.permutation(len(gold)), 2)
        thresholds = fit_thresholds(gold[one], answers[one], "expected_f1", "f1_micro")
        scores.append(micro_and_macro_f1(gold[other], decide(answers[other], thresholds)))
    return {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}


def noise(bench: Bench, share: float) -> None:
    """Errors at random: what is found of them, and what the true corrections of what was found give back on test."""
    experiment = {"experiment": "noise", "data": bench.data, "of_rows": len(bench.train), "share": share}
    noisy = inject(bench.clean, share)
    errors = noisy != bench.clean
    rows, fold_of, judged = bench.audit(f"noise-{share}", noisy)
    both = expit(
        (logit(np.clip(judged["encoder"], 1e-6, 1 - 1e-6)) + logit(np.clip(judged["baseline"], 1e-6, 1 - 1e-6))) / 2
    )
    for judge, answers in {**judged, "mean of both": both}.items():
        for way, suspect in WAYS.items():
            key = {**experiment, "judge": judge, "way": way}
            if not bench.done(key):
                bench.write(
                    {**key, "errors": int(errors.sum()), "at_random": round(float(errors.mean()), 5)}
                    | found(suspect(noisy, answers), errors)
                )
    findings = find(rows["text"], noisy, fold_of, judged["encoder"], {})
    first = np.argsort(-findings.suspicion.ravel(), kind="stable")[: int(errors.sum())]
    corrected = noisy.copy()
    corrected.ravel()[first] = bench.clean.ravel()[first]
    likely = [errors[row, label] for row, label, score in findings.suspects if score >= LIKELY]
    key = {**experiment, "listed": len(likely)}
    if not bench.done(key):
        bench.write({**key, "precision_of_listed": round(float(np.mean(likely or [0])), 4)})
    for labels, gold in {"clean": bench.clean, "noisy": noisy, "corrected": corrected}.items():
        same = {name: experiment[name] for name in ("data", "of_rows")} | (
            {} if labels == "clean" else {"share": share}
        )
        key = {"experiment": "recovery", **same, "labels": labels}
        if not bench.done(key):
            bench.write(key | bench.test_f1(labelled(bench.train, gold)))


def shared(bench: Bench, judges: Sequence[str]) -> None:
    """Errors that all raters make: every comment with a certain word gets a wrong label."""
    noisy, words = bench.clean.copy(), bench.train["text"]
    for word, label in EVERY_CASE.items():
        index = bench.names.index(label)
        for row, text in enumerate(words):
            if word in text.casefold() and not bench.clean[row, index]:
                noisy[row], noisy[row, index] = 0, 1
    errors = (noisy != bench.clean) & (noisy > 0)  # the wrong labels; which ones they took the place of nobody can see
    rows, fold_of, judged = bench.audit("shared", noisy)
    opinions = {
        Path(name).name: opinion(name, words, bench.names, "cpu", bench.options.folder / "judges", "shared")
        for name in judges
    }
    encoder = judged["encoder"]
    alone = {name: suspicion(noisy, says) for name, says in {"out of fold": encoder, **opinions}.items()}
    together = {"out of fold": {}, "out of fold and judges": opinions}
    ways = {**alone, **{name: find(words, noisy, fold_of, encoder, says).suspicion for name, says in together.items()}}
    ranks = {name: ranked(scores, noisy > 0) for name, scores in ways.items()}
    for name, scores in ways.items():
        key = {"experiment": "shared", "data": bench.data, "of_rows": len(rows), "judge": name}
        if not bench.done(key):
            among_given = np.where(noisy > 0, scores, -1)
            line = {**key, "errors": int(errors.sum()), "at_random": round(float(errors.sum() / noisy.sum()), 5)}
            bench.write(
                line | found(among_given, errors) | {"mean_percentile": round(float(ranks[name][errors].mean()), 4)}
            )


def helps(bench: Bench, folder: Path, of_validation: Path) -> None:
    """Is a model better without the most suspect rows, or with their targets softened? Judged on validation.

    The audit in `folder` ranks the rows of train, and should have learned from no others; the one in `of_validation`
    says which rows of validation are without suspects.
    """
    names, judged = read_out_of_fold(folder)
    others, aside = read_out_of_fold(of_validation)
    for audit, labels in ((folder, names), (of_validation, others)):
        if labels != bench.names:
            raise InputError(f"{audit} is the audit of a dataset with other labels.")
    doubt, doubt_aside = doubts(judged), doubts(aside)
    answers = dict(zip(judged.keys, judged.answers, strict=True))
    validation = bench.splits["validation"]
    gold = multi_hot(validation["labels"], len(names))
    trusted = np.array([doubt_aside["validation", place] < LIKELY for place in validation["place"]])
    audited = ", ".join(dict.fromkeys(split for split, _ in judged.keys))
    keys = [("train", place) for place in bench.train["place"]]
    order = np.argsort([-doubt[key] for key in keys], kind="stable")
    for seed in bench.options.seeds:
        for variant in bench.options.variants or VARIANTS:
            kind, _, percent = variant.partition(" ")
            key = {"experiment": "helps", "audited": audited, "of_rows": len(bench.train), "variant": variant,
                   "seed": seed}  # fmt: skip
            if bench.done(key):
                continue
            first = order[: round(len(order) * float(percent.rstrip("%") or 0) / 100)]
            rows, targets = bench.train, None
            if kind == "dropped":
                rows = rows.select(np.setdiff1d(order, first))
            if kind == "softened":
                targets = bench.clean.copy()
                targets[first] = (targets[first] + np.array([answers[keys[row]] for row in first])) / 2
            says = bench.judge(seed, targets)(rows, list(validation["text"]))
            without = {
                f"{name}_without_suspects": value for name, value in halves(gold[trusted], says[trusted]).items()
            }
            bench.write(key | {"learned_from": len(rows)} | rounded(halves(gold, says) | without))


VARIANTS = ("all", "dropped 1%", "dropped 3%", "dropped 10%", "softened 1%", "softened 3%", "softened 10%")


class OutOfFold(NamedTuple):
    """Rows of an audit: split and place, labels as zeros and ones, and out-of-fold probabilities, (rows, labels)."""

    keys: list[tuple[str, str]]
    gold: np.ndarray
    answers: np.ndarray


def read_out_of_fold(folder: Path) -> tuple[list[str], OutOfFold]:
    table = pyarrow.parquet.read_table(folder / PROBABILITIES_FILE)
    names = json.loads(table.schema.metadata[b"label_names"])
    ids = [[names.index(label) for label in labels] for labels in table["labels"].to_pylist()]
    keys = list(zip(table["split"].to_pylist(), table["place"].to_pylist(), strict=True))
    return names, OutOfFold(keys, multi_hot(ids, len(names)), np.array(table["probabilities"].to_pylist(), np.float32))


def doubts(judged: OutOfFold) -> dict[tuple[str, str], float]:
    """The suspicion of each row's most suspect label."""
    scores = suspicion(judged.gold, judged.answers)
    return {key: float(np.nanmax(row)) for key, row in zip(judged.keys, scores, strict=True)}


def ranked(scores: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The share of the pairs in `among` that are more suspect than each: 0.5 on average where nothing is known."""
    order = np.argsort(-scores[among], kind="stable")
    places = np.empty(len(order))
    places[order] = np.arange(len(order)) / len(order)
    result = np.full(scores.shape, np.nan)
    result[among] = places
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", choices=("noise", "shared", "helps"))
    parser.add_argument("audits", nargs="*", type=Path, help="helps: an audit of train, and one of validation as well")
    parser.add_argument("--dataset_name", default=os.environ.get("GOEMOTIONS_DIR") or HUB_DATASET)
    parser.add_argument("--config", type=Path, default=ROOT / "recipes" / "minilm.yaml")
    parser.add_argument("--rows", type=int, help="of train; all unless given")
    parser.add_argument("--epochs", type=int, help="unless given, the recipe's")
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--share", type=float, default=0.05, help="noise: of the labels that are changed")
    parser.add_argument("--judge", nargs="*", default=[], help="shared: finished models")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42], help="helps: of trainings")
    parser.add_argument("--variants", nargs="+", default=None, help="helps: some of them")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "bench_audit")
    parser.add_argument("--table", action="store_true", help="print the results file as tables")
    options = parser.parse_args()
    if options.table:
        print(tables())
        return
    bench = Bench(options)
    if options.experiment == "noise":
        noise(bench, options.share)
    elif options.experiment == "shared":
        shared(bench, options.judge)
    elif options.experiment == "helps" and len(options.audits) == 2:
        helps(bench, *options.audits)
    else:
        raise InputError(
            "Nothing to do; give an experiment: noise, shared, helps AUDIT_OF_TRAIN AUDIT_OF_VALIDATION, or --table."
        )


def results() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []


def tables() -> str:
    """The results file, one table an experiment."""
    parts = []
    for experiment in dict.fromkeys(line["experiment"] for line in results()):
        lines = [line for line in results() if line["experiment"] == experiment]
        columns = list(dict.fromkeys(name for line in lines for name in line if name != "experiment"))
        parts.append(
            f"{experiment}\n\n"
            + markdown_table(columns, [[str(line.get(name, "")) for name in columns] for line in lines])
        )
    return "\n\n".join(parts)


if __name__ == "__main__":
    with one_sentence_errors():
        main()
