"""Checkpoints that are known to be whole, and know what they have learned from.

A kill while one is written never costs more than that one, and a run is never resumed with other labels or rates.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.arguments import DataArguments, FinetuneArguments, ModelArguments, decisive
from utils.console import InputError, say
from utils.model.classifiers import model_files
from utils.run_folder import CHECKPOINTS, CONFIG_FILE, STATE_FILE, RunFolder, digest, read_json, write_json
from utils.training.distillation import out_of_fold_file

COMPLETE_FILE = "complete.json"  # written last; lists the checkpoint's files with their sizes
ORIGIN_FILE = "learned_from.json"  # what `learned_from` returned


def mark_whole(checkpoint: Path, origin: Mapping[str, Any] | None = None) -> None:
    """Note in the checkpoint what it has `learned_from`, where that is known, and that all of it has been written."""
    if origin is not None:
        write_json(checkpoint / ORIGIN_FILE, origin)
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in checkpoint.rglob("*")
             if path.is_file() and path.name != COMPLETE_FILE}  # fmt: skip
    write_json(checkpoint / COMPLETE_FILE, sizes)


def is_whole(checkpoint: Path) -> bool:
    """True if every file stands in the checkpoint at the size it was written with."""
    try:
        sizes = json.loads((checkpoint / COMPLETE_FILE).read_text())
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def find_checkpoint(resume: str | None, run: RunFolder) -> str | None:
    """The checkpoint that `--resume_from_checkpoint` means: a path, or the newest complete one of this run.

    Raises:
        InputError: there is none, or the one at the path is incomplete, or does not say how far it is.
    """
    if resume is None or str(resume).lower() in ("false", "none"):
        return None
    if str(resume).lower() != "true":
        if not (Path(resume) / STATE_FILE).is_file():
            raise InputError(f"--resume_from_checkpoint {resume}: not a checkpoint folder (it has no {STATE_FILE}).")
        if (Path(resume) / COMPLETE_FILE).is_file() and not is_whole(Path(resume)):
            raise InputError(f"--resume_from_checkpoint {resume}: the checkpoint is incomplete; give another one.")
        return _readable(Path(resume))
    folder = run.path / CHECKPOINTS
    numbered = [(int(match[1]), path) for path in folder.glob("checkpoint-*")
                if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))]  # fmt: skip
    for _, path in sorted(numbered, reverse=True):
        if is_whole(path):
            return _readable(path)
        say(f"{path} is incomplete (the run was stopped while writing it); it is passed over.")
    raise InputError(
        f"--resume_from_checkpoint: {folder} holds no complete checkpoint; give its path, or start the run again with "
        "--overwrite_output_dir."
    )


def _readable(checkpoint: Path) -> str:
    if not isinstance(read_json(checkpoint / STATE_FILE).get("global_step"), int):
        raise InputError(f"{checkpoint / STATE_FILE} has no global_step; a checkpoint's has. Give another checkpoint.")
    return str(checkpoint)


def learned_from(
    dataset: Mapping[str, Any],
    names: Sequence[str],
    model_path: str,
    base_model: str | None,
    data_args: DataArguments,
    model_args: ModelArguments,
    args: FinetuneArguments,
    descriptions: Sequence[str] | None = None,
    unlabelled: Sequence[str] = (),
) -> dict[str, Any]:
    """All that decides what a run learns, by name, as its checkpoints keep it.

    Data and models are known by their content, wherever they lie; models on the Hub by their id.

    Args:
        dataset: its `name` and `sha256`, and the files of its `corrections`; see `utils.data.splits.describe`.
        names: label names.
        model_path, base_model: see `utils.model.loading.resolve_model`.
        descriptions: of the labels, see `utils.data.descriptions.read_descriptions`.
        unlabelled: texts without labels, see `utils.data.unlabelled.read_unlabelled`.
    """
    described = model_args.label_descriptions
    more = ", ".join(args.unlabelled_file or ())
    return {
        "dataset": known_data(dataset),
        "label_names": list(names),
        "model_name_or_path": {"name": base_model} if base_model else identity(model_path),
        **decisive(data_args, model_args, args),
        "label_descriptions": {"name": described, "sha256": digest(descriptions)} if described else None,
        "teacher": [identity(teacher) for teacher in args.teacher or []],
        "unlabelled_file": {"name": more, "sha256": digest(unlabelled)} if unlabelled else None,
    }


def known_data(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Of what `describe` says of a dataset: what it is known by, and called, where origins are compared."""
    data = {"name": dataset["name"], "sha256": dataset["sha256"]}
    if "corrections" in dataset:
        data["corrections"] = [entry["file"] for entry in dataset["corrections"]]
    return data


def fingerprint(origin: Mapping[str, Any]) -> str:
    """A digest of `learned_from`, equal for runs that learn the same: wherever data and models lie, however long."""
    return digest({name: _compared(value) for name, value in origin.items()})


def require_same_origin(checkpoint: str | None, origin: Mapping[str, Any]) -> None:
    """Raise `InputError` if `checkpoint` has learned from something else than `origin`, naming all that differs.

    Of a checkpoint that an earlier version wrote, only the label names are known.
    """
    if checkpoint is None:
        return
    folder = Path(checkpoint)
    if (folder / ORIGIN_FILE).is_file():
        then = read_json(folder / ORIGIN_FILE)
    else:
        say(f"{folder} was written by an earlier version, which did not note what it has learned from; it is trusted.")
        kept = read_json(folder / CONFIG_FILE).get("id2label") if (folder / CONFIG_FILE).is_file() else None
        then = {"label_names": [kept[index] for index in sorted(kept, key=int)]} if kept else {}
    if differing := differences(then, origin):
        raise InputError(
            f"--resume_from_checkpoint {folder}: it has learned from something else ("
            f"{'; '.join(differing)}); resume it with what it was started with, or start another run."
        )


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What to say of the values that two origins both have and that differ; see `learned_from`."""
    now = json.loads(json.dumps(now, default=str))
    return [said for name in now if name in then and (said := _difference(name, then[name], now[name]))]


def _difference(name: str, then: Any, now: Any) -> str | None:
    """What to say of a name's two values; None where both mean the same."""
    if _compared(then) == _compared(now):
        return None
    if isinstance(then, list) and isinstance(now, list):
        if len(then) != len(now):
            return f"{name}: {len(then)} then ({_shown(then)}), {len(now)} now ({_shown(now)})"
        then, now = next(pair for pair in zip(then, now, strict=True) if _compared(pair[0]) != _compared(pair[1]))
    return f"{name} {_shown(then)} then, {_shown(now)} now"


def _compared(value: Any) -> Any:
    """What a value is known by: data and models by their digest, where there is one."""
    if isinstance(value, list):
        return [_compared(item) for item in value]
    return value.get("sha256", value["name"]) if _is_identity(value) else value


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join([_shown(item) for item in value[:3]] + ["…"] * (len(value) > 3)) or "none"
    if _is_identity(value):
        name = " with ".join([value["name"], *value.get("corrections", ())])
        return f"{name} (sha256 {value['sha256'][:8]}…)" if "sha256" in value else name
    return str(value)


def _is_identity(value: Any) -> bool:
    return isinstance(value, dict) and "name" in value


def identity(name: str) -> dict[str, str]:
    """Of a model: its name, and in a folder, wherever that lies, a digest of the files that decide what it answers.

    Of an audit that teaches, the same.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return {"name": name}
    digest = hashlib.sha256()
    answers = [out_of_fold_file(folder)] if out_of_fold_file(folder).is_file() else []
    for path in [*model_files(folder, "torch", "fp32"), *sorted(folder.glob("pytorch_model*.bin")), *answers]:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return {"name": name, "sha256": digest.hexdigest()}
