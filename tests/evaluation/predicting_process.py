"""One of several processes that predict a run's splits together, as run_finetune.py does after training.

torchrun --nproc_per_node 3 tests/evaluation/predicting_process.py RUN_DIR DATA_FOLDER OUTPUT.npz
"""

import sys

import numpy as np
from accelerate import PartialState
from datasets import DatasetDict

from utils.arguments import DataArguments
from utils.data.splits import load_splits
from utils.evaluation.predict import predict_splits
from utils.machine import leave_together
from utils.run_folder import RunFolder

PartialState(cpu=True)
splits = load_splits(DataArguments(sys.argv[2]))
# 60 and 2 comments: shares of uneven size, and a process that gets none.
splits = DatasetDict({**splits, "test": splits["test"].select(range(2))})
_, predictions = predict_splits(RunFolder(sys.argv[1]), splits, "cpu")
if predictions:
    np.savez(sys.argv[3], **{split: predicted.probabilities for split, predicted in predictions.items()})
leave_together()
