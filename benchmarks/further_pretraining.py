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
    TrainingArguments,
    set_seed,
)

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
        args = TrainingArguments(
            folder,
            learning_rate=2e-4,
            num_train_epochs=epochs,
            per_device_train_batch_size=32,
            warmup_steps=0.1,
            weight_decay=0.01,
            train_sampling_strategy="group_by_length",
            bf16=bf16,
            use_cpu=not torch.cuda.is_available(),
            seed=seed,
            save_strategy="no",
            logging_strategy="epoch",
            disable_tqdm=True,
        )
        collator = DataCollatorForLanguageModeling(tokenizer)
        trainer = EmotionTrainer(teller, args, head_learning_rate=2e-3, train_dataset=rows, data_collator=collator)
        trainer.train()
    model.base_model.load_state_dict(teller.base_model.state_dict(), strict=False)  # all but a pooler
