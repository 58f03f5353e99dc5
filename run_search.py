"""Search for the rates, epochs, batch and weight decay of a recipe, on validation; needs requirements-search.txt.

    python run_search.py --config recipes/minilm.yaml --search_trials 20 --output_dir outputs/minilm_search
    python run_finetune.py --config outputs/minilm_search/recipe.yaml

Takes the arguments of run_finetune.py. Each trial is a training with other values, scored on validation by the mean
average precision over labels, which needs no threshold; test is not looked at. The best values make a recipe, and
trials.csv lists all. A search that was stopped goes on with the same command, as does one that is to have more trials.
Without --output_dir it writes beside the run that the recipe is for: outputs/minilm_search for recipes/minilm.yaml.
"""

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from utils.command_line import check_ranges, command, in_steps, without_options
from utils.console import one_sentence_errors, refused_together, say
from utils.locks import one_job
from utils.machine import is_main_process
from utils.run_folder import write_csv, write_text

RECIPE = str(Path(__file__).parent / "recipes" / "bert_base.yaml")


@dataclass
class SearchArguments:
    """How long to search, and what for."""

    _argument_group_name: ClassVar[str] = "search"

    search_trials: int = field(default=20, metadata={"help": "trials in all, those of an earlier start included"})
    search_metric: Literal["average_precision_macro", "loss"] = field(
        default="average_precision_macro", metadata={"help": "what trials are judged by, on validation"}
    )

    def __post_init__(self) -> None:
        check_ranges(self, {"search_trials": (1, None)})


@one_job()
def main(argv: list[str] | None = None) -> Path:
    # 1. Arguments, checked before all libraries are imported, and a folder that holds this search or none.
    from utils.arguments import (
        CardArguments,
        DataArguments,
        FinetuneArguments,
        ModelArguments,
        OutputArguments,
        ThresholdArguments,
        as_recipe,
        parse_arguments,
    )

    finetuning = (DataArguments, ModelArguments, ThresholdArguments, CardArguments, FinetuneArguments)
    kinds = (*finetuning, OutputArguments, SearchArguments)
    *parts, output_args, search_args = parse_arguments(kinds, argv, __doc__, RECIPE, beside="_search")
    data_args, model_args, _, _, args = parts

    import yaml
    from accelerate.utils import broadcast_object_list

    from utils.data.descriptions import read_descriptions
    from utils.data.splits import describe, label_names, load_splits, stratified_subset
    from utils.data.unlabelled import read_unlabelled
    from utils.model.loading import load_for_training, load_tokenizer, resolve_model
    from utils.run_folder import digest
    from utils.training.search import RECIPE_FILE, TRIALS_FILE, Search, for_trials, open_folder, require_optuna
    from utils.training.trainer import EmotionTrainer

    require_optuna()
    folder = open_folder(args.output_dir)
    model_path, _ = resolve_model(model_args.model_name_or_path)
    recipe = as_recipe(*parts)
    say(args.layout())

    # 2. Comments and their emotions: of train and validation, never of test.
    splits = load_splits(data_args, args.seed)
    dataset = describe(data_args, splits, args.seed)
    train = splits["train"] = stratified_subset(splits["train"], data_args.max_train_samples, args.seed)
    unlabelled = read_unlabelled(args.unlabelled_file, data_args.text_column, splits) if args.unlabelled_file else []
    validation = stratified_subset(splits["validation"], data_args.max_eval_samples, args.seed)
    say(f"{dataset['name']}: {len(train):,} train comments, {len(validation):,} validation comments")

    # 3. The search, new or gone on with: a Trainer begins each trial with a fresh model.
    tokenizer = load_tokenizer(model_path, model_args.trust_remote_code)
    descriptions = read_descriptions(model_args.label_descriptions, label_names(splits))
    start = (args.init_head_bias, model_args.pooling, model_args.trust_remote_code, descriptions)
    search = Search(folder, args, search_args.search_metric)
    question = recipe | {"dataset_name": dataset["sha256"], "seed": args.seed, "label_descriptions": descriptions}
    question |= {"unlabelled_file": digest(unlabelled)} if unlabelled else {}
    with tempfile.TemporaryDirectory() as scratch:
        trainer = EmotionTrainer(
            model=None,
            args=for_trials(args, scratch),
            train_dataset=train,
            eval_dataset=validation,
            processing_class=tokenizer,
            model_init=lambda: load_for_training(model_path, tokenizer, train, *start),
            unlabelled=unlabelled,
        )
        refused_together(lambda: search.begin(question, output_args.overwrite_output_dir))
        done = [search.done]
        broadcast_object_list(done)
        if done[0]:
            say(f"{folder} holds {done[0]} trial(s) already; {max(0, search_args.search_trials - done[0])} to go")
        if done[0] < search_args.search_trials:
            search.run(trainer, search_args.search_trials - done[0])
        trainer.end()
    if not is_main_process():
        return folder / RECIPE_FILE

    # 4. A table of all trials, and the best one as a recipe.
    rows = search.rows()
    write_csv(folder / TRIALS_FILE, rows)
    values, sentence = search.best()
    recipe |= values | {"metric_for_best_model": search_args.search_metric, "output_dir": f"{folder}_best"}
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)
    write_text(folder / RECIPE_FILE, f"# {sentence}; made by run_search.py\n{text}")
    tokens = sys.argv[1:] if argv is None else argv
    more = without_options(tokens, ("search_trials", "overwrite_output_dir"))
    steps = {
        "train with the best values": command("run_finetune.py", "--config", folder / RECIPE_FILE),
        "search on": command("run_search.py", *more, "--search_trials", 2 * search_args.search_trials),
    }
    say(
        f"\n{search.table()}\n\n{sentence}.\nAll trials are in {folder / TRIALS_FILE}, the best one's values in "
        f"{folder / RECIPE_FILE}. Next:\n{in_steps(steps)}"
    )
    return folder / RECIPE_FILE


if __name__ == "__main__":
    with one_sentence_errors():
        main()
