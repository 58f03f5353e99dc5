"""Whether a model is what its files say it is: all weights from the file, labels and vocabulary that fit them.

Libraries load what does not fit as well as they can: a missing weight is drawn at random, a missing tokenizer is an
empty one, and every text gets an answer. Here each of these is refused.
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from utils.console import InputError

MOST_LAYERS = 1000  # of an encoder; what says that it has more is no encoder
_NUMBERED = re.compile(r"\.\d+\.")  # in the name of a tensor that belongs to one of several layers
_FLOATS = ("F64", "F32", "F16", "BF16")  # as safetensors calls them
SHOWN = 3  # names in a sentence


def require_labels(name: str, config: PretrainedConfig) -> None:
    """Raise `InputError` unless each output of a classifier has a label, and no two the same.

    Args:
        name: what the user calls the model.
    """
    labels: dict[Any, Any] = dict(config.id2label or {})
    if sorted(map(str, labels)) != sorted(map(str, range(len(labels)))):
        raise InputError(
            f"Model {name}: id2label in its config.json names the ids {_shown(labels)}; accepted: every id from 0 to "
            f"{max(0, len(labels) - 1)}, once."
        )
    names = list(labels.values())
    if odd := [label for label in names if not isinstance(label, str) or names.count(label) > 1]:
        raise InputError(
            f"Model {name}: id2label in its config.json names {odd[0]!r} for more than one id, or it is no text; "
            "accepted: one name for each."
        )


def require_size(name: str, config: PretrainedConfig) -> None:
    """Raise `InputError` for a configuration that no model can have been saved with."""
    layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    if isinstance(layers, int) and not 0 < layers <= MOST_LAYERS:
        raise InputError(
            f"Model {name}: its config.json says num_hidden_layers {layers:,}; accepted: 1 to {MOST_LAYERS:,}."
        )


def require_vocabulary(name: str, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Raise `InputError` for a tokenizer that knows no words, or more than the model."""
    size = getattr(config.get_text_config(), "vocab_size", None)
    try:
        vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    except NotImplementedError:  # tokenizers of bytes or characters may have none
        return
    words = {token: number for token, number in vocabulary.items() if token not in tokenizer.all_special_tokens}
    if not words:
        raise InputError(
            f"Model {name} has no tokenizer: tokenizer.json, or the vocabulary that its kind of model has, is missing "
            "or empty."
        )
    last = max(words, key=lambda token: words[token])
    if size is not None and words[last] >= size:
        raise InputError(
            f"Model {name} knows {size:,} tokens, and its tokenizer has more, such as {last!r} with the id "
            f"{words[last]:,}; take the tokenizer that belongs to the model."
        )


def require_weights(
    name: str,
    model: PreTrainedModel,
    info: Mapping[str, Collection[Any]],
    may_be_new: Callable[[str], bool] | None = None,
) -> None:
    """Raise `InputError` unless all weights of a model came from its file, whole and finite.

    Args:
        name: what the user calls the model.
        info: what loading it reported (`output_loading_info` in transformers).
        may_be_new: whether a weight may be missing, or of another size, in the file, as those of a classifier are in
            the file of an encoder; None for a finished model, whose file holds its weights and no others.
    """
    is_new = may_be_new or (lambda tensor: False)
    missing = [tensor for tensor in sorted(info["missing_keys"]) if not is_new(tensor)]
    if missing:
        raise InputError(
            f"Model {name}: its file lacks {len(missing)} of the weights that config.json asks for "
            f"({_shown(missing)}); take files that belong together."
        )
    for tensor, *sizes in sorted(info["mismatched_keys"], key=str):
        if not is_new(tensor):
            stored, wanted = (tuple(size) for size in sizes)
            raise InputError(
                f"Model {name}: {tensor} has the shape {stored} in its file, and {wanted} after its config.json; take "
                "files that belong together."
            )
    if info.get("error_msgs"):
        raise InputError(f"Model {name}: its weights could not be loaded ({_shown(info['error_msgs'])}).")
    # An encoder's file also holds what it was trained with, but no layer that its configuration does not count.
    surplus = [tensor for tensor in sorted(info["unexpected_keys"]) if may_be_new is None or _NUMBERED.search(tensor)]
    if surplus:
        raise InputError(
            f"Model {name}: its file holds {len(surplus)} weights that config.json knows nothing of "
            f"({_shown(surplus)}); take files that belong together."
        )
    for tensor, weight in model.named_parameters():
        if not is_new(tensor) and not bool(torch.isfinite(weight).all()):
            raise InputError(f"Model {name}: {tensor} holds values that are no numbers (nan or infinite).")


def require_floats(name: str, folder: Path) -> None:
    """Raise `InputError` where a model's weights are stored as something else than floating-point numbers.

    Integers would be loaded as if they were the weights themselves, without the scale that belongs to them.
    """
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, "pt") as file:
            for tensor in file.keys():  # noqa: SIM118  # no dictionary
                kind = file.get_slice(tensor).get_dtype()
                if kind not in _FLOATS and tensor.endswith((".weight", ".bias")):
                    raise InputError(
                        f"Model {name}: {tensor} is stored as {kind}; accepted: {', '.join(_FLOATS)} (a model that is "
                        "quantised in its file is not read here)."
                    )


def _shown(names: Collection[Any]) -> str:
    return ", ".join([str(name) for name in list(names)[:SHOWN]] + ["…"] * (len(names) > SHOWN)) or "none"
