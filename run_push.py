"""Publish a finished run on the Hub, in one commit; again after a change, or after a failure.

    python run_push.py outputs/minilm --hub_model_id my-emotions
    python run_push.py outputs/minilm --hub_model_id my-org/my-emotions --hub_private_repo --fold_thresholds false
    python run_push.py outputs/minilm --hub_model_id my-emotions --hub_space_id my-emotions-demo
    python run_push.py outputs/baseline --hub_model_id my-emotions-baseline --hub_tag v1.0

The token comes from HF_TOKEN or a saved login (`hf auth login`), never from the command line.
"""

import argparse

from utils.command_line import command, in_steps, plain_parser, run_folder, true_or_false
from utils.console import InputError, one_sentence_errors, say
from utils.run_folder import FINGERPRINT, THRESHOLDS_FILE


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = plain_parser(__doc__)
    add = parser.add_argument_group("run and Hub").add_argument
    add("run", type=run_folder, metavar="OUTPUT_DIR", help="the folder of a finished run")
    add("--hub_model_id", required=True, help="name or user/name of the repository")
    add("--hub_space_id", help="publish a demo too, which runs in the browser: name or user/name of the Space")
    add("--hub_private_repo", action="store_true", help="create the repository, and the Space, as private")
    add("--hub_revision", help="the branch to push to (default: main)")
    add("--hub_tag", help="tag the commit, as a release")
    add("--overwrite_repo", action="store_true", help="replace another model that the repository holds")
    add("--fold_thresholds", type=true_or_false, metavar="true|false", help="fold or unfold first (default: as it is)")
    args = parser.parse_args(argv)
    args.run.require_finished()
    if args.fold_thresholds is not None and not args.run.is_encoder:
        raise InputError(f"--fold_thresholds: {args.run} holds a baseline; only an encoder's thresholds can be folded.")
    return args


def main(argv: list[str] | None = None) -> str:
    # 1. Arguments, checked before the libraries are imported; the run, and access to the Hub, before it is changed.
    args = parse(argv)

    from utils.model.classifiers import load_encoder
    from utils.model.head import has_bias
    from utils.publishing.card import run_metadata, write_card
    from utils.publishing.finish import finish_run
    from utils.publishing.hub import Publication, check_access
    from utils.publishing.space import demo_url, plan_space, published_space, push_space, require_demo

    if args.hub_space_id:
        require_demo(args.run, args.fold_thresholds, onnx=args.fold_thresholds is None)
    if args.fold_thresholds and not has_bias(load_encoder(args.run).model):
        raise InputError(
            f"--fold_thresholds true: the model in {args.run} has an output layer without bias, which has no place for "
            "thresholds; accepted: false."
        )
    publication = Publication(
        args.hub_model_id, args.hub_private_repo, args.hub_revision, args.hub_tag, args.overwrite_repo,
        args.hub_space_id,
    )  # fmt: skip
    metadata = run_metadata(args.run)
    publication = check_access(publication, metadata.to_yaml(), metadata.get(FINGERPRINT))
    space = plan_space(args.run, publication)
    space_id = space.repo_id if space else published_space(args.run, publication)

    # 2. Thresholds inside the model or beside it, and a card that says which. Nobody else changes the run meanwhile.
    with args.run.exclusive():
        if args.fold_thresholds in (None, args.run.read(THRESHOLDS_FILE)["folded"]):
            write_card(args.run, publication.repo_id, space_id)
        else:
            classifier = load_encoder(args.run)
            with_onnx = args.run.has_onnx or space is not None
            finish_run(args.run, classifier, args.fold_thresholds, with_onnx, publication.repo_id, space_id)

        # 3. One commit, and one for the demo.
        if space:
            require_demo(args.run)
        commit = publication.push(args.run)
        say(f"Published: {commit.commit_url}")
        if space:
            say(f"Its demo: {push_space(args.run, publication, commit.oid, space).commit_url}")
            say(f"The page, in a minute: {demo_url(space)}")
    steps = {
        "label texts with it": command("run_inference.py", "--model", publication.repo_id, "your text"),
        "see why": command("run_inference.py", "--model", publication.repo_id, "your text", "--explain"),
    }
    if args.run.has_onnx and not space_id:
        demo = publication._replace(space_id=f"{publication.repo_id}-demo", tag=None)
        steps["add a demo"] = demo.command(args.run)
    say(f"Next:\n{in_steps(steps)}")
    return commit.commit_url


if __name__ == "__main__":
    with one_sentence_errors():
        main()
