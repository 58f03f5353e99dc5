"""Name the emotions in texts: from the command line, a file, or standard input.

    python run_inference.py --model outputs/quickstart "I'm so happy that I finally passed the deep learning exam!"
    python run_inference.py --model outputs/quickstart --input_file comments.csv --output_file emotions.csv
    python run_inference.py --model outputs/quickstart --input_file comments.csv --output_file emotions.csv --resume
    python run_inference.py --model outputs/quickstart --backend onnx "so fast"
    python run_inference.py --model outputs/quickstart "I'm so happy that I finally passed!" --explain
    python run_inference.py --model outputs/quickstart --input_file comments.csv --output_file why.html --explain joy
    cat comments.txt | python run_inference.py --model outputs/baseline > emotions.jsonl

One process; run_corpus.py is for many files, several GPUs and clusters.
Exit status: 0, or 3 when some rows could not be classified (their number is the last line).
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from utils.command_line import add_answer_arguments, answer_problems, name_or_place, place, plain_parser
from utils.console import InputError, note, one_sentence_errors, table
from utils.data.files import Watch
from utils.data.rows import READERS, Row, count_rows, input_problem, kind_of, read_rows, separator_note, stream_kind
from utils.inference.output import PAGE, SUFFIXES, added_columns, kept_names, output_problem
from utils.locks import one_job
from utils.machine import launched_processes, share_cores

STREAMS = ("csv", "tsv", "jsonl", "txt")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = plain_parser(__doc__)
    add = parser.add_argument_group("texts and model").add_argument
    add("texts", nargs="*", metavar="TEXT", help="texts to classify (none: --input_file, or standard input)")
    add("--model", required=True, type=name_or_place, help="a folder that a run has written, or a model id on the Hub")
    add("--input_file", type=place, help=f"one text a row: {', '.join(READERS)}; text also as .gz or .zst; -: stdin")
    add("--input_format", choices=STREAMS, help="of standard input (default: known by its first line)")
    add_answer_arguments(parser)
    add = parser.add_argument_group("output").add_argument
    add(
        "--output_file",
        type=place,
        help=f"results, one row for each input row: {', '.join(SUFFIXES)}; text also with .gz or .zst",
    )
    add(
        "--explain",
        nargs="?",
        const="",
        metavar="LABEL",
        help="also what each word contributed to each label of a text, or to LABEL (column `words`; .html for people)",
    )
    add("--overwrite_output", action="store_true", help="replace output_file, or unfinished parts of it")
    add("--resume", action="store_true", help="go on where a killed run with the same arguments stopped")
    args = parser.parse_args(argv)
    problems = answer_problems(args)
    if launched_processes() > 1:
        problems.append(
            f"A launcher has started {launched_processes()} processes, and this script is one; start it without one, "
            "or share files among processes, GPUs or machines with run_corpus.py."
        )
    is_stream = not args.texts and (args.input_file is None or str(args.input_file) == "-")
    if is_stream:
        args.input_file = None
    if args.input_format and not is_stream:
        problems.append("--input_format is for standard input; a file's format is known by its suffix.")
    if args.texts and args.input_file:
        problems.append("Texts and --input_file were both given; give one of them.")
    if args.input_file and (problem := input_problem(args.input_file)):
        problems.append(problem)
    if args.input_file and args.output_file and args.input_file.resolve() == args.output_file.resolve():
        problems.append(f"--output_file {args.output_file} is the input file; give another name.")
    elif args.output_file and (problem := output_problem(args.output_file)):
        problems.append(problem)
    if args.output_file and args.explain is None and kind_of(args.output_file)[0] == PAGE:
        problems.append(f"--output_file {args.output_file}: a page shows why texts got their labels; add --explain.")
    if args.resume and not (args.input_file and args.output_file):
        problems.append("--resume needs --input_file and --output_file.")
    if sys.stdout is None and not args.output_file:
        problems.append("Standard output is closed, and there is no --output_file: nobody would see the answers.")
    if is_stream and (sys.stdin is None or sys.stdin.isatty()):
        problems.append(
            f"No text{taken_for_a_label(args)}: give texts, --input_file, or pipe lines into standard input."
        )
    if problems:
        raise InputError(" ".join(problems))
    return args


def taken_for_a_label(args: argparse.Namespace) -> str:
    """Where there is no text because it stands behind `--explain`, a hint at that."""
    return f" ({args.explain!r} is read as the LABEL of --explain; texts stand before it)" if args.explain else ""


def read_input(args: argparse.Namespace) -> tuple[list[str], Iterator[Row]]:
    """Columns and rows of the texts, the file or standard input; the first row is known to have the text's column."""
    rows: Iterator[Row]
    if args.texts:
        rows = (Row(f"text {i}", {args.text_column: text}) for i, text in enumerate(args.texts, 1))
    elif args.input_file:
        rows = read_rows(args.input_file, text_column=args.text_column)
        if separated := separator_note(args.input_file, args.text_column):
            note(separated)
    else:
        kind = f".{args.input_format}" if args.input_format else stream_kind(sys.stdin.buffer, args.text_column)
        if kind != ".txt" and not args.input_format:
            note(f"standard input is read as {kind[1:]}, by its first line (--input_format says otherwise)")
        rows = read_rows(Path(f"standard input{kind}"), sys.stdin.buffer, args.text_column)
    source = args.input_file or "Standard input"
    first = next(rows, None)
    if first is None:
        hint = taken_for_a_label(args) if source == "Standard input" else ""
        raise InputError(f"{source} is empty{hint}: there is nothing to classify.")
    if args.text_column not in first.cells and first.problem is None:
        raise InputError(
            f"{source} has no column {args.text_column!r} (it has {', '.join(first.cells) or 'none'}); "
            "name the text's column with --text_column."
        )
    return list(first.cells), itertools.chain([first], rows)


@one_job()
def main(argv: list[str] | None = None) -> int:
    # 1. Arguments and input, checked before the libraries are imported, which takes seconds.
    args = parse(argv)
    source = Watch([args.input_file] if args.input_file else [])
    columns, rows = read_input(args)
    total = count_rows(args.input_file) if args.input_file else len(args.texts) or None

    from utils.explaining.attributions import Explainer
    from utils.inference.jobs import claim, classify_file, open_parts, summary
    from utils.inference.label_rows import RowClassifier, windows
    from utils.inference.parts import digest
    from utils.inference.terminal import colours_wanted, why
    from utils.model.classifiers import compute_device, load_classifier, model_files, model_folder, settle_precision
    from utils.progress import Progress

    if args.output_file:
        claim(args.output_file, args.resume, args.overwrite_output)
    device = compute_device(args.use_cpu or args.backend == "onnx")
    if device == "cpu":
        share_cores()
    precision = settle_precision(args.precision, args.backend, device == "cpu")
    model = model_folder(args.model, args.backend, precision)
    weights = Watch(model_files(model, args.backend, precision))
    if args.output_file:
        settings = {
            key: getattr(args, key)
            for key in ("text_column", "threshold", "top_k", "at_least_one", "neutral_alone", "all_scores", "explain")
        }
        settings |= {"backend": args.backend, "precision": precision}
        settings |= {"model": digest(model_files(model, args.backend, precision))}

    # 2. The model and its thresholds.
    classifier, thresholds = load_classifier(model, device, args.backend, precision)
    weights.require_unchanged()
    explain = None if args.explain is None else Explainer(classifier, args.explain or None)
    named = RowClassifier(
        classifier, thresholds, args.text_column, args.threshold, args.top_k, args.at_least_one, args.neutral_alone,
        args.all_scores, explain,
    )  # fmt: skip
    if args.output_file:
        all_scores = classifier.labels if args.all_scores else ()
        parts = open_parts(
            args.output_file, args.input_file, settings, args.resume, args.overwrite_output, columns, all_scores,
            explained=explain is not None,
        )  # fmt: skip

    # 3. Classify in the order of the input: to a file, to a terminal as a table, to a pipe as JSON Lines.
    if args.output_file:
        done = sum(part.rows for part in parts.finished().values())
        progress = Progress(total, done)
        unclassified = classify_file(named, rows, parts, progress, args.input_file is not None, source)
        note(summary(named, progress, args.output_file))
    else:
        progress = Progress(shown=False)
        text_is_in = kept_names([args.text_column], added_columns(explained=explain is not None))[args.text_column]
        for window in windows(rows):
            for row, problem in named.classify(named.prepare(window)):
                if problem:
                    progress.report(problem)
                if sys.stdout.isatty():
                    text = str(row.get(text_is_in))
                    print(table(text, row["labels"], row["scores"]))
                    if row.get("words"):
                        print(why(text, row["words"], colours_wanted()))
                else:
                    print(json.dumps(row, ensure_ascii=False, default=str))
        unclassified = progress.problems
    if unclassified:
        print(f"{unclassified} row(s) could not be classified", file=sys.stderr)
    return 3 if unclassified else 0


if __name__ == "__main__":
    with one_sentence_errors():
        sys.exit(main())
