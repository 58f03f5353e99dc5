"""Publish a finished run on the Hub, in one commit; again after a change, or after a failure.

    python run_push.py outputs/minilm --hub_model_id my-emotions
    python run_push.py outputs/minilm --hub_model_id my-org/my-emotions --hub_private_repo --fold_thresholds false
    python run_push.py outputs/baseline --hub_model_id my-emotions-baseline --hub_tag v1.0

The token comes from HF_TOKEN or a saved login (`hf auth login`), never from the command line.
"""

import argparse
from pathlib import Path

from transformers.hf_argparser import string_to_bool

from utils.arguments import plain_parser
from utils.card import run_metadata, write_card
from utils.console import InputError, one_sentence_errors, say
from utils.example import record_example
from utils.export import ONNX_FOLDER, export_if_possible
from utils.hub import Publication, check_access, push
from utils.results import RESULTS_FILE, THRESHOLDS_FILE, read_json
from utils.saved_model import fold_saved_model, unfold_saved_model


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = plain_parser(__doc__)
    add = parser.add_argument
    add("run", type=Path, metavar="OUTPUT_DIR", help="the folder of a finished run")
    add("--hub_model_id", required=True, help="name or user/name of the repository")
    add("--hub_private_repo", action="store_true", help="create the repository as a private one")
    add("--hub_revision", help="the branch to push to (default: main)")
    add("--hub_tag", help="tag the commit, as a release")
    add("--fold_thresholds", type=string_to_bool, metavar="true|false", help="fold or unfold first (default: as it is)")
    args = parser.parse_args(argv)
    for file, key in ((RESULTS_FILE, "eval_f1_micro"), ("run.json", "example")):  # the example is recorded near the end
        if not (args.run / file).is_file() or key not in read_json(args.run / file):
            raise InputError(f"{args.run} is not a finished run: it has no {file} with {key!r}.")
    if args.fold_thresholds is not None and not (args.run / "config.json").is_file():
        raise InputError(f"--fold_thresholds: {args.run} holds a baseline; only an encoder's thresholds can be folded.")
    return args


def main(argv: list[str] | None = None) -> str:
    # 1. Arguments, the run, and access to the Hub, before anything is changed.
    args = parse(argv)
    publication = Publication(args.hub_model_id, args.hub_private_repo, args.hub_revision, args.hub_tag)
    publication = check_access(publication, run_metadata(args.run).to_yaml())

    # 2. Thresholds inside the model or beside it, and a card that says which.
    folded = read_json(args.run / THRESHOLDS_FILE)["folded"]
    if args.fold_thresholds is not None and args.fold_thresholds != folded:
        has_onnx = (args.run / ONNX_FOLDER).is_dir()
        (fold_saved_model if args.fold_thresholds else unfold_saved_model)(args.run)
        record_example(args.run)
        if has_onnx:
            export_if_possible(args.run)
    write_card(args.run, publication.repo_id)

    # 3. One commit.
    url = push(args.run, publication)
    say(f"Published: {url}")
    return url


if __name__ == "__main__":
    with one_sentence_errors():
        main()
