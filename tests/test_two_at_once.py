"""Two processes on one output: one does its job, as if it were alone, and the other is told so."""

import json
import os
import re

import pytest

TIMES = int(os.environ.get("TWO_AT_ONCE", "3"))


def one_wins(ended, output):
    """How one of two jobs was refused; the other has succeeded."""
    assert sorted(ended["statuses"]) == [0, 2], ended["errors"]
    winner = ended["pids"][ended["statuses"].index(0)]
    (said,) = re.findall("error: .*", ended["errors"])  # which may stand behind the other's progress, in its line
    if f"{output} is being written by process {winner} on {os.uname().nodename}; wait until" in said:
        return "held"
    assert re.search("exists already|already holds a run", said), said
    return "done"  # the other had come to its end before this one began


def test_two_inferences_on_one_file(job, finished_run, tmp_path):
    (tmp_path / "in.txt").write_text("".join(f"so happy {i}\n" for i in range(600)))
    arguments = ["--model", str(finished_run), "--precision", "fp32", "--use_cpu", "--input_file",
                 str(tmp_path / "in.txt"), "--output_file"]  # fmt: skip
    assert job([*arguments, str(tmp_path / "alone.csv")])["statuses"] == [0]
    refused = []
    for number in range(TIMES):
        output = tmp_path / f"{number}" / "out.csv"
        refused.append(one_wins(job([*arguments, str(output)], rivals=2), output))
        assert output.read_bytes() == (tmp_path / "alone.csv").read_bytes()
        assert [path.name for path in output.parent.iterdir()] == ["out.csv"]
    assert "held" in refused


@pytest.mark.parametrize("script", ["run_baseline", "run_finetune"])
def test_two_trainings_in_one_folder(job, script, baseline_run, finished_run, finetune_arguments, small_data, tmp_path):
    alone, arguments = finished_run, finetune_arguments
    if script == "run_baseline":
        alone, arguments = baseline_run, ["--dataset_name", str(small_data), "--n_jobs", "1"]
    refused = []
    for number in range(TIMES if TIMES > 3 else 1):
        folder = tmp_path / str(number)
        refused.append(one_wins(job([*arguments, "--output_dir", str(folder)], script=script, rivals=2), folder))
        names = [name for name in ("thresholds.json", "model.safetensors", "predictions/test.parquet")
                 if (alone / name).exists()]  # fmt: skip
        assert {name: (folder / name).read_bytes() for name in names} == {
            name: (alone / name).read_bytes() for name in names
        }
        assert json.loads((folder / "run.json").read_text())["example"]
        assert not (folder / ".lock").exists()
    assert "held" in refused
