"""The tokenizer that a run leaves: the same for transformers, and uncut for whoever reads its files alone."""

import json
import shutil

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, pipeline

from utils.data.encoding import encode
from utils.model.loading import load_tokenizer
from utils.model.saved_tokenizer import forget_use, name_for_all

WORDS = " ".join(["word", "and", "a", "day"] * 75)
PRIVATE = ("is_local", "local_files_only", "name_or_path", "max_length", "truncation", "padding", "token")


def test_clients_that_read_tokenizer_json_alone_see_the_whole_text(finished_run):
    tokenizer = Tokenizer.from_file(str(finished_run / "tokenizer.json"))
    assert len(tokenizer.encode(WORDS).ids) >= 300
    short, long = tokenizer.encode_batch(["a day", WORDS])
    assert len(short.ids) < 10 < len(long.ids)
    stored = json.loads((finished_run / "tokenizer.json").read_text())
    assert stored["truncation"] is None
    assert stored["padding"] is None


def test_nothing_of_this_machine_or_of_one_run_is_saved(finished_run, tiny_bert):
    stored = json.loads((finished_run / "tokenizer_config.json").read_text())
    assert not set(PRIVATE) & set(stored)
    assert stored["model_max_length"] == 64
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        text = (finished_run / name).read_text()
        assert "_name_or_path" not in text
        assert str(tiny_bert) not in text
        assert str(finished_run) not in text


def test_older_clients_know_the_class(finished_run, tmp_path):
    """transformers 4 has no TokenizersBackend; 5 reads either name as the same class."""
    stored = json.loads((finished_run / "tokenizer_config.json").read_text())
    assert stored["tokenizer_class"] == "PreTrainedTokenizerFast"
    for kind, name in (("TokenizersBackend", "PreTrainedTokenizerFast"), ("BertTokenizer", "BertTokenizer")):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(stored | {"tokenizer_class": kind}))
        name_for_all(tmp_path)
        assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == stored | {"tokenizer_class": name}


def test_transformers_reads_what_it_read_before(finished_run, tiny_bert, tmp_path):
    before, after = AutoTokenizer.from_pretrained(tiny_bert), AutoTokenizer.from_pretrained(finished_run)
    for options in ({}, {"truncation": True}, {"truncation": True, "max_length": 20}, {"padding": True}):
        assert dict(after([WORDS, "a day"], **options)) == dict(before([WORDS, "a day"], **options))
    assert after.model_max_length == before.model_max_length == load_tokenizer(str(finished_run)).model_max_length
    answer = pipeline("text-classification", model=str(finished_run), top_k=1)
    assert answer("a day")[0][0]["score"] > 0
    assert len(answer(WORDS, truncation=True)) == 1


@pytest.mark.parametrize("generation", [1, 3])
def test_a_tokenizer_that_was_cut_before_is_mended_and_stays_so(tiny_bert, demo, tmp_path, generation):
    folder = shutil.copytree(tiny_bert, tmp_path / "0")
    cut = Tokenizer.from_file(str(folder / "tokenizer.json"))
    cut.enable_truncation(max_length=16)
    cut.enable_padding(length=16)
    cut.save(str(folder / "tokenizer.json"))
    stored = json.loads((folder / "tokenizer_config.json").read_text())
    stored |= {"name_or_path": "/home/me/a", "special_tokens_map_file": "/home/me/b"}  # as old versions left it
    (folder / "tokenizer_config.json").write_text(json.dumps(stored))
    for number in range(1, generation + 1):
        tokenizer = load_tokenizer(str(folder))
        encode(demo["test"].select(range(3)), tokenizer, 16)
        forget_use(tokenizer)
        folder = tmp_path / str(number)
        tokenizer.save_pretrained(folder)
        shutil.copy(tiny_bert / "config.json", folder)
        assert len(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(WORDS).ids) >= 300
        assert not set(PRIVATE) & set(json.loads((folder / "tokenizer_config.json").read_text()))
        assert "/home/me" not in (folder / "tokenizer_config.json").read_text()
        assert len(load_tokenizer(str(folder))(WORDS, truncation=True)["input_ids"]) == 64
