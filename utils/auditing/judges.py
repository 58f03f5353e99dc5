"""Who judges: an encoder or the baseline, which learn from the folds that they do not judge, and finished models, which
learned from something else."""

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from metrics.multilabel_scores.multilabel_scores import several_columns
from utils.arguments import FinetuneArguments
from utils.console import InputError, say
from utils.data.labels import multi_hot
from utils.evaluation.predict import predict_together
from utils.model.baseline import in_a_sentence, label_probabilities
from utils.model.classifiers import Classifier, EncoderClassifier, load_classifier
from utils.model.folding import unfold_thresholds
from utils.run_folder import RUN_FILE, read_json
from utils.training.checkpoints import fingerprint, identity
from utils.training.trainer import EmotionTrainer

MAX_FEATURES = 5000  # of TF-IDF, as in run_baseline.py
Judge = Callable[[Dataset, Sequence[str]], np.ndarray]  # learns from rows; probabilities of texts, (texts, labels)


def encoder_judge(
    args: FinetuneArguments, tokenizer: PreTrainedTokenizerBase, new_model: Callable[[Dataset], PreTrainedModel]
) -> Judge:
    """A judge that fine-tunes an encoder, with the arguments of run_finetune.py.

    It takes the last epoch's model: to choose one by its scores on the rows to be judged would show it their labels.

    Args:
        args: the recipe's; nothing is saved, evaluated or reported.
        new_model: makes an untrained classifier for training rows.
    """
    own = copy.copy(args)
    own.report_to, own.early_stopping_patience = [], None
    own.eval_strategy, own.save_strategy, own.load_best_model_at_end = IntervalStrategy.NO, SaveStrategy.NO, False

    def judge(train: Dataset, texts: Sequence[str]) -> np.ndarray:
        set_seed(args.seed)
        with tempfile.TemporaryDirectory() as scratch:  # for what the Trainer writes nevertheless
            own.output_dir = scratch
            trainer = EmotionTrainer(
                model=new_model(train), args=own, train_dataset=train, processing_class=tokenizer, compute_metrics=None
            )
            trainer.train()
        model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
        say(f"asking it about {len(texts):,} rows …")
        return predict_together(EncoderClassifier(model, tokenizer), texts)

    return judge


def baseline_judge(name: str) -> Judge:
    """A judge that fits what run_baseline.py fits; `name`: the data's, for errors."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # takes a second to import
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    def judge(train: Dataset, texts: Sequence[str]) -> np.ndarray:
        names = train.features["labels"].feature.names
        pipeline = make_pipeline(
            TfidfVectorizer(max_features=MAX_FEATURES), OneVsRestClassifier(LogisticRegression(max_iter=1000))
        )
        with in_a_sentence(name):
            pipeline.fit(train["text"], several_columns(multi_hot(train["labels"], len(names))))
        return label_probabilities(pipeline, texts, names)

    return judge


def has_learned_from(name: str, dataset: Mapping[str, Any]) -> bool:
    """Whether a run's folder says that the run was trained on this dataset, its labels corrected or as they were.

    Args:
        dataset: see `utils.data.splits.describe`.
    """
    path = Path(name).expanduser() / RUN_FILE
    then = read_json(path).get("dataset") if path.is_file() else None
    return isinstance(then, dict) and bool(_fingerprints(then) & _fingerprints(dataset))


def _fingerprints(dataset: Mapping[str, Any]) -> set[str]:
    return {str(dataset[name]) for name in ("sha256", "sha256_before_corrections") if name in dataset}


def loadable(judges: Sequence[str], names: Sequence[str], device: str | torch.device) -> list[str]:
    """Of the models that were given, those that differ, each loaded once, to find out before an audit is begun.

    Raises:
        InputError: one cannot be loaded, or knows none of the labels.
    """
    distinct: dict[str, str] = {}
    for name in judges:
        _load(name, names, device)
        distinct.setdefault(fingerprint({"judge": identity(name)}), name)
    return list(distinct.values())


def _load(name: str, names: Sequence[str], device: str | torch.device) -> Classifier:
    try:
        classifier, _ = load_classifier(name, device)
    except InputError as error:
        raise InputError(f"--judge: {str(error).removeprefix('--model ')}") from error
    if not set(names) & set(classifier.labels):
        raise InputError(
            f"--judge {name} knows none of the labels ({', '.join(names[:3])}, …), but "
            f"{', '.join(classifier.labels[:3])}, …; give a model whose label names overlap."
        )
    return classifier


def ask(name: str, texts: Sequence[str], names: Sequence[str], device: str | torch.device) -> np.ndarray:
    """The probabilities of a run's folder or a model on the Hub, thresholds taken out; shape (rows, labels).

    Those of a label that it does not know are nan.

    Raises:
        InputError: it cannot be loaded, or knows none of the labels.
    """
    classifier = _load(name, names, device)
    shared = [label for label in names if label in classifier.labels]
    if isinstance(classifier, EncoderClassifier):
        unfold_thresholds(classifier.model)
    others = f", not {len(names) - len(shared)} other(s)" if len(shared) < len(names) else ""
    say(f"asking {name} about {len(texts):,} rows: it knows {len(shared)} of the labels{others} …")
    answers = predict_together(classifier, texts)
    probabilities = np.full((len(texts), len(names)), np.nan, dtype=np.float32)
    known = list(classifier.labels)
    for index, label in enumerate(names):
        if label in known:
            probabilities[:, index] = answers[:, known.index(label)]
    return probabilities
