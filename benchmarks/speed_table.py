"""README's table of speeds, from what the benchmarks have written into benchmarks/results.

python -m benchmarks.speed_table        # puts it into README.md, between its two comments
"""

from pathlib import Path

from utils.evaluation.report import markdown_table
from utils.run_folder import read_json

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- speed: made by benchmarks/speed_table.py -->\n", "<!-- end of speed -->"
TRAINING = {
    "padded": "training, stock: the Trainer as transformers' example sets it (padded to 128, fp32)",
    "dynamic": "training, tuned: the same, each batch padded to its longest comment",
    "ours": "**training: `run_finetune.py`**",
}
INFERENCE = {
    "pipeline(texts)": "inference, stock: `pipeline(texts)`",
    "pipeline(texts, batch_size=32)": "inference, tuned: `pipeline(texts, batch_size=32)`",
    "torch auto": "**inference: `run_inference.py`**",
    "onnx int8": "inference: `run_inference.py --backend onnx`",
}


def speed_table() -> str:
    """Rows per second of each side, and how many times the stock ones that is."""
    lines = []
    for file, names in (("training_speed.json", TRAINING), ("inference_speed.json", INFERENCE)):
        results = read_json(ROOT / "benchmarks" / "results" / file)
        rates = results.get("rows_per_second") or results["texts_per_second"]
        first, second = list(names)[:2]
        for side, name in names.items():
            if side not in rates:  # has changed since, and was not measured again
                continue
            ratios = [f"{rates[side] / rates[stock]:.1f}" for stock in (first, second)]
            lines.append([name, f"{rates[side]:,.0f}", *ratios])
    return markdown_table(["MiniLM on two CPU cores", "rows/s", "× stock", "× tuned"], lines)


def main() -> None:
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{speed_table()}\n\n{END}{after}", encoding="utf-8")
    print(speed_table())


if __name__ == "__main__":
    main()
