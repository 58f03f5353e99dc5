"""Find the labels of a dataset that are wrong, missing or disputed, and how good any model can be on them.

    python run_audit.py --dataset_name tickets.csv --baseline --output_dir outputs/tickets_audit     # in seconds
    python run_audit.py --config recipes/minilm.yaml --folds 2 --output_dir outputs/goemotions_audit
    python run_audit.py --dataset_name demo --config recipes/quickstart.yaml --output_dir outputs/demo_audit
    python run_audit.py --config recipes/minilm.yaml --judge outputs/quickstart --output_dir outputs/goemotions_audit

Takes the arguments of run_finetune.py. Each row is judged by a model that has seen neither its labels nor those of a
text like it. Open OUTPUT_DIR/report.html to review what was found, and train on what you have corrected with
`--corrections corrections.csv`. An audit that was stopped goes on with the same command. Without --output_dir it
writes beside the run that the recipe is for: outputs/minilm_audit for recipes/minilm.yaml.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from utils.command_line import (
    command,
    in_steps,
    name_or_place,
    out_of_range,
    plain_parser,
    refuse,
    without_options,
)
from utils.console import one_sentence_errors, say
from utils.locks import one_job
from utils.machine import is_main_process, leave_together
from utils.recipe import as_tokens, read_recipe

RECIPE = str(Path(__file__).parent / "recipes" / "bert_base.yaml")
SPLITS = ("train", "validation", "test")
# Of the arguments, what the probabilities hang on beside what a training learns from.
DECISIVE = (
    "baseline", "folds", "audit_splits", "max_train_samples", "max_eval_samples", "seed", "num_train_epochs",
    "max_steps",
)  # fmt: skip
OF_AN_AUDIT = ("folds", "baseline", "judge", "audit_splits", "output_dir", "overwrite_output_dir")
NOT_FOR_AN_AUDIT = {
    "taxonomy": "--taxonomy groups labels; an audit is of those that the data has.",
    "teacher": "--teacher names models that may know the labels by heart; for another opinion take --judge.",
    "unlabelled_file": "--unlabelled_file: an audit is of labels, which these texts have not.",
    "resume_from_checkpoint": "--resume_from_checkpoint is not needed: the same command goes on by itself.",
    "push_to_hub": "--push_to_hub: an audit is not published.",
}


@dataclass
class AuditArguments:
    """Who judges, and what."""

    _argument_group_name: ClassVar[str] = "audit"

    folds: int = field(default=5, metadata={"help": "models that share the judging of the rows"})
    baseline: bool = field(default=False, metadata={"help": "judge by TF-IDF and logistic regression, in seconds"})
    judge: list[str] | None = field(
        default=None, metadata={"help": "finished models that have learned from other data"}
    )
    audit_splits: list[str] = field(
        default_factory=lambda: ["train"], metadata={"help": "what is judged: train, validation, test"}
    )

    def __post_init__(self) -> None:
        problems = out_of_range(self, {"folds": (2, 100)})
        named = "is empty" if not self.audit_splits else f"names {', '.join(self.audit_splits)}"
        if not self.audit_splits or set(self.audit_splits) - set(SPLITS):
            problems.append(f"--audit_splits {named}; accepted: {', '.join(SPLITS)}.")
        if not all(self.judge or ["none"]):
            problems.append("--judge names nothing; give folders of finished runs, or model ids on the Hub.")
        refuse(problems)
        self.audit_splits = [name for name in SPLITS if name in self.audit_splits]
        self.judge = list(dict.fromkeys(self.judge or [])) or None


def next_steps(folder: Path, script: str, same: list[str], corrections: list[str]) -> dict[str, str]:
    """What to do with an audit: review it, and train with what was corrected.

    Args:
        same: the arguments of `script` that say what the audit was told of data and training.
        corrections: the files of corrections that it has read.
    """
    from utils.auditing.folder import REPORT_FILE

    corrected = folder / "corrections.csv"
    further = ["--corrections", *corrections, corrected, "--output_dir", folder.with_name(f"{folder.name}_corrected")]
    return {
        "review the labels in a browser": str(folder / REPORT_FILE),
        "save the corrections there as": str(corrected),
        "train with them": command(script, *same, *further),
    }


def as_training(argv: list[str]) -> list[str]:
    """What an audit was told of data and training; a recipe that also says how to audit is written out."""
    first = plain_parser("")
    first.add_argument("--config", type=name_or_place)
    config = first.parse_known_args(argv)[0].config
    recipe = read_recipe(config) if config else {}
    asked = without_options(argv, OF_AN_AUDIT)
    if recipe.keys() & set(OF_AN_AUDIT) <= {"output_dir"}:
        return asked
    training = {key: value for key, value in recipe.items() if key not in OF_AN_AUDIT}
    return ["--config=", *as_tokens(training), *without_options(asked, ("config",))]  # in place of the default recipe


@one_job()
def main(argv: list[str] | None = None) -> Path:
    # 1. Arguments, checked before all libraries are imported, and a folder that holds this audit or none.
    from utils.arguments import (
        CardArguments,
        DataArguments,
        FinetuneArguments,
        ModelArguments,
        OutputArguments,
        ThresholdArguments,
        as_recipe,
        parse_arguments,
        shown_names,
    )

    finetuning = (DataArguments, ModelArguments, ThresholdArguments, CardArguments, FinetuneArguments)
    kinds = (*finetuning, OutputArguments, AuditArguments)
    parts = parse_arguments(kinds, argv, __doc__, RECIPE, NOT_FOR_AN_AUDIT, beside="_audit")
    data_args, model_args, _, _, args, output_args, audit_args = parts

    from utils.auditing.findings import find
    from utils.auditing.folder import FOLDS, begin, open_folder
    from utils.auditing.folds import deal, opinion, out_of_fold
    from utils.auditing.judges import baseline_judge, encoder_judge, has_learned_from, loadable
    from utils.auditing.tables import summary, write_audit
    from utils.data.descriptions import read_descriptions
    from utils.data.labels import multi_hot
    from utils.data.splits import describe, label_names, load_splits, pooled, stratified_subset
    from utils.model.loading import load_for_training, load_tokenizer, resolve_model
    from utils.training.checkpoints import known_data, learned_from

    asked = {**vars(data_args), **vars(model_args), **vars(args), **vars(audit_args)}
    judges, corrections = audit_args.judge or [], data_args.corrections or []
    shown = asked | shown_names(data_args, model_args, audit_args)
    inputs = (data_args.dataset_name, model_args.model_name_or_path, *judges, *corrections)
    folder = open_folder(args.output_dir, *inputs)
    if not audit_args.baseline:
        say(args.layout())

    # 2. The rows to be judged.
    splits = load_splits(data_args, args.seed)
    dataset, names = describe(data_args, splits, args.seed), label_names(splits)
    splits["train"] = stratified_subset(splits["train"], data_args.max_train_samples, args.seed)
    splits["validation"] = stratified_subset(splits["validation"], data_args.max_eval_samples, args.seed)
    rows = pooled(splits, audit_args.audit_splits)
    gold = multi_hot(rows["labels"], len(names))

    # 3. Their folds, and who judges: a model that learns from the other folds.
    fold_of = deal(rows["text"], gold, audit_args.folds, args.seed)
    if audit_args.baseline:
        judge = baseline_judge(dataset["name"])
        origin = {"dataset": known_data(dataset), "label_names": names}
    else:
        model_path, base_model = resolve_model(model_args.model_name_or_path)
        descriptions = read_descriptions(model_args.label_descriptions, names)
        origin = learned_from(dataset, names, model_path, base_model, data_args, model_args, args, descriptions)
        tokenizer = load_tokenizer(model_path, model_args.trust_remote_code)
        start = (args.init_head_bias, model_args.pooling, model_args.trust_remote_code, descriptions)
        judge = encoder_judge(args, tokenizer, lambda train: load_for_training(model_path, tokenizer, train, *start))
    origin |= {name: asked[name] for name in DECISIVE}
    judges = loadable(judges, names, args.device)
    for name in judges:
        if has_learned_from(name, dataset):
            say(f"--judge {name} has learned from these very labels: what it says of train is no independent opinion.")
    question = begin(folder, origin, output_args.overwrite_output_dir)

    # 4. What models say that have learned from other data, and what those say that have not seen a row's labels.
    opinions = {name: opinion(name, rows["text"], names, args.device, folder / FOLDS, question) for name in judges}
    probabilities = out_of_fold(rows, fold_of, judge, folder / FOLDS, question)

    # 5. Suspicions, error rates, agreement; tables of them, and a page to review them.
    if is_main_process():
        findings = find(rows["text"], gold, fold_of, probabilities, opinions)
        name_shown = dict(zip(audit_args.judge or [], shown["judge"] or [], strict=True))
        about = {
            "dataset": {"name": dataset["hub_id"] or shown["dataset_name"], "sha256": dataset["sha256"]},
            "judged_by": "baseline" if audit_args.baseline else base_model or shown["model_name_or_path"],
            "judges": [name_shown[name] for name in judges],
            "folds": audit_args.folds,
        }
        sentences = summary(names, findings)
        if left := [name for name in SPLITS if name in splits and name not in audit_args.audit_splits]:
            count = sum(len(splits[name]) for name in left)
            every = " ".join(SPLITS)
            sentences.append(f"{count:,} rows of {' and '.join(left)} were not judged; --audit_splits {every} does.")
        write_audit(folder, rows, names, findings, sentences, about)
        say("\n" + "\n".join(sentences))
        if audit_args.baseline:
            data = as_recipe(data_args) | ({"seed": args.seed} if args.seed != 42 else {})
            if not dataset["hub_id"]:
                data.pop("dataset_config_name", None)
            script, same = "run_baseline.py", as_tokens(data)
        else:
            script, same = "run_finetune.py", as_training(sys.argv[1:] if argv is None else argv)
        steps = next_steps(folder, script, without_options(same, ("corrections",)), corrections)
        say(f"\nEverything is in {folder}. Next:\n{in_steps(steps)}")
    leave_together()
    return folder


if __name__ == "__main__":
    with one_sentence_errors():
        main()
