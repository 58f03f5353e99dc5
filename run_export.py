"""Write the ONNX files of a finished run, for transformers.js, optimum and `run_inference.py --backend onnx`.

    python run_export.py outputs/minilm

run_finetune.py does so itself where requirements-onnx.txt is installed.
"""

import argparse
from pathlib import Path

from utils.card import write_card
from utils.console import InputError, one_sentence_errors, say
from utils.export import export_onnx, summary
from utils.results import RESULTS_FILE


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("run", type=Path, metavar="OUTPUT_DIR", help="the folder of a finished run")
    args = parser.parse_args(argv)
    if not (args.run / RESULTS_FILE).is_file():
        raise InputError(f"{args.run} is not a finished run: it has no {RESULTS_FILE}.")
    figures = export_onnx(args.run)
    write_card(args.run)
    say(summary(figures))
    return figures


if __name__ == "__main__":
    with one_sentence_errors():
        main()
