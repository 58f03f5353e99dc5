import numpy as np
import pytest
from conftest import run_python

import run_finetune
from utils.console import InputError
from utils.data import load_splits
from utils.distillation import soften
from utils.encoding import encode
from utils.labels import multi_hot
from utils.modeling import load_tokenizer
from utils.results import read_json, read_predictions


@pytest.fixture(scope="module")
def validation(small_data, tiny_bert):
    """Comments whose probabilities the runs have stored, their names, and their rows as for training."""
    split = load_splits(str(small_data))["validation"]
    names = split.features["labels"].feature.names
    return list(split["text"]), names, multi_hot(split["labels"], len(names)), encode(
        split, load_tokenizer(str(tiny_bert)), 64
    )  # fmt: skip


def test_targets_are_gold_and_the_teachers_unfolded_probabilities(finished_run, baseline_run, validation):
    texts, names, gold, rows = validation
    assert read_json(finished_run / "thresholds.json")["folded"]
    answers = [read_predictions(run, "eval")[1].probabilities for run in (finished_run, baseline_run)]
    for teachers, expected in (([finished_run], answers[0]), ([finished_run, baseline_run], np.mean(answers, axis=0))):
        for weight in (0.3, 1.0):
            soft = soften(rows, texts, [str(run) for run in teachers], weight, names)
            np.testing.assert_allclose(soft["labels"], (1 - weight) * gold + weight * expected, atol=1e-5)
            assert soft.features == rows.features
            assert soft["input_ids"] == rows["input_ids"]


def test_a_teacher_of_other_labels_is_refused(finished_run, validation):
    texts, names, _, rows = validation
    with pytest.raises(InputError, match="knows other labels"):
        soften(rows, texts, [str(finished_run)], 0.5, names[::-1])
    with pytest.raises(InputError, match="no such folder"):
        soften(rows, texts, ["./nowhere"], 0.5, names)


def test_a_student_answers_as_its_teacher_does_and_names_it(
    finished_run, baseline_run, finetune_arguments, tmp_path, capsys
):
    """`finished_run` is the same run without a teacher."""
    run_finetune.main(
        [*finetune_arguments, "--output_dir", str(tmp_path), "--teacher", str(baseline_run), "--teacher_weight", "1"]
    )
    assert f"asking {baseline_run} about 200 training comments" in capsys.readouterr().out
    teacher, student, alone = (
        read_predictions(run, "test")[1].probabilities for run in (baseline_run, tmp_path, finished_run)
    )
    assert np.abs(student - teacher).mean() < 0.8 * np.abs(alone - teacher).mean()
    arguments = read_json(tmp_path / "run.json")["arguments"]
    assert (arguments["teacher"], arguments["teacher_weight"]) == ([str(baseline_run)], 1.0)
    card = (tmp_path / "README.md").read_text()
    assert f"- {baseline_run.name}\n" in card
    assert str(baseline_run.parent) not in card
    assert "teacher" not in (finished_run / "README.md").read_text()


def test_a_weight_outside_its_range_is_refused():
    done = run_python("run_finetune.py", "--teacher_weight", "1.5")
    assert done.returncode == 2
    assert "--teacher_weight is 1.5; accepted: 0 to 1." in done.stderr
