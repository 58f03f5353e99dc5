"""What a job over many files keeps of itself, so that it can be started again: beside its output, or in another folder.

OUTPUT/data/…               a file with labels for each input file
OUTPUT/manifest.json        when all tasks are done: what they were made from, and the counts of their labels
OUTPUT/unclassified.jsonl   the rows that could not be classified, by file and line, where there are any
OUTPUT/README.md            the dataset's card, on the Hub
LOGS/manifest.json          what the tasks are made from; others are not added to them
LOGS/files.txt              the input files in the order in which they are dealt out
    LOGS/stamps.json            the same with their sizes and what tells a change
LOGS/completions/00007      task 7 is finished (datatrove's mark)
LOGS/reports/, failures/    what each task has counted, or why it failed
"""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from datatrove.io import DataFolder, get_datafolder
from huggingface_hub import create_bucket, create_repo
from jinja2 import Environment, StrictUndefined

from utils.console import InputError
from utils.data.rows import READERS, kind_of
from utils.hub_client import reason
from utils.inference.corpus import output_name, put_files
from utils.locks import hold

MANIFEST_FILE, FILES_FILE, STAMPS_FILE = "manifest.json", "files.txt", "stamps.json"
UNCLASSIFIED_FILE = "unclassified.jsonl"
CARD = Path(__file__).resolve().parents[2] / "dataset_card.md"
UNCOMPARED = ("packages", "input")  # other versions of packages are only said; the input is compared file by file
HUB_OWN = {".gitattributes"}  # what a new repository holds
# What tells a change of a file, as the file systems call it: the first that there is.
STAMPS = ("lfs", "blob_id", "xet_hash", "ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
         (10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"))  # fmt: skip


class Input:
    """The files of a folder or a URL, and a fingerprint of them: names, sizes, and what tells a change."""

    def __init__(self, place: str, pattern: str | None = None):
        """
        Raises:
            InputError: there is no such place, or nothing in it that can be read.
        """
        self.folder = _folder("input", place)
        is_file = self.folder.fs.isfile(self.folder.path)
        if is_file:
            self.folder = DataFolder(self.folder.fs._parent(self.folder.path), fs=self.folder.fs)
            found = {Path(place).name: self.folder.info(Path(place).name)}
        elif not self.folder.fs.exists(self.folder.path):
            raise InputError(f"--input {place}: there is no such folder.")
        else:
            found = self.folder.glob(f"**/{pattern}", detail=True) if pattern else self.folder.find("", detail=True)
        found = {name: info for name, info in sorted(found.items()) if info["type"] == "file"}
        usable = {name: info for name, info in found.items() if not _is_hidden(name) and _is_readable(name)}
        if not usable:
            raise InputError(
                f"--input {place} holds no file that is read{f' and matches {pattern}' if pattern else ''}; accepted: "
                f"{', '.join(READERS)}, the text formats also with .gz or .zst."
            )
        self.names = list(usable)
        self.others = len(found) - len(usable)
        self.bytes = sum(info["size"] or 0 for info in usable.values())
        self.stamps = [[name, info["size"], _stamp(info)] for name, info in usable.items()]
        self.sha256 = hashlib.sha256(json.dumps(self.stamps).encode()).hexdigest()


class CorpusFolder:
    """The output of a job over many files, and its logs."""

    def __init__(self, output: str, logs: str | None = None):
        self.place = output
        self.output = _folder("output", output)
        self.data = get_datafolder(f"{output.rstrip('/')}/data")
        self.logs = _folder("logging_dir", logs or f"{output.rstrip('/')}/logs")

    def claim(self) -> None:
        """Hold the job until it ends, where its logs are on a disk.

        Raises:
            InputError: another process holds it, the folder cannot be made, or it holds something else.
        """
        if self.output.is_local() and self.logs.is_local() and not self.logs.fs.exists(self.logs.path):
            self._require_room()  # before anything is made in a folder that may be somebody else's
        for folder in (self.output, self.logs):
            if folder.is_local():
                path = Path(folder.resolve_paths(""))
                try:
                    path.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise InputError(f"{path} cannot be made ({error.strerror}); give another place.") from error
        if self.logs.is_local():
            path = Path(self.logs.resolve_paths(""))
            hold(path.with_name(f"{path.name}.lock"), self.place)

    def begin(self, manifest: dict[str, Any], files: Input, output_format: str | None) -> str | None:
        """Store what the tasks are made from, or see that it is what an earlier start has stored.

        A file may have been mended since, as long as its task is not finished.

        Returns what a user should know about that.

        Raises:
            InputError: an earlier start was another job, something else is in the place, or two files would become one.
        """
        _require_distinct([(name, output_name(name, output_format)) for name in files.names])
        stored = self._read(MANIFEST_FILE)
        if stored is None:
            self._require_room()
            self._write(FILES_FILE, "".join(f"{name}\n" for name in files.names))
            self._write(STAMPS_FILE, json.dumps(files.stamps))
            self._write(MANIFEST_FILE, json.dumps(manifest, indent=2))
            return None
        for key, value in manifest.items():
            if key not in UNCOMPARED and stored.get(key) != value:
                change = "was another" if isinstance(value, dict) else f"was {stored.get(key)}, now it is {value}"
                raise InputError(
                    f"{self.place} holds the output of another job (its {key} {change}); run it as it was, or give "
                    "another --output."
                )
        self._require_same_files(files, manifest["tasks"])
        self._write(STAMPS_FILE, json.dumps(files.stamps))
        done = len(self.finished(manifest["tasks"]))
        others = [f"{name} {version}" for name, version in stored.get("packages", {}).items()
                  if manifest["packages"].get(name) != version]  # fmt: skip
        mixed = f" They were made with {', '.join(others)}." if others and done else ""
        return f"{done:,} of {manifest['tasks']:,} tasks were finished before.{mixed}"

    def finished(self, tasks: int) -> set[int]:
        """The tasks that are finished."""
        self.logs.fs.invalidate_cache()
        marks = self.logs.list_files("completions") if self.logs.isdir("completions") else []
        return {int(Path(mark).name) for mark in marks} & set(range(tasks))

    def summary(self, tasks: int) -> dict[str, Any]:
        """The reports of the finished tasks together."""
        total: dict[str, Any] = {"rows": 0, "unclassified": 0, "labels": Counter(), "problems": []}
        for rank in sorted(self.finished(tasks)):
            report = self._read(f"reports/{rank:05d}.json") or {}
            for key in ("rows", "unclassified", "problems"):
                total[key] += report.get(key, type(total[key])())
            total["labels"].update(report.get("labels", {}))
        return total

    def failures(self, tasks: int) -> dict[int, str]:
        """Why each unfinished task is none: the tasks that nobody has begun yet are not among them."""
        found = {rank: self._read(f"failures/{rank:05d}.json") for rank in set(range(tasks)) - self.finished(tasks)}
        return {rank: said["problem"] for rank, said in sorted(found.items()) if said}

    def forget_failures(self) -> None:
        """Those of an earlier start, whose tasks are tried again."""
        if self.logs.isdir("failures"):
            self.logs.rm("failures", recursive=True)

    def publish(self, manifest: dict[str, Any], summary: dict[str, Any]) -> None:
        """Write what belongs to the finished output, on the Hub in one commit."""
        counts = dict(summary["labels"].most_common())
        results = {"rows": summary["rows"], "unclassified": summary["unclassified"], "labels": counts}
        files: dict[str, Path | bytes] = {
            MANIFEST_FILE: (json.dumps(manifest | {"results": results}, indent=2) + "\n").encode()
        }
        if summary["problems"]:
            lines = [json.dumps(problem, ensure_ascii=False) + "\n" for problem in summary["problems"]]
            files[UNCLASSIFIED_FILE] = "".join(lines).encode("utf-8", "replace")
        if repo := self.hub_dataset():
            files["README.md"] = card(repo, manifest, results).encode()
        put_files(self.output, files, "What the labels were made from")

    def hub_dataset(self) -> str | None:
        """The id of the dataset on the Hub that the output is, as a whole; None where it is something else."""
        parts = self.output.path.strip("/").split("/")
        is_whole = on_hub(self.output) and parts[0] == "datasets" and len(parts) == 3
        return "/".join(parts[1:3]).split("@")[0] if is_whole else None

    def _require_same_files(self, files: Input, tasks: int) -> None:
        stored = self._read(STAMPS_FILE) or []
        if [name for name, *_ in stored] != files.names:
            raise InputError(
                f"{self.place} holds the output of another job (its input had {len(stored):,} files, now other "
                f"{len(files.names):,}); run it as it was, or give another --output."
            )
        done = self.finished(tasks)
        for index, (before, now) in enumerate(zip(stored, files.stamps, strict=True)):
            if before != now and index % tasks in done:
                raise InputError(
                    f"{now[0]} has changed since its task was finished; give another --output, where all is done anew."
                )

    def _write(self, name: str, content: str) -> None:
        with self.logs.open(name, "w", encoding="utf-8") as file:
            file.write(content)

    def _require_room(self) -> None:
        if not self.output.fs.exists(self.output.path):
            return
        logs = self.logs.path.rstrip("/")
        held = [
            name for name in self.output.list_files()
            if name not in HUB_OWN and not name.endswith(".lock")
            and not f"{self.output.path.rstrip('/')}/{name}".startswith(f"{logs}/")
        ]  # fmt: skip
        if held:
            shown = ", ".join(held[:3]) + ", …" * (len(held) > 3)
            raise InputError(
                f"--output {self.place} is not empty ({shown}), and the logs say nothing of an earlier start; give "
                "another place, or the --logging_dir of that start."
            )

    def _read(self, name: str) -> Any:
        try:
            with self.logs.open(name, "r", encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return None
        except ValueError:
            return None  # cut off by a kill; its task is not finished


def _folder(argument: str, place: str) -> DataFolder:
    try:
        folder = get_datafolder(place)
    except (ValueError, ImportError) as error:  # no such protocol, or its package is missing
        raise InputError(f"--{argument} {place} cannot be reached ({str(error).rstrip('.')}).") from error
    parts = folder.path.strip("/").split("/")
    if on_hub(folder) and len(parts) < (3 if parts[0] in ("datasets", "spaces", "models", "buckets") else 2):
        raise InputError(f"--{argument} {place} names no repository; accepted: hf://datasets/USER/NAME, for example.")
    return folder


def on_hub(folder: DataFolder) -> bool:
    """Whether a folder lies on the Hub."""
    protocol = folder.fs.protocol
    return "hf" in (protocol if isinstance(protocol, tuple | list) else (protocol,))


def make_repository(folder: DataFolder, private: bool) -> None:
    """Make the dataset or bucket that a folder on the Hub lies in, where there is none.

    Raises:
        InputError: it cannot be made.
    """
    if not on_hub(folder):
        return
    kind, *names = folder.path.strip("/").split("/")
    name = "/".join(names[:2]).split("@")[0]
    try:
        if kind == "buckets":
            create_bucket(name, private=private, exist_ok=True)
        else:
            create_repo(name, repo_type="dataset", private=private, exist_ok=True)
    except Exception as error:  # no token, no rights, no network: the sentence carries the client's reason
        raise InputError(f"{name} on the Hub cannot be made ({reason(error)}).") from error
    folder.fs.invalidate_cache()


def card(repo: str, manifest: dict[str, Any], results: dict[str, Any]) -> str:
    """The dataset's card."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    model = manifest["model"]
    rows = results["rows"]
    return environment.from_string(CARD.read_text(encoding="utf-8")).render(
        title=repo.split("/")[-1],
        rows=max(rows, 1),
        rows_size=next((size for limit, size in SIZES if rows < limit), None),
        data_files="data/**",
        model_id=model["name"] if model["revision"] else None,
        revision=model["revision"],
        precision=manifest["precision"],
        all_scores=manifest["all_scores"],
        neutral_alone=manifest["neutral_alone"],
        unclassified=results["unclassified"],
        labels=[(_plain(label), count) for label, count in results["labels"].items()],
    )


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _require_distinct(names: list[tuple[str, str]]) -> None:
    sources: dict[str, str] = {}
    for source, name in names:
        if name in sources:
            raise InputError(
                f"{sources[name]} and {source} would both become {name}; give them different names, or keep their "
                "formats (no --output_format)."
            )
        sources[name] = source


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.split("/"))


def _is_readable(name: str) -> bool:
    return kind_of(Path(name))[0] in READERS


def _stamp(info: dict[str, Any]) -> str | None:
    return next((str(info[key]) for key in STAMPS if info.get(key)), None)
