"""What ONNX costs a run: probabilities, labels, sizes and speed of its fp32 and int8 files beside torch's.

python run_export.py outputs/minilm && python -m benchmarks.onnx_parity outputs/minilm
"""

import time

import numpy as np
from sklearn.metrics import f1_score

from utils.command_line import plain_parser
from utils.console import one_sentence_errors
from utils.evaluation.report import markdown_table
from utils.evaluation.thresholds import decide
from utils.model.classifiers import load_classifier
from utils.run_folder import ONNX_FILES, RunFolder

COMPARED_ROWS = 200


def main(run: RunFolder) -> None:
    _, (texts, gold, _) = run.read_predictions("validation")
    files = {"torch fp32": "model.safetensors"} | {f"onnx {kind}": file for kind, file in ONNX_FILES.items()}
    reference, lines = None, []
    for name, file in files.items():
        backend, precision = name.split()
        classifier, thresholds = load_classifier(str(run), backend=backend, precision=precision)
        classifier.predict(texts[:64])
        started = time.perf_counter()
        probabilities = classifier.predict(texts)
        speed = len(texts) / (time.perf_counter() - started)
        decided = decide(probabilities, thresholds)
        reference = (probabilities, decided) if reference is None else reference
        difference = np.abs(probabilities - reference[0])[:COMPARED_ROWS].max()
        scores = [f1_score(gold, decided, average=average, zero_division=0) for average in ("micro", "macro")]
        megabytes = (run.path / file).stat().st_size / 1e6
        lines.append(
            [name, f"{megabytes:.1f}", f"{difference:.1e}", f"{(decided != reference[1]).any(axis=1).mean():.2%}",
             *(f"{score:.4f}" for score in scores), f"{speed:.0f}"]
        )  # fmt: skip
    header = ["validation", "MB", f"largest difference, {min(COMPARED_ROWS, len(texts))} texts", "other labels",
              "micro-F1", "macro-F1", "texts/s"]  # fmt: skip
    print(f"{len(texts):,} validation texts\n\n{markdown_table(header, lines)}")


if __name__ == "__main__":
    parser = plain_parser(__doc__)
    parser.add_argument("run", type=RunFolder, metavar="OUTPUT_DIR")
    with one_sentence_errors():
        main(**vars(parser.parse_args()))
