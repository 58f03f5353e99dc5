"""What the ONNX files gain from computing, of the last layer, only the token that the classifier reads.

    python -m benchmarks.first_token outputs/minilm [--repeats 7]

The run's model is exported twice, with utils/publishing/first_token.py and without it. Both answer GoEmotions'
validation comments (GOEMOTIONS_DIR names a local copy; otherwise the Hub's) with one thread, alternating. Time is that
for which the core worked, tokenising included, so that other programs count less; speeds are medians of all repeats,
and the ratio's range is that of the single repeats. In int8 the probabilities differ by more than rounding: with the
step, the products of the last layer that compute the first token alone are in fp32.
"""

import os
import statistics
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.cpu_seconds import texts_per_second
from utils.arguments import HUB_DATASET, DataArguments
from utils.command_line import plain_parser
from utils.console import one_sentence_errors
from utils.data.splits import load_splits
from utils.evaluation.report import markdown_table
from utils.model.classifiers import OnnxClassifier, load_encoder
from utils.publishing.onnx_export import write_onnx
from utils.run_folder import ONNX_FILES, RunFolder

STEP = "utils.publishing.first_token.compute_first_token_only"


def main(run: RunFolder, repeats: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    texts = list(load_splits(DataArguments(os.environ.get("GOEMOTIONS_DIR") or HUB_DATASET))["validation"]["text"])
    encoder = load_encoder(run)
    lines = []
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as all_tokens:
        write_onnx(run, encoder, Path(first))
        with patch(STEP):
            write_onnx(run, encoder, Path(all_tokens))
        for precision, file in ONNX_FILES.items():
            sides = [
                OnnxClassifier(Path(folder) / file, encoder.tokenizer, encoder.model.config)
                for folder in (all_tokens, first)
            ]
            found = [side.predict(texts) for side in sides]  # the warm-up as well
            difference = np.abs(found[0] - found[1]).max()
            rates = np.array([[texts_per_second(side, texts) for side in sides] for _ in range(repeats)])
            medians, ratios = [statistics.median(side) for side in rates.T], rates[:, 1] / rates[:, 0]
            lines.append(
                [f"onnx {precision}", *(f"{median:,.0f}" for median in medians), f"{medians[1] / medians[0]:.3f}",
                 f"{min(ratios):.3f} to {max(ratios):.3f}", f"{difference:.1e}"]
            )  # fmt: skip
    header = ["file", "all tokens, texts/s", "first token, texts/s", "ratio", "range", "largest difference"]
    print(f"{len(texts):,} validation texts, {repeats} repeats\n\n{markdown_table(header, lines)}")


if __name__ == "__main__":
    parser = plain_parser(__doc__)
    parser.add_argument("run", type=RunFolder, metavar="OUTPUT_DIR")
    parser.add_argument("--repeats", type=int, default=7)
    with one_sentence_errors():
        main(**vars(parser.parse_args()))
