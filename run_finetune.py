"""Fine-tune an encoder to name the emotions in a comment: several of 28, or none.

    accelerate launch run_finetune.py                                       # bert-base-uncased on GoEmotions
    accelerate launch run_finetune.py --config recipes/demo_subset_bert.yaml
    python run_finetune.py --config recipes/quickstart.yaml                 # offline, minutes on two cores
    python run_finetune.py --config recipes/minilm.yaml --seed 1 --output_dir outputs/minilm_seed1

Without --config, recipes/bert_base.yaml is the recipe; arguments override it.
"""

from pathlib import Path

from accelerate import PartialState
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
from utils.calibration import calibrate, fit_calibration
from utils.card import write_card
from utils.console import is_main_process, one_sentence_errors, say
from utils.data import fingerprint, label_names, load_splits, stratified_subset
from utils.distillation import soften
from utils.encoding import encode, shortest_first
from utils.head import init_head_bias, open_pooler
from utils.inference import calibrate_saved_model, fold_saved_model, load_classifier, predict_together
from utils.labels import multi_hot
from utils.losses import multilabel_loss
from utils.metrics import compute_metrics
from utils.modeling import load_model, load_tokenizer, resolve_model
from utils.plots import plot_run
from utils.results import Predictions, results_table, write_results, write_run_json
from utils.training import (
    find_checkpoint,
    layout,
    leave_together,
    make_trainer,
    save_model,
    share_cores,
    training_summary,
)

RECIPE = str(Path(__file__).parent / "recipes" / "bert_base.yaml")


def main(argv: list[str] | None = None) -> dict[str, float]:
    # 1. Arguments, all checked before anything is loaded.
    kinds = (DataArguments, ModelArguments, ThresholdArguments, OutputArguments, TrainingArguments)
    data_args, model_args, threshold_args, output_args, args = parse_arguments(kinds, argv, __doc__, RECIPE)
    resume = args.resume_from_checkpoint not in (None, "false", "False")
    run_dir = check_output_dir(args.output_dir, output_args.overwrite_output_dir, resume)
    checkpoint = find_checkpoint(args.resume_from_checkpoint, run_dir)
    arguments = {key: value for kind in (data_args, model_args, threshold_args) for key, value in vars(kind).items()}
    arguments |= args.to_sanitized_dict()
    share_cores(args)
    say(layout(args))

    # 2. Comments and their emotions.
    splits = load_splits(
        data_args.dataset_name, data_args.dataset_config_name, data_args.allow_unlabelled, data_args.taxonomy
    )
    data_hash, names = fingerprint(splits), label_names(splits)
    splits["train"] = stratified_subset(splits["train"], data_args.max_train_samples, args.seed)
    splits["validation"] = stratified_subset(splits["validation"], data_args.max_eval_samples, args.seed)
    rows = {split: len(dataset) for split, dataset in splits.items()}
    say(f"{data_args.dataset_name}: " + ", ".join(f"{count:,} {split} comments" for split, count in rows.items()))

    # 3. The encoder, its tokenizer, and a classifier that starts from the label frequencies.
    model_path, base_model = resolve_model(model_args.model_name_or_path)
    tokenizer = load_tokenizer(model_path)
    set_seed(args.seed)
    model, head_is_new = load_model(model_path, names)
    train_set = encode(splits["train"], tokenizer, model_args.max_seq_length)
    eval_set = shortest_first(encode(splits["validation"], tokenizer, model_args.max_seq_length))
    if head_is_new:
        open_pooler(model)
    if model_args.init_head_bias and head_is_new:
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

    # 5. Judge what was saved, as a user will load it: every process takes its share, in fp32.
    classifier, _ = load_classifier(str(run_dir), device=args.device)
    probabilities = {}
    for split in [split for split in ("validation", "test") if split in splits]:
        say(f"predicting {rows[split]:,} {split} comments …")
        probabilities[split] = predict_together(classifier, splits[split]["text"])
    if not PartialState().is_main_process:
        leave_together()
        return {}

    # 6. Calibration and thresholds from validation, scores on validation and test, files.
    predictions = {
        name: Predictions(splits[split]["text"], multi_hot(splits[split]["labels"], len(names)), probabilities[split])
        for name, split in (("eval", "validation"), ("test", "test"))
        if split in splits
    }
    if model_args.calibration != "none":
        fitted = fit_calibration(predictions["eval"].gold, predictions["eval"].probabilities, model_args.calibration)
        calibrate_saved_model(run_dir, *fitted)
        for name, judged in predictions.items():
            predictions[name] = judged._replace(probabilities=calibrate(judged.probabilities, *fitted))
    results = write_results(
        run_dir,
        names,
        predictions,
        threshold_args.threshold_strategy,
        threshold_args.threshold_metric,
        training_summary(trainer),
    )
    dataset = {"name": data_args.dataset_name, "sha256": data_hash, "rows": rows}
    write_run_json(run_dir, arguments, dataset, {"layout": layout(args)}, base_model)
    if model_args.fold_thresholds:
        fold_saved_model(run_dir)
    plot_run(run_dir)
    write_card(run_dir)
    say(f"\n{results_table([run_dir])}\n\nEverything is in {run_dir}.")
    leave_together()
    return results


if __name__ == "__main__":
    with one_sentence_errors():
        main()
