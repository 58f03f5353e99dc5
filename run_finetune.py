"""Fine-tune an encoder to name the emotions in a comment: several of 28, or none.

    accelerate launch run_finetune.py                                       # bert-base-uncased on GoEmotions
    accelerate launch run_finetune.py --config recipes/demo_subset_bert.yaml
    python run_finetune.py --config recipes/quickstart.yaml                 # offline, minutes on two cores
    python run_finetune.py --config recipes/minilm.yaml --seed 1 --output_dir outputs/minilm_seed1

Without --config, recipes/bert_base.yaml is the recipe; arguments override it.
"""

from pathlib import Path

from transformers import DataCollatorWithPadding, TrainingArguments, set_seed

from utils.arguments import (
    DataArguments,
    ModelArguments,
    OutputArguments,
    ThresholdArguments,
    check_output_dir,
    parse_arguments,
    remove_run,
)
from utils.card import card_metadata, write_card
from utils.console import is_main_process, one_sentence_errors, say
from utils.data import describe, hub_id, label_names, load_splits, stratified_subset
from utils.distillation import soften
from utils.encoding import encode, shortest_first
from utils.evaluation import calibrate_run, predict_splits
from utils.example import record_example
from utils.export import export_if_possible
from utils.hardware import share_cores
from utils.head import init_head_bias, open_pooler
from utils.hub import check_access, push, take_publication
from utils.labels import multi_hot
from utils.losses import multilabel_loss
from utils.metrics import compute_metrics
from utils.modeling import load_model, load_tokenizer, resolve_model
from utils.plots import plot_run
from utils.pooling import pool_by_mean
from utils.results import results_table, write_results, write_run_json
from utils.saved_model import fold_saved_model
from utils.training import (
    find_checkpoint,
    layout,
    leave_together,
    make_trainer,
    save_model,
    training_summary,
)

RECIPE = str(Path(__file__).parent / "recipes" / "bert_base.yaml")


def main(argv: list[str] | None = None) -> dict[str, float]:
    # 1. Arguments, and access to the Hub if the run is to be published: all that can fail is checked before it starts.
    kinds = (DataArguments, ModelArguments, ThresholdArguments, OutputArguments, TrainingArguments)
    data_args, model_args, threshold_args, output_args, args = parse_arguments(kinds, argv, __doc__, RECIPE)
    resume = args.resume_from_checkpoint not in (None, "false", "False")
    run_dir = check_output_dir(args.output_dir, output_args.overwrite_output_dir, resume)
    checkpoint = find_checkpoint(args.resume_from_checkpoint, run_dir)
    publication = take_publication(args, run_dir)
    arguments = {key: value for kind in (data_args, model_args, threshold_args) for key, value in vars(kind).items()}
    arguments |= args.to_sanitized_dict()
    model_path, base_model = resolve_model(model_args.model_name_or_path)
    if publication and is_main_process():
        metadata = card_metadata(data_args.dataset_name, hub_id(data_args.dataset_name), base_model, is_encoder=True)
        publication = check_access(publication, metadata.to_yaml())
    if args.device.type == "cpu":
        share_cores()
    say(layout(args))

    # 2. Comments and their emotions.
    splits = load_splits(
        data_args.dataset_name, data_args.dataset_config_name, data_args.allow_unlabelled, data_args.taxonomy
    )
    dataset, names = describe(data_args.dataset_name, splits), label_names(splits)
    splits["train"] = stratified_subset(splits["train"], data_args.max_train_samples, args.seed)
    splits["validation"] = stratified_subset(splits["validation"], data_args.max_eval_samples, args.seed)
    dataset["rows"] = {split: len(comments) for split, comments in splits.items()}
    say(f"{dataset['name']}: " + ", ".join(f"{count:,} {split} comments" for split, count in dataset["rows"].items()))

    # 3. The encoder, its tokenizer, and a classifier that starts from the label frequencies.
    tokenizer = load_tokenizer(model_path)
    set_seed(args.seed)
    model, head_is_new = load_model(model_path, names)
    train_set = encode(splits["train"], tokenizer, model_args.max_seq_length)
    eval_set = shortest_first(encode(splits["validation"], tokenizer, model_args.max_seq_length))
    if head_is_new:
        open_pooler(model)
        if model_args.pooling == "mean":
            pool_by_mean(model)
        if model_args.init_head_bias:
            init_head_bias(model, multi_hot(splits["train"]["labels"], len(names)))
    if model_args.teacher:
        texts, weight = splits["train"]["text"], model_args.teacher_weight
        train_set = soften(train_set, texts, model_args.teacher, weight, names, args.device)
    say(f"{base_model or model_path}: {model.num_parameters() / 1e6:.1f}M parameters, {len(names)} labels")

    # 4. Train. Each epoch ends with an evaluation and a checkpoint; the best one is loaded at the end.
    if is_main_process() and not resume:
        remove_run(run_dir)
    trainer = make_trainer(
        model,
        args,
        run_dir,
        model_args.head_learning_rate,
        train_dataset=train_set,
        eval_dataset=eval_set,
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_loss_func=multilabel_loss,
        compute_metrics=compute_metrics,
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    save_model(trainer, run_dir)

    # 5. Judge what was saved, as a user will load it: every process takes its share.
    predictions = predict_splits(run_dir, splits, args.device)
    if not is_main_process():
        leave_together()
        return {}

    # 6. Calibration and thresholds from validation, scores on validation and test, files, card.
    predictions = calibrate_run(run_dir, predictions, model_args.calibration)
    strategy, metric = threshold_args.threshold_strategy, threshold_args.threshold_metric
    results = write_results(run_dir, names, predictions, strategy, metric, training_summary(trainer))
    write_run_json(run_dir, arguments, dataset, {"layout": layout(args)}, base_model)
    if model_args.fold_thresholds:
        fold_saved_model(run_dir)
    if model_args.export_onnx:
        export_if_possible(run_dir)
    record_example(run_dir)
    plot_run(run_dir)
    write_card(run_dir, publication and publication.repo_id)
    say(f"\n{results_table([run_dir])}\n\nEverything is in {run_dir}.")
    leave_together()

    # 7. Publish, if asked: one commit, after everything else.
    if publication:
        say(f"Published: {push(run_dir, publication)}")
    return results


if __name__ == "__main__":
    with one_sentence_errors():
        main()
