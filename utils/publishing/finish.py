"""What follows the report, in the one right order: fold, export, example, words, pictures, card; and the push, planned.

What comes before stands in the scripts: calibration, thresholds, scores, report.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.arguments import CardArguments, FinetuneArguments
from utils.command_line import command, in_steps
from utils.console import left_out, say
from utils.evaluation.decision import Decision, record_changes
from utils.evaluation.plots import plot_run
from utils.machine import is_main_process
from utils.model.classifiers import EncoderClassifier
from utils.model.folding import write_folded
from utils.model.head import has_bias
from utils.publishing.card import card_metadata, write_card
from utils.publishing.example import record_example
from utils.publishing.hub import Publication, check_access
from utils.publishing.onnx_export import summary, write_onnx
from utils.publishing.why import record_words
from utils.run_folder import THRESHOLDS_FILE, WORDS_FILE, RunFolder


def plan_publication(
    args: FinetuneArguments,
    card: CardArguments,
    run: RunFolder,
    dataset: Mapping[str, Any],
    base_model: str | None,
    fingerprint: str,
) -> Publication | None:
    """What `--push_to_hub` asks for, once the Hub has said that it can be done; None without it.

    The repository is called like the run's folder unless `--hub_model_id` says otherwise.

    Args:
        dataset: what run.json will say of it.
        fingerprint: of the run, see `RunFolder.write_run_json`.
    """
    if not args.push_to_hub:
        return None
    name = args.hub_model_id or run.path.resolve().name
    wanted = Publication(name, bool(args.hub_private_repo), args.hub_revision, overwrite=args.overwrite_repo)
    if not is_main_process():
        return wanted
    metadata = card_metadata(dataset, base_model, is_encoder=True, card=card, fingerprint=fingerprint)
    return check_access(wanted, metadata.to_yaml(), fingerprint)


def finish_run(
    run: RunFolder,
    classifier: EncoderClassifier | None = None,
    fold_thresholds: bool = False,
    export_onnx: bool = False,
    repo_id: str | None = None,
    space_id: str | None = None,
) -> None:
    """Bring a run whose report is written to its end, or a finished one to another end.

    The folded model, its ONNX files, example and words replace what was there in one stroke, see `RunFolder.change`.

    Args:
        run: the run's folder.
        classifier: the model in it, which is changed too; None for a baseline, which is neither folded nor exported.
        fold_thresholds: whether the thresholds are to be in the model, or beside it, as always where it has no bias.
        export_onnx: make the model's ONNX files; where that fails, one line says why.
        repo_id: where the card's examples find the model; None until it is published.
        space_id: where its demo is; None: it has none.
    """
    if classifier is None:
        texts = record_example(run)
        record_words(run)
    else:
        if fold_thresholds and not has_bias(classifier.model):
            say(f"The model's output layer has no bias; --fold_thresholds is off for it: see {THRESHOLDS_FILE}.")
            fold_thresholds = False
        refold = fold_thresholds != run.read(THRESHOLDS_FILE)["folded"]
        with run.change(outdated=("export", "words", "plots") if refold else ()) as folder:
            if refold:
                write_folded(run, classifier.model, fold_thresholds, folder)
            if export_onnx:
                write_onnx_or_say(run, classifier, folder)
            texts = record_example(run, classifier, folder)
            if refold or not (run.path / WORDS_FILE).is_file():
                record_words(run, classifier, folder)
            if refold:
                record_changes(run, Decision.of(run)._replace(fold_thresholds=fold_thresholds), folder)
    if texts:
        say(f"the card shows {len(texts)} validation text(s) as examples: {' | '.join(texts)}")
    with left_out("the set of pictures"):
        plot_run(run)
    write_card(run, repo_id, space_id)


def write_ending(
    run: RunFolder, folder: Path, classifier: EncoderClassifier | None, fold_thresholds: bool, export_onnx: bool
) -> None:
    """Write into `folder`, where a new report of `run` stands, what follows it: model, ONNX files, example and words.

    Args:
        run: a finished run, which is being changed.
        classifier, fold_thresholds, export_onnx: see `finish_run`.
    """
    changed = RunFolder(folder)
    if classifier is not None:
        write_folded(changed, classifier.model, fold_thresholds, folder)
        if export_onnx:
            write_onnx_or_say(changed, classifier, folder)
    record_example(run, classifier, folder)
    record_words(run, classifier, folder)


def repository_name(run: RunFolder) -> str:
    """What a run's repository may be called: as its folder is, without what the Hub takes in no name."""
    return re.sub("[^A-Za-z0-9._-]+|[.-]{2,}", "-", run.path.resolve().name).strip("-.")[:80] or "my-model"


def next_steps(run: RunFolder, repo_id: str | None = None) -> str:
    """Where a finished run is, and the commands with which its user goes on.

    Args:
        repo_id: where it has been published; None: it has not.
    """
    text = "your text"
    steps = {
        "label texts": command("run_inference.py", "--model", run, text),
        "see why": command("run_inference.py", "--model", run, text, "--explain"),
        "publish": command("run_push.py", run, "--hub_model_id", repo_id or repository_name(run)),
    }
    if repo_id:
        del steps["publish"]
    return f"Everything is in {run}; its README.md is the model card. Next:\n{in_steps(steps)}"


def write_onnx_or_say(run: RunFolder, classifier: EncoderClassifier, folder: Path) -> None:
    """`write_onnx`; where that fails, one line says why, and there are no ONNX files."""
    try:
        say(summary(write_onnx(run, classifier, folder)))
    except OSError:  # a full disk: the change is not made, and can be made again
        raise
    except Exception as error:  # the exporter's, the quantiser's: the run is finished without
        say(f"ONNX was left out: {' '.join(str(error).split()) or type(error).__name__}")
