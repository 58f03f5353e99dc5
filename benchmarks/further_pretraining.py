"""An ingredient of quality_study.py: masked-language training on the training comments, before their labels are seen.

Gururangan et al. 2020 call it task-adaptive pretraining. The prediction head starts from nothing (sentence encoders
come without one), shares the embeddings, and is thrown away afterwards.
"""

import tempfile
from collections.abc import Sequence

import torch
from datasets import Dataset
from transformers import (
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    set_seed,
)

from utils.arguments import FinetuneArguments
from utils.training.progress import TrainingTable
from utils.training.trainer import EmotionTrainer


def pretrain(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], epochs: int, bf16: bool, seed: int
) -> None:
    """Train `model`'s encoder to fill in the 15 % of tokens that are masked, at the fine-tuning's rates and batch."""
    tokens = tokenizer(list(texts), truncation=True, max_length=64)
    rows = Dataset.from_dict(dict(tokens) | {"length": [len(ids) for ids in tokens["input_ids"]]})
    set_seed(seed)
    teller = AutoModelForMaskedLM.from_config(model.config)
    missing = teller.base_model.load_state_dict(model.base_model.state_dict(), strict=False).missing_keys
    assert not missing, missing
    with tempfile.TemporaryDirectory() as folder:
        args = FinetuneArguments(
            output_dir=folder,
            learning_rate=2e-4,
            head_learning_rate=2e-3,
            num_train_epochs=epochs,
            per_device_train_batch_size=32,
            precision="bf16" if bf16 else "fp32",
            use_cpu=not torch.cuda.is_available(),
            seed=seed,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
        )
        trainer = EmotionTrainer(
            model=teller,
            args=args,
            train_dataset=rows,
            processing_class=tokenizer,
            data_collator=DataCollatorForLanguageModeling(tokenizer),
            compute_loss_func=None,
            compute_metrics=None,
        )
        trainer.remove_callback(TrainingTable)  # of scores, which there are none of; the loss is printed instead
        trainer.add_callback(PrinterCallback)
        trainer.train()
    model.base_model.load_state_dict(teller.base_model.state_dict(), strict=False)  # all but a pooler
