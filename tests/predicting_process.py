"""One of several processes that predict a run's splits together, as run_finetune.py does after training.

torchrun --nproc_per_node 3 tests/predicting_process.py RUN_DIR DATA_FOLDER OUTPUT.npz
"""

import sys
from pathlib import Path

import numpy as np
from accelerate import PartialState
from datasets import DatasetDict

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils.data import load_splits
from utils.evaluation import predict_splits
from utils.training import leave_together

PartialState(cpu=True)
splits = load_splits(sys.argv[2])
# 60 and 2 comments: shares of uneven size, and a process that gets none.
splits = DatasetDict({**splits, "test": splits["test"].select(range(2))})
predictions = predict_splits(Path(sys.argv[1]), splits, "cpu")
if predictions:
    np.savez(sys.argv[3], **{name: judged.probabilities for name, judged in predictions.items()})
leave_together()
