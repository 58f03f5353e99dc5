"""A tokenizer as others are to find it: without what loading it here, or one run, has set in it."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from utils.run_folder import read_json, write_json

# How it was loaded, from where, and what `tokenizer.json` said of truncation and padding, as transformers notes it.
_OF_THIS_MACHINE = ("is_local", "local_files_only", "name_or_path", "cache_dir", "token", "revision", "_commit_hash")
_OF_ONE_CALL = ("max_length", "truncation", "truncation_strategy", "stride", "padding", "pad_to_multiple_of")


def forget_use(tokenizer: PreTrainedTokenizerBase) -> None:
    """Take out of a tokenizer that is about to be saved the lengths it was used with, and where it came from.

    transformers writes the truncation of the last call into tokenizer.json. It sets its own at each call, but clients
    that read the file by themselves (`tokenizers` in Python, Rust, Go) would cut every text there, silently. How many
    tokens the model reads stays in tokenizer_config.json, as `model_max_length`.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    files = [name for name in tokenizer.init_kwargs if name.endswith("_file")]  # where they lay for whoever saved it
    for name in (*_OF_THIS_MACHINE, *_OF_ONE_CALL, *files):
        tokenizer.init_kwargs.pop(name, None)


def name_for_all(folder: Path) -> None:
    """Call a tokenizer that has no class of its own, as saved in `folder`, what every transformers knows it by.

    transformers 5 writes a name there that it has given the class itself; 4, on which optimum still stands, refuses it.
    """
    path = folder / "tokenizer_config.json"
    if path.is_file() and (stored := read_json(path)).get("tokenizer_class") == "TokenizersBackend":
        write_json(path, stored | {"tokenizer_class": "PreTrainedTokenizerFast"})
