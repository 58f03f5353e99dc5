"""From comments to what an encoder reads: token ids, and float multi-hot targets."""

import numpy as np
from datasets import Dataset, Features, List, Value
from transformers import PreTrainedTokenizerBase

from utils.data.labels import multi_hot


def encode(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_seq_length: int) -> Dataset:
    """Tokenise `text` and turn `labels` into float32 rows of zeros and ones.

    Nothing is padded here: each batch is padded to its own longest comment when it is put together. Binary
    cross-entropy needs float targets. `length` counts tokens, for batches of similar length.
    """
    names = dataset.features["labels"].feature.names
    max_length = min(max_seq_length, tokenizer.model_max_length)
    tokens = tokenizer(list(dataset["text"]), truncation=True, max_length=max_length)
    columns = dict(tokens)
    columns["length"] = [len(ids) for ids in tokens["input_ids"]]
    columns["labels"] = list(multi_hot(dataset["labels"], len(names)))
    features = {name: List(Value("int32")) for name in tokens}
    features |= {"length": Value("int32"), "labels": List(Value("float32"), length=len(names))}
    return Dataset.from_dict(columns, features=Features(features))


def shortest_first(dataset: Dataset) -> Dataset:
    """The rows by rising token count, so that evaluation pads almost nothing; scores do not depend on the order."""
    return dataset.select(np.argsort(dataset["length"], kind="stable"))
