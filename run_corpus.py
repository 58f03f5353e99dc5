"""Name the emotions in many files: on the cores or GPUs of one machine, with Slurm, Ray, or Hugging Face Jobs.

    python run_corpus.py --config recipes/corpus/local.yaml --model outputs/minilm --input comments --output emotions
    python run_corpus.py --model outputs/minilm --input comments --output emotions --workers 8 --output_format parquet
    python run_corpus.py --model user/my-emotions --input hf://datasets/user/comments --output_format parquet \
        --output hf://datasets/user/comments-emotions --logging_dir outputs/comments-emotions
    python run_corpus.py --config recipes/corpus/slurm.yaml --model outputs/minilm --input comments --output emotions

Each input file becomes a file of the same name in OUTPUT/data. Started again, the same command does what is not done.
Exit status: 0, or 3 when a task failed or some rows could not be classified (their number is the last line).
"""

import argparse
import importlib.util
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from utils.command_line import (
    add_answer_arguments,
    answer_problems,
    name_or_place,
    out_of_range,
    parse_with_recipe,
    plain_parser,
    refuse,
)
from utils.console import InputError, note, one_sentence_errors
from utils.locks import one_job

EXECUTORS = ("local", "slurm", "ray", "jobs")
# What an executor is told beside tasks and workers: who is, its type, and what it means. Not given: left to datatrove.
OPTIONS: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "partition": (("slurm",), str, "where the jobs run"),
    "time": (("slurm", "ray"), str, "limit of a job as 02:00:00 (slurm), of a task in seconds (ray)"),
    "cpus_per_task": (("slurm", "ray"), int, "cores of a task, which are its threads"),
    "mem_per_cpu_gb": (("slurm", "ray"), int, "memory of each of them"),
    "gpus_per_task": (("slurm", "ray"), int, "0 or 1"),
    "tasks_per_job": (("slurm", "jobs"), int, "tasks that a job does one after the other, with one model in memory"),
    "qos": (("slurm",), str, "quality of service"),
    "env_command": (("slurm",), str, "what sets up the environment (default: this one's activate script)"),
    "address": (("ray",), str, "of the cluster (default: auto)"),
    "flavor": (("jobs",), str, "the hardware of a job"),
    "timeout": (("jobs",), str, "limit of a job, such as 2h"),
    "namespace": (("jobs",), str, "whose jobs they are, where not yours"),
}
PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pyarrow", "datatrove")
MAX_TASKS = 1_000_000
SHOWN = 20  # tasks and rows that are named one by one


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = plain_parser(__doc__)
    add = parser.add_argument
    add("--config", type=name_or_place, metavar="FILE.yaml", help="a recipe: these arguments as `key: value`")
    add = parser.add_argument_group("input, model and output").add_argument
    add("--model", type=name_or_place, help="a folder that a run has written, or a model id on the Hub")
    add("--input", type=name_or_place, help="a folder or URL (hf://datasets/…, s3://…) with text, CSV, JSON, Parquet")
    add("--input_pattern", help="of the files' names, such as *.csv.gz (default: all that can be read)")
    add("--output", type=name_or_place, help="a folder or URL for the results")
    add(
        "--output_format",
        choices=("jsonl", "csv", "tsv", "parquet"),
        help="of the results (default: each file keeps its own)",
    )
    add("--hub_private_repo", action="store_true", help="create the dataset on the Hub as private")
    add_answer_arguments(parser)
    add = parser.add_argument_group("where and how the tasks run").add_argument
    add("--tasks", type=int, help="how many shares the files are dealt out to (default: as many as there are files)")
    add("--workers", type=int, help="tasks at a time (default: one a GPU or else one a core; elsewhere all)")
    add("--executor", choices=EXECUTORS, default="local", help="where tasks run (default: local)")
    add("--logging_dir", type=name_or_place, help="marks of finished tasks, and logs (default: OUTPUT/logs)")
    for name, (of, kind, meaning) in OPTIONS.items():
        add(f"--{name}", type=kind, help=f"{' and '.join(of)}: {meaning}")
    args = parse_with_recipe(parser, argv)
    missing = [name for name in ("model", "input", "output") if not getattr(args, name)]
    problems = [f"--{name} is missing; it is always needed." for name in missing]
    problems += answer_problems(args)
    counts = ("tasks", "workers", "cpus_per_task", "tasks_per_job")
    problems += out_of_range(args, {name: (1, MAX_TASKS) for name in counts})
    problems += out_of_range(args, {"gpus_per_task": (0, 1), "mem_per_cpu_gb": (1, None)})
    for name, (of, _, _) in OPTIONS.items():
        if getattr(args, name) is not None and args.executor not in of:
            problems.append(f"--{name} is for --executor {' or '.join(of)}, not for {args.executor}.")
    if args.executor == "slurm":
        problems += [f"--executor slurm needs --{name}." for name in ("partition", "time") if not getattr(args, name)]
    if args.executor == "ray" and args.time and not args.time.isdecimal():
        problems.append(f"--time is {args.time}; accepted with ray: a number of seconds.")
    if args.executor != "local" and args.precision == "auto":
        problems.append("--precision auto asks the machine that starts the job, which computes nothing; give fp32, ….")
    if not missing:
        problems += place_problems(args)
    refuse(problems)
    return args


def place_problems(args: argparse.Namespace) -> list[str]:
    """A sentence for each of the places that cannot be meant."""
    problems = []
    source, output = (None if is_url(place) else Path(place).resolve() for place in (args.input, args.output))
    if source and not source.exists():
        problems.append(f"--input {args.input}: there is no such folder.")
    if output and output.exists() and not output.is_dir():
        problems.append(f"--output {args.output} is a file; give a folder.")
    if args.input == args.output or (source and output and output.is_relative_to(source)):
        problems.append(f"--output {args.output} lies in the input, and would be read as such; give another folder.")
    if args.executor == "jobs" and not is_url(args.logging_dir or args.output):
        problems.append("--executor jobs needs a --logging_dir that the jobs reach, such as hf://buckets/user/name.")
    if args.output.startswith("hf://datasets/") and not args.logging_dir:
        problems.append(
            "--output on the Hub needs a --logging_dir elsewhere, such as outputs/logs: every mark of a finished task "
            "would be a commit."
        )
    if args.executor == "jobs" and not all(map(is_url, (args.input, args.output))):
        problems.append("--executor jobs: --input and --output must be URLs, which the jobs reach.")
    if args.executor == "jobs" and Path(args.model).exists():
        problems.append(f"--executor jobs: --model {args.model} is a folder here; give a model id on the Hub.")
    return problems


def is_url(place: str) -> bool:
    return "://" in place


@one_job()
def main(argv: list[str] | None = None) -> int:
    # 1. Arguments, checked before the libraries are imported, which takes seconds.
    args = parse(argv)
    if importlib.util.find_spec("datatrove") is None:
        raise InputError("run_corpus.py needs datatrove: pip install -r requirements-corpus.txt -c constraints.txt.")

    import torch

    from utils.hub_client import limit_waiting
    from utils.inference.corpus import LabelEmotions, RowReader, RowWriter
    from utils.inference.corpus_folder import FILES_FILE, CorpusFolder, Input, make_repository
    from utils.inference.executors import make_executor, require_none_queued
    from utils.inference.label_rows import asked_thresholds, require_neutral
    from utils.inference.output import added_columns
    from utils.inference.parts import digest
    from utils.model.classifiers import compute_device, load_classifier, model_files, model_folder, settle_precision
    from utils.progress import Progress

    # 2. The files, the model, and what an earlier start has left.
    limit_waiting()
    files = Input(args.input, args.input_pattern)
    if files.others:
        note(f"{files.others:,} other file(s) in {args.input} are not read.")
    tasks = args.tasks or len(files.names)
    folder = CorpusFolder(args.output, args.logging_dir)
    folder.claim()
    if args.executor == "slurm":
        require_none_queued(folder.logs)
    device = compute_device(args.use_cpu or args.backend == "onnx")
    precision = settle_precision(args.precision, args.backend, device == "cpu")
    model = model_folder(args.model, args.backend, precision)
    model_digest = digest(model_files(model, args.backend, precision))
    revision = None if Path(args.model).is_dir() else model.name  # the Hub's cache calls a folder by its commit
    classifier, thresholds = load_classifier(model, "cpu", args.backend, precision)
    labels = classifier.labels
    if args.neutral_alone:
        require_neutral(labels)
    manifest: dict[str, Any] = {
        "input": {
            "name": args.input if is_url(args.input) else Path(args.input).resolve().name,
            "files": len(files.names), "bytes": files.bytes, "sha256": files.sha256,
        },
        "model": {"name": Path(args.model).name if revision is None else args.model, "revision": revision}
        | model_digest,
        "thresholds": dict(zip(labels, asked_thresholds(thresholds, args.threshold, args.top_k).tolist(), strict=True)),
        "precision": precision,
        **{key: getattr(args, key) for key in ("backend", "text_column", "threshold", "top_k", "at_least_one",
                                               "neutral_alone", "all_scores", "output_format")},
        "tasks": tasks,
        "packages": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }  # fmt: skip
    del classifier
    make_repository(folder.logs, private=True)
    if said := folder.begin(manifest, files, args.output_format):
        note(said)
    folder.forget_failures()
    make_repository(folder.output, args.hub_private_repo)

    # 3. Read, label, write: the pipeline of each task.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = args.workers or -1
    threads = args.cpus_per_task
    if args.executor == "local":
        workers = min(tasks, args.workers or (torch.cuda.device_count() if device == "cuda" else cores))
        threads = max(1, cores // workers)
    paths_file = folder.logs.resolve_paths(FILES_FILE)
    added = added_columns(labels if args.all_scores else ())
    pipeline = [
        RowReader(files.folder, paths_file, args.text_column, args.output_format, added),
        LabelEmotions(
            str(model) if revision is None else args.model, revision, model_digest, args.backend, precision,
            args.use_cpu, threads, args.text_column, args.threshold, args.top_k, args.at_least_one, args.neutral_alone,
            args.all_scores,
        ),
        RowWriter(folder.data, folder.logs),
    ]  # fmt: skip
    options = {name: getattr(args, name) for name, (of, _, _) in OPTIONS.items() if args.executor in of}
    progress = Progress()
    try:
        make_executor(args.executor, pipeline, tasks, workers, folder.logs, options, progress).run()
    finally:
        progress.close()

    # 4. What came of it.
    left = tasks - len(folder.finished(tasks))
    failures = folder.failures(tasks)
    summary = folder.summary(tasks)
    for rank, problem in list(failures.items())[:SHOWN]:
        note(f"task {rank} failed: {problem}")
    for problem in summary["problems"][:SHOWN]:
        note(f"not classified: {problem['file']}: {problem['problem']}")
    counts = ", ".join(f"{label} {count:,}" for label, count in summary["labels"].most_common(10)) or "no labels"
    note(f"{summary['rows']:,} rows of {tasks - left:,} tasks in {args.output}: {counts}")
    if not left:
        folder.publish(manifest, summary)
        output = args.output.rstrip("/")
        note(f"  the files with labels: {output}/data\n  what they were made from: {output}/manifest.json")
        note(f"  logs: {args.logging_dir or f'{output}/logs'}")
    elif args.executor == "slurm" and not failures:
        note(f"{left:,} task(s) are Slurm's now; the same command tells of them, and sums up when all are done.")
        return 0
    else:
        print(f"{left:,} of {tasks:,} task(s) failed; the same command does them again.", file=sys.stderr)
    if summary["unclassified"]:
        print(f"{summary['unclassified']:,} row(s) could not be classified", file=sys.stderr)
    return 3 if left or summary["unclassified"] else 0


if __name__ == "__main__":
    with one_sentence_errors():
        sys.exit(main())
