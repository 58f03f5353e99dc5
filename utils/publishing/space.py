"""The demo of a published run: a static Space whose page, `space/`, runs the model in its reader's browser.

The page is the same for every run, file by file; what differs stands in its config.json, which is written here from the
run's own files.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from huggingface_hub import CommitInfo, HfApi, constants

from utils.console import InputError, say
from utils.data.labels import on_one_line
from utils.publishing.card import SCORES, is_of_emotions, reported_split, run_title
from utils.publishing.example import examples
from utils.publishing.hub import Publication, check_access, explained, is_private
from utils.run_folder import (
    FINGERPRINT,
    ONNX_FILES,
    RESULTS_FILE,
    RUN_FILE,
    THRESHOLDS_FILE,
    RunFolder,
    write_json,
    write_text,
)

PAGE = Path(__file__).resolve().parents[2] / "space"
PAGE_FILES = ("index.html", "style.css", "script.js", "model.js", "csv.js")
CONFIG_FILE = "config.json"
SPACE_FILES = ("README.md", CONFIG_FILE, *PAGE_FILES)  # all that a Space gets
CODE_HOST = "https://cdn.jsdelivr.net/npm/"  # of transformers.js; the page knows what each file's digest must be
MODEL_HOSTS = "https://huggingface.co https://*.huggingface.co https://*.hf.co"  # in the page's security policy
DEMOS = "demos"  # in run.json: the Space of each model that the run was published as with one
DTYPES = {"q8": "int8", "fp32": "fp32"}  # transformers.js's names for the precisions


def require_demo(run: RunFolder, fold_thresholds: bool | None = None, onnx: bool = True) -> None:
    """Raise `InputError` for a run that the page cannot run.

    Args:
        fold_thresholds: whether thresholds are going to be folded; None: they stay as they are.
        onnx: look for the ONNX file as well, which folding makes anew.
    """
    if not run.is_encoder:
        raise InputError(
            f"--hub_space_id: {run} holds a baseline, which no browser runs; the demo is for encoders. Leave it out."
        )
    is_folded = run.read(THRESHOLDS_FILE)["folded"] if fold_thresholds is None else fold_thresholds
    if not is_folded:
        raise InputError(
            f"--hub_space_id: the thresholds of {run} stand beside its model, and the demo decides at 0.5; add "
            "--fold_thresholds true."
        )
    if onnx and not (run.path / ONNX_FILES["int8"]).is_file():
        raise InputError(
            f"--hub_space_id: {run} has no {ONNX_FILES['int8']}, which the demo runs; `python run_export.py {run}` "
            "makes it."
        )


def plan_space(run: RunFolder, model: Publication) -> Publication | None:
    """Where the demo of `model`, which `check_access` has passed, is to be published, once the Hub has said that it can
    be; None where none is asked for. It is private where the model is or will be.

    Raises:
        InputError: publishing would fail, and why.
    """
    if model.space_id is None:
        return None
    private = model.private or bool(is_private(HfApi(), model))
    wanted = Publication(model.space_id, private, overwrite=model.overwrite, kind="space")
    fingerprint = run.read(RUN_FILE).get(FINGERPRINT)
    return check_access(wanted, space_metadata(run, model.repo_id), fingerprint)


def push_space(run: RunFolder, model: Publication, commit: str, space: Publication) -> CommitInfo:
    """Publish the demo in one commit, once the model is there; see `Publication.upload`.

    Args:
        commit: the model's, which the page will read.

    Raises:
        InputError: as `Publication.push`.
    """

    def upload() -> CommitInfo:
        private = bool(is_private(HfApi(), model))  # the account may make every repository private
        if private:
            say(f"{model.repo_id} is private, and so is its demo, which reads public models only.")
        if private and is_private(HfApi(), space) is False:
            raise InputError(f"{model.repo_id} is private and {space.repo_id} is public; make both the same.")
        with TemporaryDirectory() as folder:
            write_space(run, Path(folder), model.repo_id, commit)
            return space._replace(private=private or space.private).upload(
                Path(folder), SPACE_FILES, run.read(RUN_FILE).get(FINGERPRINT), f"The demo of {model.repo_id}"
            )

    again = model._replace(tag=None).command(run)  # the commit has its tag by now
    done = explained(upload, space.repo_id, run, f"{model.repo_id} is published, its demo is not", again)
    record = run.read(RUN_FILE)
    write_json(run.path / RUN_FILE, record | {DEMOS: record.get(DEMOS, {}) | {model.repo_id: space.repo_id}})
    return done


def demo_url(space: Publication) -> str:
    """The address of a demo's page on the Hub."""
    return f"{constants.ENDPOINT}/spaces/{space.repo_id}"


def published_space(run: RunFolder, model: Publication) -> str | None:
    """The demo that an earlier push of `run` has published beside `model`, if it is still there.

    Raises:
        InputError: the Hub does not say.
    """
    space_id = run.read(RUN_FILE).get(DEMOS, {}).get(model.repo_id)
    known = space_id and is_private(HfApi(), Publication(space_id, kind="space")) is not None
    return space_id if known else None


def write_space(run: RunFolder, folder: Path, model: str, commit: str) -> None:
    """Write all files of the Space, `SPACE_FILES`, into `folder`."""
    endpoint = constants.ENDPOINT
    write_page(
        folder,
        page_config(run, model, commit, f"{endpoint}/"),
        MODEL_HOSTS if endpoint in MODEL_HOSTS.split() else endpoint,
    )
    link = f"[{model}]({endpoint}/{model})"
    text = f"---\n{space_metadata(run, model)}\n---\n\nThe demo of {link}, which runs in its reader's browser.\n"
    write_text(folder / "README.md", text)


def write_page(folder: Path, config: dict[str, Any], hosts: str) -> None:
    """Write the page and its config.json.

    Args:
        hosts: where the page may fetch the model from, as a source list of its Content-Security-Policy.
    """
    for name in PAGE_FILES:
        content = (PAGE / name).read_text(encoding="utf-8")
        write_text(folder / name, content.replace(MODEL_HOSTS, hosts) if name == "index.html" else content)
    write_json(folder / CONFIG_FILE, config)


def page_config(
    run: RunFolder, model: str, revision: str, host: str, code: str = CODE_HOST, dtype: str = "q8"
) -> dict[str, Any]:
    """What the page knows of a run.

    Args:
        model, revision, host: the page fetches the model's files from `{host}{model}/resolve/{revision}/`.
        code: where it fetches transformers.js, below which npm's packages lie.
        dtype: which ONNX file, a key of `DTYPES`.
    """
    record, results = run.read(RUN_FILE), run.read(RESULTS_FILE)
    dataset, split = record["dataset"], reported_split(results)
    labels = list(run.read(THRESHOLDS_FILE)["thresholds"])
    name = "test" if split == "test" else "validation"
    files = (ONNX_FILES[DTYPES[dtype]], "tokenizer.json")
    return {
        "title": on_one_line(run_title(run)),
        "model": model,
        "revision": revision,
        "host": host,
        "code": code,
        "dtype": dtype,
        "bytes": sum((run.path / file).stat().st_size for file in files),
        "labels": labels,
        "scored": f"{dataset['rows'][name]:,} texts of {name}",
        "scores": [[title, results[f"{split}_{key}"]] for key, title in SCORES.items() if f"{split}_{key}" in results],
        "warnings": _warnings(record, labels),
        "examples": [{"title": item["example_title"], "text": item["text"]} for item in examples(record)],
    }


def space_metadata(run: RunFolder, model: str) -> str:
    """The YAML block of the Space's README.md, with the mark by which the Space is known to be this run's."""
    record = run.read(RUN_FILE)
    metadata = {
        "title": on_one_line(run_title(run)),
        "emoji": "💬",
        "colorFrom": "blue",
        "colorTo": "indigo",
        "sdk": "static",
        "pinned": False,
        "license": "apache-2.0",
        "short_description": "Labels for a text and why, in your browser",
        "models": [model],
    }
    if fingerprint := record.get(FINGERPRINT):
        metadata[FINGERPRINT] = fingerprint
    return yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=10**6).strip()


def _warnings(record: dict[str, Any], labels: list[str]) -> list[str]:
    """The card's warnings, in two sentences."""
    if record["dataset"]["name"] == "demo":
        first = "A demonstration, trained on a small hand-written corpus: not a classifier to be used."
    elif is_of_emotions(record, labels):
        first = "It reads the wording of a text, not the mental state of its author, and it is often wrong."
    else:
        first = "A label is a guess from the wording of a text, not a finding about its author, and it is often wrong."
    return [first, "It must not decide on hiring, policing, credit, health or access to anything."]
