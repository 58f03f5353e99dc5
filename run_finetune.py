"""Fine-tune an encoder to give texts their labels: one, several or none of GoEmotions' 28, or of your own.

    accelerate launch run_finetune.py                                       # bert-base-uncased on GoEmotions
    accelerate launch run_finetune.py --config recipes/demo_subset_bert.yaml
    python run_finetune.py --config recipes/quickstart.yaml                 # offline, minutes on two cores
    python run_finetune.py --config recipes/minilm.yaml --seed 1 --output_dir outputs/minilm_seed1

Without --config, recipes/bert_base.yaml is the recipe; arguments override it.
"""

from pathlib import Path

from utils.console import left_out, one_sentence_errors, say
from utils.locks import one_job

RECIPE = str(Path(__file__).parent / "recipes" / "bert_base.yaml")


@one_job()
def main(argv: list[str] | None = None) -> dict[str, float]:
    # 1. Arguments: all that can fail is checked before it starts, and before all libraries are imported.
    from utils.arguments import (
        CardArguments,
        DataArguments,
        FinetuneArguments,
        ModelArguments,
        OutputArguments,
        ThresholdArguments,
        as_recorded,
        parse_arguments,
        shown_names,
    )

    kinds = (DataArguments, ModelArguments, ThresholdArguments, OutputArguments, CardArguments, FinetuneArguments)
    data_args, model_args, threshold_args, output_args, card_args, args = parse_arguments(kinds, argv, __doc__, RECIPE)

    from transformers import set_seed

    from utils.data.descriptions import read_descriptions
    from utils.data.splits import describe, label_names, load_splits, stratified_subset
    from utils.data.unlabelled import read_unlabelled
    from utils.evaluation.predict import calibrate_run, predict_splits
    from utils.evaluation.report import results_table, score, write_report
    from utils.evaluation.thresholds import fit_thresholds
    from utils.model.loading import load_for_training, load_tokenizer, resolve_model
    from utils.publishing.finish import finish_run, next_steps, plan_publication
    from utils.training.checkpoints import find_checkpoint, fingerprint, learned_from, require_same_origin
    from utils.training.trainer import EmotionTrainer

    inputs = (data_args.dataset_name, model_args.model_name_or_path)
    inputs += (*(data_args.corrections or ()), *(args.unlabelled_file or ()))
    run = output_args.open_run(args.output_dir, *inputs, resume=args.resuming)
    checkpoint = find_checkpoint(args.resume_from_checkpoint, run)
    model_path, base_model = resolve_model(model_args.model_name_or_path)
    shown = shown_names(data_args, model_args, args)
    say(args.layout())

    # 2. Comments and their emotions, and comments without: those that a run to be resumed has learned from. Access to
    # the Hub, if the run is to be published: whether it will be taken is known before anything is trained.
    splits = load_splits(data_args, args.seed)
    dataset, names = describe(data_args, splits, args.seed), label_names(splits)
    descriptions = read_descriptions(model_args.label_descriptions, names)
    splits["train"] = stratified_subset(splits["train"], data_args.max_train_samples, args.seed)
    unlabelled = read_unlabelled(args.unlabelled_file, data_args.text_column, splits) if args.unlabelled_file else []
    splits["validation"] = stratified_subset(splits["validation"], data_args.max_eval_samples, args.seed)
    origin = learned_from(dataset, names, model_path, base_model, data_args, model_args, args, descriptions, unlabelled)
    require_same_origin(checkpoint, origin)
    publication = plan_publication(args, card_args, run, dataset, base_model, fingerprint(origin))
    dataset["rows"] = {split: len(comments) for split, comments in splits.items()}
    if unlabelled:
        dataset["unlabelled"] = len(unlabelled)
    say(f"{dataset['name']}: " + ", ".join(f"{count:,} {split} comments" for split, count in dataset["rows"].items()))

    # 3. The encoder, its tokenizer, and a classifier that starts from the label frequencies, the cure for 0.0000, and
    # from the labels' descriptions, where there are any.
    trusted = model_args.trust_remote_code
    tokenizer = load_tokenizer(model_path, trusted)
    set_seed(args.seed)
    start = (args.init_head_bias, model_args.pooling, trusted, descriptions)
    model = load_for_training(model_path, tokenizer, splits["train"], *start)
    say(f"{base_model or model_path}: {model.num_parameters() / 1e6:.1f}M parameters, {len(names)} labels")

    # 4. Train. Each epoch ends with a sweep of the thresholds and a checkpoint; the best one is loaded at the end.
    trainer = EmotionTrainer(
        model=model,
        args=args,
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
        processing_class=tokenizer,
        origin=origin,
        unlabelled=unlabelled,
    )
    if not args.resuming:
        run.begin()
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_run(run)

    # 5. Predict with what was saved, as a user will load it: every process takes its share, the main one goes on.
    classifier, predictions = predict_splits(run, splits, args.device, trusted)
    if not trainer.is_world_process_zero():
        trainer.end()
        return {}

    # 6. The decision: thresholds from validation, scores on validation and test, the report.
    predictions = calibrate_run(run, classifier, predictions, model_args.calibration)
    strategy, metric = threshold_args.threshold_strategy, threshold_args.threshold_metric
    validation = predictions["validation"]
    thresholds = fit_thresholds(validation.gold, validation.probabilities, strategy, metric)
    results = trainer.summary() | score(names, predictions, thresholds)
    recorded = as_recorded(data_args, model_args, threshold_args, card_args, args)
    run.write_run_json(recorded, dataset, args.layout(), base_model, fingerprint(origin), shown)
    write_report(run, names, predictions, thresholds, results, strategy, metric)
    with left_out("the report of the final scores"):
        trainer.log(results)

    # 7. Thresholds into the model, its ONNX files, an example, pictures and the card.
    repo_id = publication and publication.repo_id
    finish_run(run, classifier, model_args.fold_thresholds, model_args.export_onnx, repo_id)
    say(f"\n{results_table([run])}\n\n{next_steps(run, repo_id)}")
    trainer.end()

    # 8. Publish, if asked: one commit, after everything else.
    if publication:
        say(f"Published: {publication.push(run).commit_url}")
    return results


if __name__ == "__main__":
    with one_sentence_errors():
        main()
