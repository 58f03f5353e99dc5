"""Is a folded model right at 0.5 in the plain pipeline? Its scores there beside those the run reports.

python -m benchmarks.folded_pipeline outputs/minilm
"""

import numpy as np
from sklearn.metrics import f1_score
from tqdm.auto import tqdm
from transformers import pipeline

from utils.command_line import plain_parser
from utils.console import one_sentence_errors
from utils.evaluation.report import markdown_table
from utils.run_folder import RESULTS_FILE, RunFolder


def main(run: RunFolder) -> None:
    names, (texts, gold, _) = run.read_predictions("test")
    classifier = pipeline("text-classification", model=str(run), top_k=None, batch_size=32, trust_remote_code=False)
    by_length = np.argsort([len(text) for text in texts])
    decided = np.zeros(gold.shape, dtype=int)
    answers = classifier(text for text in [texts[i] for i in by_length])
    for row, answer in zip(by_length, tqdm(answers, total=len(texts)), strict=True):
        scores = {item["label"]: item["score"] for item in answer}
        decided[row] = [scores[name] >= 0.5 for name in names]
    results, lines = run.read(RESULTS_FILE), []
    for average in ("micro", "macro"):
        found = f1_score(gold.astype(int), decided, average=average, zero_division=0)
        lines.append([f"{average}-F1", f"{found:.4f}", f"{results[f'test_f1_{average}']:.4f}"])
    print(markdown_table(["test", "plain pipeline at 0.5", "reported at thresholds"], lines))


if __name__ == "__main__":
    parser = plain_parser(__doc__)
    parser.add_argument("run", type=RunFolder, metavar="OUTPUT_DIR")
    with one_sentence_errors():
        main(**vars(parser.parse_args()))
