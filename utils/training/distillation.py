"""Soft targets: what finished runs answer about the training comments, mixed with the gold labels.

A third of GoEmotions' labels is disputed. A teacher's probabilities say of every comment how likely each emotion is,
also where the one rater who saw it disagreed; a model that learns from both learns less of the noise (Hinton, Vinyals
and Dean 2015; with teachers of its own kind, Furlanello et al. 2018).

A run has seen the labels of its training comments, and repeats some by heart. The folder of an audit is a teacher that
has not: its probabilities are out of fold.

Of texts without labels, all that is known is what teachers answer. Where people have labelled few, a model learns from
these what its teachers have learned, and is better than each of them (Yarowsky 1995; Xie et al. 2020).
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from datasets import Dataset, concatenate_datasets

from utils.console import InputError, say
from utils.evaluation.predict import predict_together
from utils.model.classifiers import EncoderClassifier, load_classifier
from utils.model.folding import unfold_thresholds


def mix_in_teachers(
    train_set: Dataset,
    texts: Sequence[str],
    teachers: Sequence[str],
    weight: float,
    names: Sequence[str],
    device: str | torch.device = "cpu",
    labelled: int | None = None,
) -> Dataset:
    """`train_set` with (1 − weight) · gold + weight · mean probability of the teachers as its targets.

    Cross-entropy is linear in its targets, so this is the weighted sum of the losses against gold and against the
    teachers. Thresholds that were folded into a teacher are taken out again: what counts are its probabilities.

    Args:
        train_set: encoded rows with `labels`, floats of shape (labels,).
        texts: their comments, in the same order.
        teachers: folders of finished runs or of audits, or models on the Hub, that know the same labels in the same
            order.
        weight: in [0, 1].
        labelled: how many rows have gold labels (None: all); of those that follow, the teachers alone are the targets.

    Raises:
        InputError: a teacher cannot be loaded, knows other labels, or is an audit of other comments.
    """
    total = np.zeros((len(texts), len(names)))
    audits = [name for name in teachers if out_of_fold_file(name).is_file()]
    for name in audits:
        total += out_of_fold(name, texts, names)
    classifiers = {name: load_classifier(name, device, precision="auto")[0] for name in teachers if name not in audits}
    for name, classifier in classifiers.items():
        _require_labels(name, classifier.labels, names)
    for name, classifier in classifiers.items():
        if isinstance(classifier, EncoderClassifier):
            unfold_thresholds(classifier.model)
        say(f"asking {name} about {len(texts):,} training comments …")
        total += predict_together(classifier, texts)
    gold = np.array(train_set["labels"], dtype=np.float64)
    share = np.where(np.arange(len(texts)) < (len(texts) if labelled is None else labelled), weight, 1.0)[:, None]
    soft = ((1 - share) * gold + share * total / len(teachers)).astype(np.float32)
    return train_set.remove_columns("labels").add_column("labels", list(soft), feature=train_set.features["labels"])


def with_unlabelled(train_dataset: Dataset, texts: Sequence[str]) -> Dataset:
    """The rows with `text` and `labels`, and after them those of `texts`, which have no label."""
    rows = train_dataset.select_columns(["text", "labels"])
    more = Dataset.from_dict({"text": list(texts), "labels": [[] for _ in texts]}, features=rows.features)
    return concatenate_datasets([rows, more])


def out_of_fold_file(audit: str | Path) -> Path:
    """Where an audit keeps its probabilities, see `utils.auditing.tables`; only the folder of one has that file."""
    return Path(audit).expanduser() / "out_of_fold.parquet"


def out_of_fold(audit: str, texts: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The probabilities that an audit gave `texts`, each by a model that had not learned from it; (texts, labels).

    Equal texts stand in one fold, and so have one answer.

    Raises:
        InputError: the file cannot be read, or the audit knows other labels or did not judge one of the texts.
    """
    path = out_of_fold_file(audit)
    try:
        table = pyarrow.parquet.read_table(path, columns=["text", "probabilities"])
        known = json.loads(table.schema.metadata[b"label_names"])
        answers = dict(zip(table["text"].to_pylist(), table["probabilities"].to_pylist(), strict=True))
    except (OSError, pyarrow.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InputError(f"--teacher {audit}: {path.name} is not what run_audit.py writes; audit again.") from error
    _require_labels(audit, known, names)
    if missing := [text for text in texts if text not in answers]:
        raise InputError(
            f"--teacher {audit} did not judge {len(missing):,} of the {len(texts):,} training comments, among them "
            f"{missing[0][:60]!r}; give an audit of this dataset's train split, or a finished run (texts of "
            "--unlabelled_file need one)."
        )
    say(f"{audit}: its out-of-fold probabilities of {len(texts):,} training comments")
    return np.array([answers[text] for text in texts], dtype=np.float64)


def _require_labels(teacher: str, known: Sequence[str], names: Sequence[str]) -> None:
    if list(known) != list(names):
        raise InputError(
            f"--teacher {teacher} knows other labels ({', '.join(known[:3])}, …) than the dataset "
            f"({', '.join(names[:3])}, …); give runs trained on the same labels."
        )
