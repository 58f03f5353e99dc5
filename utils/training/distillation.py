"""Soft targets: what finished runs answer about the training comments, mixed with the gold labels.

A third of GoEmotions' labels is disputed. A teacher's probabilities say of every comment how likely each emotion is,
also where the one rater who saw it disagreed; a model that learns from both learns less of the noise (Hinton, Vinyals
and Dean 2015; with teachers of its own kind, Furlanello et al. 2018).
"""

from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset

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
) -> Dataset:
    """`train_set` with (1 − weight) · gold + weight · mean probability of the teachers as its targets.

    Cross-entropy is linear in its targets, so this is the weighted sum of the losses against gold and against the
    teachers. Thresholds that were folded into a teacher are taken out again: what counts are its probabilities.

    Args:
        train_set: encoded rows with `labels`, floats of shape (labels,).
        texts: their comments, in the same order.
        teachers: folders of finished runs, or models on the Hub, that know the same labels in the same order.
        weight: in [0, 1].

    Raises:
        InputError: a teacher cannot be loaded, or knows other labels.
    """
    classifiers = {name: load_classifier(name, device, precision="auto")[0] for name in teachers}
    for name, classifier in classifiers.items():
        if list(classifier.labels) != list(names):
            raise InputError(
                f"--teacher {name} knows other labels ({', '.join(classifier.labels[:3])}, …) than the dataset "
                f"({', '.join(names[:3])}, …); give runs trained on the same labels."
            )
    total = np.zeros((len(texts), len(names)))
    for name, classifier in classifiers.items():
        if isinstance(classifier, EncoderClassifier):
            unfold_thresholds(classifier.model)
        say(f"asking {name} about {len(texts):,} training comments …")
        total += predict_together(classifier, texts)
    gold = np.array(train_set["labels"], dtype=np.float64)
    soft = ((1 - weight) * gold + weight * total / len(classifiers)).astype(np.float32)
    return train_set.remove_columns("labels").add_column("labels", list(soft), feature=train_set.features["labels"])
