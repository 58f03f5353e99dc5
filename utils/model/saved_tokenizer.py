"""A tokenizer as others are to find it: without what loading it here, or one run, has set in it."""

from transformers import PreTrainedTokenizerBase

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
