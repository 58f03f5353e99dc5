"""Write the ONNX files of a finished run, for transformers.js, optimum and `run_inference.py --backend onnx`.

    python run_export.py outputs/minilm

run_finetune.py does so itself where requirements-onnx.txt is installed.
"""

from utils.command_line import command, in_steps, plain_parser, run_folder
from utils.console import one_sentence_errors, say


def main(argv: list[str] | None = None) -> dict[str, float]:
    parser = plain_parser(__doc__)
    parser.add_argument_group("run").add_argument(
        "run", type=run_folder, metavar="OUTPUT_DIR", help="the folder of a finished run"
    )
    run = parser.parse_args(argv).run
    run.require_finished()

    from utils.publishing.card import write_card  # after the arguments are checked: it takes seconds
    from utils.publishing.finish import repository_name
    from utils.publishing.onnx_export import export_onnx, summary

    with run.exclusive():  # nobody else changes the model meanwhile
        figures = export_onnx(run)
        write_card(run)
    name = repository_name(run)
    steps = {
        "label texts": command("run_inference.py", "--backend", "onnx", "--model", run, "your text"),
        "see why": command("run_inference.py", "--backend", "onnx", "--model", run, "your text", "--explain"),
        "publish, with a demo": command("run_push.py", run, "--hub_model_id", name, "--hub_space_id", f"{name}-demo"),
    }
    say(f"{summary(figures)}\n\nThe files are in {run}/onnx. Next:\n{in_steps(steps)}")
    return figures


if __name__ == "__main__":
    with one_sentence_errors():
        main()
