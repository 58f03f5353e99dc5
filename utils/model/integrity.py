"""Whether a model is what its files say it is: all weights from the file, labels and vocabulary that fit them.

Libraries load what does not fit as well as they can: a missing weight is drawn at random, a missing tokenizer is an
empty one, and every text gets an answer. Here each of these is refused.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from utils.console import InputError
from utils.model.head import label_list, output_layer
from utils.run_folder import CONFIG_FILE

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


def identity(model: PreTrainedModel) -> dict[str, str]:
    """By what a copy of a classifier in another format is known to be that classifier's: labels and output layer.

    Folding, calibrating and training each change the output layer.
    """
    layer = output_layer(model)
    name = next(name for name, module in model.named_modules() if module is layer)
    digests = {f"{name}.{part}": _digest(tensor) for part, tensor in layer.state_dict().items()}
    return {"labels": json.dumps(label_list(model.config)), "output_layer": json.dumps(digests)}


def require_identity(name: str, folder: Path, config: PretrainedConfig, copy: Mapping[str, str], outputs: Any) -> None:
    """Raise `InputError` unless a copy belongs to the classifier in `folder`, as far as its files there can tell.

    Args:
        name: what the user calls the copy.
        copy: what `identity` returned when it was made; an older one has none, and is known by its `outputs` alone.
        outputs: how many labels it answers for.
    """
    labels = label_list(config)
    another = f"{name} is of another model: {{}}. `python run_export.py OUTPUT_DIR` makes it anew."
    if isinstance(outputs, int) and outputs != len(labels):
        raise InputError(another.format(f"it answers for {outputs} labels, and {CONFIG_FILE} names {len(labels)}"))
    if "labels" in copy and json.loads(copy["labels"]) != labels:
        raise InputError(another.format(f"its labels are not those of {CONFIG_FILE}"))
    weights = folder / "model.safetensors"  # which is not fetched from the Hub for a copy
    if "output_layer" in copy and weights.is_file():
        with safe_open(weights, "pt") as file:
            for tensor, digest in json.loads(copy["output_layer"]).items():
                if tensor not in file.keys() or _digest(file.get_tensor(tensor)) != digest:  # noqa: SIM118
                    raise InputError(another.format(f"its output layer is not that of {weights.name}"))


def _digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.detach().float().contiguous().numpy().tobytes()).hexdigest()


def _shown(names: Collection[Any]) -> str:
    return ", ".join([str(name) for name in list(names)[:SHOWN]] + ["…"] * (len(names) > SHOWN)) or "none"
