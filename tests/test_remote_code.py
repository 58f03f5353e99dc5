"""A stranger's code that lies beside a model runs for nobody who has not asked for it."""

import ast
import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

import run_audit
import run_evaluate
import run_export
import run_finetune
import run_inference
import run_push
import run_search
from utils.console import InputError
from utils.training.checkpoints import mark_whole

CODE = {
    "configuration_mine.py": """
from pathlib import Path
from transformers import BertConfig
Path({canary!r}).touch()
class MineConfig(BertConfig):
    model_type = "mine"
""",
    "modeling_mine.py": """
from pathlib import Path
from transformers import BertForSequenceClassification, BertModel
from .configuration_mine import MineConfig
Path({canary!r}).touch()
class MineModel(BertModel):
    config_class = MineConfig
class MineForSequenceClassification(BertForSequenceClassification):
    config_class = MineConfig
""",
    "tokenization_mine.py": """
from pathlib import Path
from transformers import PreTrainedTokenizerFast
Path({canary!r}).touch()
class MineTokenizer(PreTrainedTokenizerFast):
    pass
""",
}
MAPS = {
    "AutoConfig": "configuration_mine.MineConfig",
    "AutoModel": "modeling_mine.MineModel",
    "AutoModelForSequenceClassification": "modeling_mine.MineForSequenceClassification",
}


@pytest.fixture
def canary(tmp_path):
    """A file that the stranger's code makes."""
    return tmp_path / "the code has run"


def bring_code(folder: Path, canary: Path, known_kind: bool) -> str:
    """Put code beside the model in `folder`; with `known_kind` transformers could do without all of it."""
    for name, content in CODE.items():
        (folder / name).write_text(content.format(canary=str(canary)))
    config = json.loads((folder / "config.json").read_text())
    kind = {} if known_kind else {"model_type": "mine"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": MAPS} | kind))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer |= {"auto_map": {"AutoTokenizer": [None, "tokenization_mine.MineTokenizer"]}}
    if not known_kind:
        tokenizer["tokenizer_class"] = "MineTokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return str(folder)


@pytest.fixture
def answers_yes(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n1\n" * 50))


SCRIPTS = ("inference", "export", "push", "evaluate", "finetune", "teacher", "search", "audit", "judge")


@pytest.mark.parametrize(
    ("script", "known_kind"),
    [*((script, False) for script in SCRIPTS), ("inference", True), ("finetune", True)],
)
def test_code_of_a_model_is_not_run(
    script, known_kind, canary, finished_run, tiny_bert, finetune_arguments, tmp_path, answers_yes
):
    of_a_run = shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    run, encoder = bring_code(of_a_run, canary, known_kind), shutil.copytree(tiny_bert, tmp_path / "encoder")
    base = bring_code(encoder, canary, known_kind)
    training = [*finetune_arguments, "--output_dir", str(tmp_path / "new"), "--max_steps", "1"]
    main, arguments = {
        "inference": (run_inference.main, ["--model", run, "so fast"]),
        "export": (run_export.main, [run]),
        "push": (run_push.main, [run, "--hub_model_id", "me/emotions", "--fold_thresholds", "false"]),
        "evaluate": (run_evaluate.main, [run, "--threshold_strategy", "global"]),
        "finetune": (run_finetune.main, [*training, "--model_name_or_path", base]),
        "teacher": (run_finetune.main, [*training, "--teacher", run]),
        "search": (run_search.main, [*training, "--model_name_or_path", base, "--search_trials", "1"]),
        "audit": (run_audit.main, [*training, "--model_name_or_path", base, "--folds", "2"]),
        "judge": (run_audit.main, [*training, "--baseline", "--judge", run]),
    }[script]
    if known_kind:
        main(arguments)
    else:
        with pytest.raises(InputError) as caught:
            main(arguments)
        assert "\n" not in str(caught.value)
    assert not canary.exists()


class Touching:
    """A pickle of it makes a file when it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "trainer_state.json"]
)
def test_a_checkpoint_is_not_unpickled(name, canary, finished_run, finetune_arguments, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    checkpoint = run / "checkpoints" / "checkpoint-13"
    shutil.rmtree(run / "checkpoints" / "checkpoint-26")
    torch.save({"state": Touching(canary)}, checkpoint / name)
    mark_whole(checkpoint)
    arguments = [*finetune_arguments, "--output_dir", str(run), "--resume_from_checkpoint"]
    if name == "training_args.bin":  # which nobody reads
        run_finetune.main(arguments)
    else:
        with pytest.raises(InputError):
            run_finetune.main(arguments)
    assert not canary.exists()


def test_code_is_run_in_fine_tuning_for_who_asks_for_it(canary, tiny_bert, finetune_arguments, tmp_path, capsys):
    base = bring_code(shutil.copytree(tiny_bert, tmp_path / "encoder"), canary, known_kind=False)
    arguments = [*finetune_arguments, "--model_name_or_path", base, "--output_dir", str(tmp_path / "run")]
    run_finetune.main([*arguments, "--num_train_epochs", "1", "--trust_remote_code", "true"])
    assert canary.exists()
    canary.unlink()
    sys.modules.pop("transformers_modules", None)
    with pytest.raises(InputError, match="custom code"):
        run_inference.main(["--model", str(tmp_path / "run"), "so fast"])
    assert not canary.exists()


def test_every_call_that_loads_something_says_whether_code_is_trusted():
    """Left out, transformers asks standard input, which is where texts come from."""
    loaders = {"from_pretrained", "from_config", "pipeline"}
    calls = 0
    for path in [*ROOT.glob("run_*.py"), *(ROOT / "utils").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            # A class that is named is transformers' own, and loads no code: only the automatic ones look for it.
            owner = node.func.value if isinstance(node.func, ast.Attribute) else None
            if called in loaders and (owner is None or getattr(owner, "id", "").startswith("Auto")):
                calls += 1
                if called == "from_config" and getattr(node.args[0], "attr", "") == "config":
                    continue  # of a model that is loaded already
                assert "trust_remote_code" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"
    assert calls >= 8
