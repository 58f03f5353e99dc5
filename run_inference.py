"""Name the emotions in texts: from the command line, a file, or standard input.

    python run_inference.py --model outputs/quickstart "I'm so happy that I finally passed the deep learning exam!"
    python run_inference.py --model outputs/quickstart --input_file comments.csv --output_file emotions.csv
    python run_inference.py --model outputs/quickstart --backend onnx --input_file comments.csv
    cat comments.txt | python run_inference.py --model outputs/baseline > emotions.jsonl

Exit status: 0, or 3 when some rows could not be classified (their number is the last line).
"""

import argparse
import contextlib
import itertools
import json
import shutil
import sys
from pathlib import Path

import torch
from tqdm.auto import tqdm

from utils.classifiers import load_classifier
from utils.console import InputError, one_sentence_errors
from utils.inference import classify_rows
from utils.rows import READERS, Row, RowWriter, count_rows, read_rows


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise InputError(f"{message[0].upper()}{message[1:]} (see --help).")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    add = parser.add_argument
    add("texts", nargs="*", metavar="TEXT", help="texts to classify (none: --input_file, or standard input)")
    add("--model", required=True, help="a folder that a run has written, or a model id on the Hub")
    add("--input_file", type=Path, help=f"one text a row: {', '.join(READERS)}")
    add("--output_file", type=Path, help=f"results, one row for each input row: {', '.join(RowWriter.SUFFIXES)}")
    add("--text_column", default="text", help="the column that holds the text (default: text)")
    add("--threshold", type=float, help="one threshold for all labels (default: the model's own)")
    add("--top_k", type=int, help="the K best labels of each text, whether or not they reach their threshold")
    add("--at_least_one", action="store_true", help="where no label reaches its threshold, name the nearest")
    add("--backend", choices=("torch", "onnx"), default="torch", help="what computes (onnx: onnxruntime, on the CPU)")
    add("--precision", choices=("auto", "fp32", "int8"), default="auto", help="auto: int8 with onnx, fp32 with torch")
    add("--use_cpu", action="store_true", help="do not use a GPU")
    args = parser.parse_args(argv)
    problems = []
    if args.texts and args.input_file:
        problems.append("Texts and --input_file were both given; give one of them.")
    if args.input_file and args.output_file and args.input_file.resolve() == args.output_file.resolve():
        problems.append(f"--output_file {args.output_file} is the input file; give another name.")
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        problems.append(f"--threshold is {args.threshold}; accepted: 0 to 1.")
    if args.top_k is not None and args.top_k < 1:
        problems.append(f"--top_k is {args.top_k}; accepted: 1 or more.")
    if not args.texts and not args.input_file and sys.stdin.isatty():
        problems.append("No text: give texts, --input_file, or pipe lines into standard input.")
    if problems:
        raise InputError(" ".join(problems))
    return args


def main(argv: list[str] | None = None) -> int:
    # 1. Arguments and input, checked before the model is loaded.
    args = parse(argv)
    writer = RowWriter(args.output_file) if args.output_file else None
    if args.texts:
        rows, total = (
            (Row(f"text {i}", {args.text_column: text}) for i, text in enumerate(args.texts, 1)),
            len(args.texts),
        )
    elif args.input_file:
        rows, total = (
            read_rows(args.input_file, text_column=args.text_column),
            count_rows(args.input_file) if args.input_file.is_file() else 0,
        )
    else:
        rows, total = read_rows(Path("standard input.txt"), sys.stdin.buffer, args.text_column), None
    first = next(rows, None)
    if first is None:
        raise InputError(f"{args.input_file or 'Standard input'} is empty: there is nothing to classify.")
    if args.text_column not in first.cells and first.problem is None:
        raise InputError(
            f"{args.input_file} has no column {args.text_column!r} (it has {', '.join(first.cells) or 'none'}); "
            "name the text's column with --text_column."
        )

    # 2. The model and its thresholds.
    device = "cuda" if torch.cuda.is_available() and not args.use_cpu else "cpu"
    classifier, thresholds = load_classifier(args.model, device, args.backend, args.precision)
    if args.threshold is not None:
        thresholds[:] = args.threshold
    elif args.top_k is not None:
        thresholds[:] = 0.0  # as in a pipeline with top_k: the best labels by score alone

    # 3. Classify in the order of the input: to a file, to a terminal as a table, to a pipe as JSON Lines.
    bar = tqdm(total=total, unit=" texts", file=sys.stderr, disable=not (writer and sys.stderr.isatty()))
    results = classify_rows(
        classifier,
        thresholds,
        itertools.chain([first], rows),
        args.text_column,
        args.top_k,
        args.at_least_one,
        progress=bar.update,
    )
    unclassified = 0
    with writer or contextlib.nullcontext():
        for row, problem in results:
            if problem:
                unclassified += 1
                print(f"not classified: {problem}", file=sys.stderr)
            if writer:
                writer.write(row)
            elif sys.stdout.isatty():
                print(table(str(row.get(args.text_column)), row["labels"], row["scores"]))
            else:
                print(json.dumps(row, ensure_ascii=False, default=str))
    bar.close()
    if unclassified:
        print(f"{unclassified} row(s) could not be classified", file=sys.stderr)
    return 3 if unclassified else 0


def table(text: str, names: list[str], scores: list[float]) -> str:
    """One text with its emotions, for people: name, score, bar."""
    width = shutil.get_terminal_size().columns
    line = " ".join(text.split())
    lines = [line if len(line) <= width else f"{line[: width - 1]}…"]
    lines += [f"  {name:<16}{score:6.3f}  {'█' * round(score * 30)}" for name, score in zip(names, scores, strict=True)]
    if not names:
        lines.append("  (no emotion reaches its threshold)")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with one_sentence_errors():
        sys.exit(main())
