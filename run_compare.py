"""Put finished runs side by side.

    python run_compare.py outputs/quickstart_baseline outputs/quickstart
    python run_compare.py outputs/minilm_seed* --seeds                      # mean ± standard deviation

Figures are those of the test split, at 0.5 and at thresholds fitted on validation.
"""

import argparse
from pathlib import Path

from utils.console import one_sentence_errors, say
from utils.results import results_table


def main(argv: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="OUTPUT_DIR", help="folders of finished runs")
    parser.add_argument("--seeds", action="store_true", help="the runs are seeds of one recipe: add mean ± deviation")
    args = parser.parse_args(argv)
    table = results_table(args.runs, args.seeds)
    say(table)
    return table


if __name__ == "__main__":
    with one_sentence_errors():
        main()
