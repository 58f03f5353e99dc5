import shutil

import numpy as np
import pyarrow.parquet
import pytest
from conftest import run_python
from safetensors.torch import load_file

import run_audit
import run_finetune
from utils.arguments import DataArguments
from utils.console import InputError
from utils.data.encoding import encode
from utils.data.labels import multi_hot
from utils.data.splits import load_splits
from utils.model.classifiers import load_classifier
from utils.model.loading import load_tokenizer
from utils.run_folder import RunFolder, read_json
from utils.training.checkpoints import identity
from utils.training.distillation import mix_in_teachers
from utils.training.losses import balanced_weights
from utils.training.trainer import EmotionTrainer


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Teachers that answer in fp32, also where bf16 would be faster."""
    monkeypatch.setattr("utils.model.classifiers.bf16_pays", lambda use_cpu: False)


@pytest.fixture(scope="module")
def validation(small_data, tiny_bert):
    """Comments whose probabilities the runs have stored, their names, and their rows as for training."""
    split = load_splits(DataArguments(str(small_data)))["validation"]
    names = split.features["labels"].feature.names
    return list(split["text"]), names, multi_hot(split["labels"], len(names)), encode(
        split, load_tokenizer(str(tiny_bert)), 64
    )  # fmt: skip


@pytest.fixture
def trainers(monkeypatch):
    """The Trainers that a script makes, as it makes them."""
    made = []

    def make(**kwargs):
        made.append(trainer := EmotionTrainer(**kwargs))
        return trainer

    monkeypatch.setattr("utils.training.trainer.EmotionTrainer", make)
    return made


def test_targets_are_gold_and_the_teachers_unfolded_probabilities(finished_run, baseline_run, validation):
    texts, names, gold, rows = validation
    assert read_json(finished_run / "thresholds.json")["folded"]
    answers = [RunFolder(run).read_predictions("validation")[1].probabilities for run in (finished_run, baseline_run)]
    for teachers, expected in (([finished_run], answers[0]), ([finished_run, baseline_run], np.mean(answers, axis=0))):
        for weight in (0.3, 1.0):
            soft = mix_in_teachers(rows, texts, [str(run) for run in teachers], weight, names)
            np.testing.assert_allclose(soft["labels"], (1 - weight) * gold + weight * expected, atol=1e-5)
            assert soft.features == rows.features
            assert soft["input_ids"] == rows["input_ids"]


def test_a_teacher_of_other_labels_is_refused(finished_run, validation):
    texts, names, _, rows = validation
    with pytest.raises(InputError, match="knows other labels"):
        mix_in_teachers(rows, texts, [str(finished_run)], 0.5, names[::-1])
    with pytest.raises(InputError, match="no such folder"):
        mix_in_teachers(rows, texts, ["./nowhere"], 0.5, names)


def test_an_audit_teaches_what_it_says_out_of_fold(small_data, baseline_run, tmp_path, tiny_bert):
    audit = tmp_path / "audit"
    run_audit.main(["--dataset_name", str(small_data), "--baseline", "--folds", "2", "--output_dir", str(audit)])
    train = load_splits(DataArguments(str(small_data)))["train"]
    names, texts = train.features["labels"].feature.names, list(train["text"])
    gold = multi_hot(train["labels"], len(names))
    judged = pyarrow.parquet.read_table(audit / "out_of_fold.parquet").to_pylist()
    expected = dict(zip([row["place"] for row in judged], [row["probabilities"] for row in judged], strict=True))
    answers = np.array([expected[place] for place in train["place"]])
    rows = encode(train, load_tokenizer(str(tiny_bert)), 64)
    soft = mix_in_teachers(rows, texts, [str(audit)], 0.5, names)
    np.testing.assert_allclose(soft["labels"], 0.5 * gold + 0.5 * answers, atol=1e-6)
    both = mix_in_teachers(rows, texts, [str(audit), str(baseline_run)], 1.0, names)
    by_heart = load_classifier(str(baseline_run))[0].predict(texts)
    np.testing.assert_allclose(both["labels"], (answers + by_heart) / 2, atol=1e-6)
    with pytest.raises(InputError, match="knows other labels"):
        mix_in_teachers(rows, texts, [str(audit)], 0.5, names[::-1])
    with pytest.raises(InputError, match=r"did not judge 1 of the \d+ training comments, among them 'something else'"):
        mix_in_teachers(rows, ["something else", *texts[1:]], [str(audit)], 0.5, names)
    known = identity(str(audit))
    (audit / "out_of_fold.parquet").write_bytes(b"PAR1")
    assert identity(str(audit)) != known
    with pytest.raises(InputError, match=r"out_of_fold\.parquet is not what run_audit\.py writes"):
        mix_in_teachers(rows, texts, [str(audit)], 0.5, names)


def test_a_run_trains_on_softened_targets_and_names_its_teacher(
    finished_run, baseline_run, finetune_arguments, small_data, tmp_path, trainers
):
    run_finetune.main(
        [*finetune_arguments, "--output_dir", str(tmp_path), "--teacher", str(baseline_run), "--teacher_weight", "0.4"]
    )
    train = load_splits(DataArguments(str(small_data)))["train"]
    answers = load_classifier(str(baseline_run))[0].predict(train["text"])
    gold = multi_hot(train["labels"], answers.shape[1])
    np.testing.assert_allclose(trainers[0].train_dataset["labels"], 0.6 * gold + 0.4 * answers, atol=1e-6)
    weights, others = (load_file(run / "model.safetensors") for run in (tmp_path, finished_run))
    assert any((weights[name] != others[name]).any() for name in weights)  # the same seed, other targets
    arguments = read_json(tmp_path / "run.json")["arguments"]
    assert (arguments["teacher"], arguments["teacher_weight"]) == ([str(baseline_run)], 0.4)
    card = (tmp_path / "README.md").read_text()
    assert f"- {baseline_run.name}\n" in card
    assert str(baseline_run.parent) not in card
    assert "teacher" not in (finished_run / "README.md").read_text()


@pytest.fixture(scope="module")
def more_texts(tmp_path_factory):
    """A file of 30 texts of which nobody has said what their labels are."""
    path = tmp_path_factory.mktemp("more") / "more.txt"
    path.write_text("".join(f"So this is number {number} of them.\n" for number in range(30)), encoding="utf-8")
    return path


def test_texts_without_labels_are_learned_as_teachers_answer_them(
    baseline_run, finetune_arguments, small_data, more_texts, tmp_path, trainers
):
    arguments = [
        *finetune_arguments, "--output_dir", str(tmp_path / "run"), "--teacher", str(baseline_run), "--teacher_weight",
        "0.4", "--class_weights", "balanced", "--unlabelled_file", str(more_texts),
    ]  # fmt: skip
    run_finetune.main(arguments)
    train = load_splits(DataArguments(str(small_data)))["train"]
    texts = [*train["text"], *more_texts.read_text(encoding="utf-8").splitlines()]
    answers = load_classifier(str(baseline_run))[0].predict(texts)
    gold = multi_hot(train["labels"], answers.shape[1])
    expected = np.concatenate([0.6 * gold + 0.4 * answers[:200], answers[200:]])
    np.testing.assert_allclose(trainers[0].train_dataset["labels"], expected, atol=1e-6)
    weights = trainers[0].compute_loss_func.keywords["pos_weight"]
    np.testing.assert_allclose(weights, balanced_weights(gold))  # of what people said, as without these texts
    record = read_json(tmp_path / "run" / "run.json")
    assert record["dataset"]["unlabelled"] == 30
    assert record["dataset"]["rows"]["train"] == 200
    assert record["shown"]["unlabelled_file"] == ["more.txt"]
    card = " ".join((tmp_path / "run" / "README.md").read_text(encoding="utf-8").split())
    assert "on 200 comments" in card
    assert "and on 30 comments that nobody labelled, towards what other models answer about them." in card
    assert str(more_texts.parent) not in card

    more_texts.write_text("Another text.\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"learned from something else \(unlabelled_file \S*more.txt \(sha256"):
        run_finetune.main([*arguments, "--resume_from_checkpoint"])


def test_texts_without_labels_need_a_finished_run(more_texts, small_data, tmp_path, finetune_arguments):
    with pytest.raises(InputError, match="--unlabelled_file without --teacher"):
        run_finetune.main([*finetune_arguments, "--unlabelled_file", str(more_texts), "--output_dir", str(tmp_path)])
    audit = tmp_path / "audit"
    run_audit.main(["--dataset_name", str(small_data), "--baseline", "--folds", "2", "--output_dir", str(audit)])
    arguments = ["--unlabelled_file", str(more_texts), "--output_dir", str(tmp_path / "run"), "--teacher", str(audit)]
    with pytest.raises(InputError, match=r"did not judge .*texts of --unlabelled_file need one"):
        run_finetune.main([*finetune_arguments, *arguments])


def test_a_weight_outside_its_range_is_refused():
    done = run_python("run_finetune.py", "--teacher_weight", "1.5")
    assert done.returncode == 2
    assert "--teacher_weight is 1.5; accepted: 0 to 1." in done.stderr


def test_a_run_is_replaced_only_when_its_teacher_is_known_and_may_teach_itself(
    finished_run, finetune_arguments, tmp_path
):
    run = shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    before = (run / "model.safetensors").read_bytes()
    arguments = [*finetune_arguments, "--overwrite_output_dir", "--output_dir", str(run), "--max_steps", "1"]
    with pytest.raises(InputError, match="no such folder"):
        run_finetune.main([*arguments, "--teacher", "./nowhere"])
    assert (run / "model.safetensors").read_bytes() == before
    run_finetune.main([*arguments, "--teacher", str(run)])
    assert (run / "model.safetensors").read_bytes() != before
