"""Fixtures: a tiny encoder and a small dataset, made on the spot; the real one where GOEMOTIONS_DIR names it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before any Hugging Face import: no test may reach the network
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # tests run side by side: one thread each, in what they start as well
    os.environ["OMP_NUM_THREADS"] = "1"

import pyarrow.parquet
import pytest
import torch
from datasets import DatasetDict
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    BloomConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    MPNetConfig,
    OPTConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    RobertaConfig,
    XLMRobertaConfig,
)

from utils.arguments import DataArguments
from utils.data.rows import read_rows
from utils.data.splits import DEMO_FOLDER, load_splits
from utils.inference.output import OutputFile
from utils.model.classifiers import load_encoder
from utils.model.folding import write_folded
from utils.run_folder import RunFolder

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def demo() -> DatasetDict:
    return load_splits(DataArguments("demo"))


@pytest.fixture(scope="session")
def goemotions() -> DatasetDict:
    folder = os.environ.get("GOEMOTIONS_DIR")
    if not folder:
        pytest.skip("GOEMOTIONS_DIR is not set: no local copy of GoEmotions")
    return load_splits(DataArguments(folder))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory, demo) -> Path:
    """A folder with a randomly initialised BERT (two layers of 32) and a WordPiece tokenizer, both without dropout."""
    folder = tmp_path_factory.mktemp("tiny_bert")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        demo["train"]["text"], trainers.WordPieceTrainer(vocab_size=800, special_tokens=special)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=64,
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer.get_vocab()), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def encoder_configs() -> dict[str, tuple[PretrainedConfig, str]]:
    """A tiny configuration of each encoder class, and where its classifier's output layer is.

    Their intermediate layers have 28 units, as many as there are labels, so that size alone does not tell them apart.
    """
    sizes = {
        "vocab_size": 800, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 28, "max_position_embeddings": 80,
    }  # fmt: skip
    special = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
    return {
        "bert": (BertConfig(**sizes), "classifier"),
        "roberta": (RobertaConfig(**sizes), "classifier.out_proj"),
        "xlm-roberta": (XLMRobertaConfig(**sizes), "classifier.out_proj"),
        "distilbert": (DistilBertConfig(vocab_size=800, dim=16, n_layers=1, n_heads=2, hidden_dim=28), "classifier"),
        "mpnet": (MPNetConfig(**sizes), "classifier.out_proj"),
        "modernbert": (ModernBertConfig(**sizes, **dict.fromkeys(special, 0)), "classifier"),
        "electra": (ElectraConfig(**sizes, embedding_size=16), "classifier.out_proj"),
        "deberta-v2": (DebertaV2Config(**sizes), "classifier"),
    }


def causal_configs() -> dict[str, PretrainedConfig]:
    """A tiny configuration of each kind of causal model: absolute and relative positions, no padding token of its own.

    Their classifiers read a comment's last token, and have an output layer without bias.
    """
    sizes = {
        "vocab_size": 800, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 80, "pad_token_id": None, "bos_token_id": 2, "eos_token_id": 3,
    }  # fmt: skip
    return {
        "gpt2": GPT2Config(**sizes),
        "opt": OPTConfig(**sizes, ffn_dim=28, word_embed_proj_dim=16),
        "bloom": BloomConfig(vocab_size=800, hidden_size=16, n_layer=2, n_head=2, pad_token_id=None),
        "qwen2": Qwen2Config(**sizes, intermediate_size=28, num_key_value_heads=2),
        "llama": LlamaConfig(**sizes, intermediate_size=28),
    }


def saved(config: PretrainedConfig, tokenizer_of: Path, folder: Path, **tokenizer_settings) -> Path:
    """A folder with a randomly initialised model, without a classifier, and the tokenizer of another."""
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    PreTrainedTokenizerFast.from_pretrained(tokenizer_of, **tokenizer_settings).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_data(tmp_path_factory) -> Path:
    """200 training, 60 validation and 60 test rows of the demo corpus, as a local folder."""
    folder = tmp_path_factory.mktemp("small_data")
    for split, count in (("train", 200), ("validation", 60), ("test", 60)):
        lines = (DEMO_FOLDER / f"{split}.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / f"{split}.csv").write_text("".join(lines[: count + 1]), encoding="utf-8")
    shutil.copy(DEMO_FOLDER / "emotions.txt", folder)
    return folder


@pytest.fixture(scope="session")
def finetune_arguments(tiny_bert, small_data) -> list[str]:
    """What the tests add to: a tiny run of two epochs with 13 steps each, in fp32 on the CPU, without ONNX."""
    return [
        "--config", str(ROOT / "recipes" / "quickstart.yaml"), "--model_name_or_path", str(tiny_bert),
        "--dataset_name", str(small_data), "--num_train_epochs", "2", "--precision", "fp32", "--use_cpu", "true",
        "--learning_rate", "1e-3", "--export_onnx", "false", "--pooling", "first_token", "--label_descriptions", "none",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, finetune_arguments) -> Path:
    """The folder of one uninterrupted tiny run."""
    import run_finetune

    folder = tmp_path_factory.mktemp("runs") / "finished"
    run_finetune.main([*finetune_arguments, "--output_dir", str(folder)])
    return folder


@pytest.fixture(scope="session")
def baseline_run(tmp_path_factory, small_data) -> Path:
    """The folder of one baseline run on the same rows."""
    import run_baseline

    folder = tmp_path_factory.mktemp("runs") / "baseline"
    run_baseline.main(["--dataset_name", str(small_data), "--output_dir", str(folder)])
    return folder


def with_project(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """An environment in which a script of the tests finds the project, wherever it lies."""
    return {**environment, "PYTHONPATH": str(ROOT)}


def run_python(
    *arguments: object, env: Mapping[str, str] = os.environ, timeout: float = 300, **options
) -> subprocess.CompletedProcess:
    """`python arguments…` from the repository's root, in a process of its own, with output as text."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=with_project(env),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )


@contextmanager
def jobs(env: Mapping[str, str] = os.environ):
    """Runs run_inference.py in forked processes, see tests/inference/inference_jobs.py; returns how they ended."""
    with subprocess.Popen(
        [sys.executable, "tests/inference/inference_jobs.py"],
        cwd=ROOT,
        env=with_project(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def run(arguments, **options):
            process.stdin.write(json.dumps({"arguments": arguments, **options}) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield run
        process.stdin.close()


@pytest.fixture(scope="module")
def job():
    """See `jobs`."""
    with jobs() as run:
        yield run


def refold(folder: Path, folded: bool) -> None:
    """Fold a run's thresholds into its model, or take them out, as run_push.py does."""
    run = RunFolder(folder)
    with run.change(outdated=("export",)) as changed:
        write_folded(run, load_encoder(run).model, folded, changed)


def file_rows(path: Path) -> list[dict]:
    return [row.cells for row in read_rows(path)]


def write_rows(path: Path, rows: list[dict]) -> None:
    """A table of string cells (in JSON Lines and Parquet, of any), in the format that the name says."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return
    schema = pyarrow.schema([(column, pyarrow.string()) for column in rows[0]])
    path.write_bytes(OutputFile(path, schema).piece(rows))
