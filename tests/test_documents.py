"""What the documentation names is there: links, files, targets of make; its commands parse, and those marked run.

A block of commands below the line `<!-- runs -->` is run here, with a tiny model and files of the names that it reads.
"""

import argparse
import ast
import gzip
import importlib
import itertools
import os
import re
import runpy
import shlex
import shutil
import sys

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from conftest import DEMO_FOLDER, ROOT
from huggingface_hub.cli.hf import app as hf
from markdown_it import MarkdownIt

import run_corpus
from utils import arguments
from utils.console import InputError

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("recipes/**/*.md"), *ROOT.glob("data/**/*.md"),
     *ROOT.glob("space/*.html")]
)  # fmt: skip
TEMPLATES = ("model_card.md", "dataset_card.md")
# Code within a sentence that is a command.
OF_A_LINE = re.compile(r"python -m benchmarks|make \w|hf \w|(\S*python|accelerate) .*run_|run_\w+\.py -")
MARK = "<!-- runs -->"
_QUOTED = 0xE000  # where signs stand that mean something to the shell, and are quoted
NAMED = re.compile(
    r"(?:utils|tests|docs|recipes|benchmarks|data|space|metrics)/[\w./-]*\w|[\w-]+\.(?:py|md|yaml|txt|toml|cff)"
)
MADE = re.compile(
    r"recipe\.yaml|labels\.txt|emotions\.txt|my_\w+(?:\.yaml)?|README\.md|vocab\.txt|comments\.txt"
)  # by runs and users


class Parsed(BaseException):
    """A command's arguments were understood: nothing more is to be done with it."""


def shown(path):
    return str(path.relative_to(ROOT))


def slug(title):
    """What GitHub calls the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"`|\*|\[([^]]*)\]\([^)]*\)", r"\1", title).lower()).replace(" ", "-")


def anchors(path):
    tokens = MarkdownIt().parse(path.read_text(encoding="utf-8"))
    return {slug(tokens[i + 1].content) for i, token in enumerate(tokens) if token.type == "heading_open"}


def links(path):
    for token in MarkdownIt().enable("table").parse(path.read_text(encoding="utf-8")):
        for child in token.children or []:
            if target := child.attrGet("href") or child.attrGet("src"):
                yield str(target)


def inline_code(path):
    for token in MarkdownIt().enable("table").parse(path.read_text(encoding="utf-8")):
        yield from (" ".join(child.content.split()) for child in token.children or [] if child.type == "code_inline")


def blocks(path, marked=False):
    """The shell's part of blocks of commands, joined where a line goes on in the next one."""
    text = path.read_text(encoding="utf-8")
    for token in MarkdownIt().parse(text):
        if token.type == "fence" and token.info in ("bash", "console", "sh"):
            lines = text.splitlines()[: token.map[0]]
            above = next((line for line in reversed(lines) if line.strip()), "")
            if marked and above.strip() != MARK:
                continue
            content = token.content
            if token.info == "console":
                content = typed(content)
            yield content


def typed(session):
    """What was typed in a terminal, without what was answered."""
    commands, current = [], None
    for line in session.splitlines():
        if current is not None:
            current += f"\n{line}"
        elif line.startswith("$ "):
            current = line[2:]
        if current is not None:
            try:
                shlex.split(current)
            except ValueError:  # a quotation goes on
                continue
            if not current.endswith("\\"):
                commands, current = [*commands, current], None
    return "\n".join(commands)


def split(text):
    """The pieces of each command in a text for the shell, without what goes in and out of it."""
    text = re.sub(r"(^|\s)#\s.*$", "", text.replace("\\\n", " "), flags=re.M)
    text = re.sub("""(['"])([|&;<>])\\1""", lambda found: f"'{chr(ord(found[2]) + _QUOTED)}'", text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    pieces, commands, skipped = [], [], False
    for token in lexer:
        if not token.strip("|&;\n"):
            commands, pieces = [*commands, pieces], []
        elif not token.strip("<>"):
            skipped = True
        elif skipped:
            skipped = False
        elif pieces or not re.fullmatch(r"[A-Z_]+=.*", token):  # what the environment of the command is
            pieces.append(re.sub("[\ue000-\ue0ff]", lambda found: chr(ord(found[0]) - _QUOTED), token))
    return [pieces for pieces in (*commands, pieces) if pieces]


def in_a_comment(text):
    """The commands in the comments of a recipe."""
    comment = "\n".join(line[1:].strip() for line in text.splitlines() if line.startswith("#"))
    return re.findall(r"^((?:python|accelerate launch) (?:.*\\\n)*.*)", comment, re.M)


def commands():
    """Every command that is named anywhere: where, its pieces, and whether it is mentioned within a sentence."""
    found = []
    for path in DOCUMENTS:
        if path.name in TEMPLATES or path.parent.name == "minilm":  # cards of runs: see test_card.py
            continue
        in_blocks = list(blocks(path))
        found += [(path, text, False) for text in in_blocks]
        found += [(path, code, True) for code in inline_code(path) if OF_A_LINE.match(code)]
    for path in ROOT.glob("recipes/**/*.yaml"):
        found += [(path, command, False) for command in in_a_comment(path.read_text(encoding="utf-8"))]
    for path in ROOT.glob("run_*.py"):
        examples = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").replace("\\\n", " ")
        lines = [line for line in examples.splitlines() if re.match(" {4}(python|accelerate|cat) ", line)]
        found += [(path, line, False) for line in lines]
    return [(path, pieces, mentioned) for path, text, mentioned in found for pieces in split(text)]


# --- links and names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.suffix == ".md"], ids=shown)
def test_links_lead_somewhere(path):
    missing = []
    for target in links(path):
        if re.match(r"[a-z]+:", target) or "%7B%7B" in target or "{{" in target:
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        if not place.exists() or (anchor and anchor not in anchors(place)):
            missing.append(target)
    assert not missing


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.suffix == ".md"], ids=shown)
def test_files_that_are_named_are_there(path):
    names = {path.name for path in ROOT.rglob("*") if ".venv" not in path.parts and "node_modules" not in path.parts}
    missing = []
    for code in inline_code(path):
        if NAMED.fullmatch(code) and not code.endswith(".parquet") and not MADE.fullmatch(code.rsplit("/")[-1]):
            at = [(folder / code).exists() for folder in (ROOT, path.parent, ROOT / "recipes", ROOT / "docs")]
            if not any(at) and ("/" in code or code not in names):
                missing.append(code)
    assert not missing


def test_every_room_that_the_readme_names_is_there():
    tree = re.search(r"```\n(run_baseline\.py.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names = {path.name for path in ROOT.rglob("*") if ".venv" not in path.parts}
    listed = re.findall(r"^ *([\w.*]+[/\w.]*)  ", tree[1], re.M) if tree else []
    assert not [name for name in listed if name.rstrip("/").rsplit("/")[-1] not in names]


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def understood(monkeypatch):
    """Says of a command's pieces what is wrong with them; None: its own parser understands them."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    known = argparse.ArgumentParser.parse_args

    def parse_args(parser, args=None, namespace=None):
        known(parser, args, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    whole = arguments.parse_arguments

    def parse_arguments(*given, **options):
        whole(*given, **options)
        raise Parsed

    monkeypatch.setattr(arguments, "parse_arguments", parse_arguments)
    monkeypatch.setattr(run_corpus, "place_problems", lambda args: [])
    parse_corpus = run_corpus.parse

    def parse(argv):
        parse_corpus(argv)
        raise Parsed

    monkeypatch.setattr(run_corpus, "parse", parse)
    is_mention = False  # within a sentence, where what is always needed may be left out
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))

    def run(action):
        try:
            action()
        except Parsed:
            return None
        except SystemExit as end:
            return f"it ended with status {end.code}" if end.code and not is_mention else None
        except InputError as error:
            # Packages that are not for everybody, and a folder that an example writes.
            absent = re.search(r"needs a package that is missing|has no login", str(error))
            mention = is_mention and re.search(r"arguments are required|expected one argument", str(error))
            return None if absent or mention else str(error)
        return "its arguments were not parsed"

    def script(name, values):
        if "…" in values or any("…" in value for value in values):
            return None if (ROOT / name).is_file() else f"there is no {name}"
        at = values.index("--config") if "--config" in values else None
        if at is not None and values[at + 1].startswith("outputs/"):  # a recipe that the command before has written
            values = values[:at] + values[at + 2 :]
        return run(lambda: importlib.import_module(name.removesuffix(".py")).main(values))

    def launch(values):
        at = next(index for index, value in enumerate(values) if value.endswith(".py"))
        args, unknown = launch_command_parser().parse_known_args(values[: at + 1])
        if args.config_file and not (ROOT / args.config_file).is_file():
            return f"there is no {args.config_file}"
        return f"accelerate does not know {unknown}" if unknown else script(values[at], values[at + 1 :])

    def module(name, values):
        if not name.startswith(("benchmarks.", "utils.")) or "NAME" in name:
            return None
        if not (ROOT / f"{name.replace('.', '/')}.py").is_file():
            return f"there is no {name}"
        if any("…" in value for value in values):
            return None
        monkeypatch.setattr(sys, "argv", [name, *values])
        monkeypatch.delitem(sys.modules, name, raising=False)
        return run(lambda: runpy.run_module(name, run_name="__main__"))

    def client(values):
        """The Hub's own command line; nothing is sent."""
        command, values = hf, list(values)
        while hasattr(command, "get_command"):
            command = command.get_command(command.context_class(command), values.pop(0))
        if not command:
            return "hf has no such command"
        command = command.materialize() if hasattr(command, "materialize") else command
        try:
            context = command.make_context(command.name, values)
        except Exception as error:  # as click has them
            return f"hf: {error}"
        if str(context.params.get("image")).startswith("-"):  # what such a command does not know, it passes on
            return f"hf: {context.params['image']} is none of its options"
        inner = list(context.params.get("command") or [])
        if inner[:2] == ["bash", "-c"]:
            return "; ".join(filter(None, (check(pieces) for pieces in split(inner[2])))) or None
        return None

    def check(pieces, mentioned=False):
        nonlocal is_mention
        is_mention = mentioned
        first, *values = (re.sub(r"\$\w+", "1", piece) for piece in pieces)
        if re.match(r"run_\w+\.py$", first):
            return script(first, values)
        if first == "make":
            wrong = [value for value in values if "=" not in value and value not in targets]
            return f"make has no {wrong}" if wrong else None
        if first == "hf":
            return client(values)
        if first == "pip" or values[:2] == ["-m", "pip"]:
            files = [value for flag, value in itertools.pairwise(values) if flag in ("-r", "-c")]
            return f"there is no {files}" if not all((ROOT / file).is_file() for file in files) else None
        if first == "accelerate" and values[:1] == ["launch"]:
            return launch(values[1:])
        if re.fullmatch(r"\S*python[\d.]*", first) and values:
            if values[0] == "-m":
                return module(values[1], values[2:])
            if values[0].endswith(".py"):
                name = os.path.basename(values[0])
                return script(name, values[1:]) if name.startswith("run_") else (
                    None if (ROOT / values[0]).is_file() else f"there is no {values[0]}"
                )  # fmt: skip
        return None

    return check


def test_every_command_is_one_that_its_script_understands(understood):
    found = commands()
    assert len(found) > 60
    wrong = [
        f"{shown(path)}: {shlex.join(pieces)}: {fault}"
        for path, pieces, mentioned in found
        if (fault := understood(pieces, mentioned))
    ]
    assert not wrong, "\n".join(wrong)
    assert understood(["python", "run_finetune.py", "--learning_rte", "1"])
    assert understood(["python", "-m", "benchmarks.no_such", "outputs/minilm"])
    assert understood(["make", "coffee"])
    assert understood(["hf", "jobs", "run", "--flavour", "t4-small", "python:3.11", "true"])
    assert understood(["accelerate", "launch", "--num_procs", "2", "run_finetune.py"])


@pytest.fixture
def workplace(tmp_path, monkeypatch, finished_run, baseline_run, tiny_bert, small_data):
    """A folder with the files and runs that the documentation speaks of, small, and recipes that train in a moment."""
    own_files = shutil.ignore_patterns("checkpoints", "logs")
    for name in ("quickstart", "minilm", "bert_base"):
        shutil.copytree(finished_run, tmp_path / "outputs" / name, ignore=own_files)
    for name in ("baseline", "quickstart_baseline"):
        shutil.copytree(baseline_run, tmp_path / "outputs" / name, ignore=own_files)
    for path in ROOT.glob("recipes/**/*.yaml"):
        (tmp_path / "recipes" / path.relative_to(ROOT / "recipes")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    small = {"dataset_name": str(small_data), "max_train_samples": None, "max_eval_samples": None}
    tiny = {"model_name_or_path": str(tiny_bert), "num_train_epochs": 1, "precision": "fp32", "export_onnx": False}
    for path in (tmp_path / "recipes").glob("*.yaml"):
        recipe = yaml.safe_load(path.read_text()) | small | (tiny if path.stem != "baseline" else {})
        recipe.pop("teacher", None)
        path.write_text(yaml.safe_dump(recipe))
    shutil.copytree(small_data, tmp_path / "my_folder")
    texts = (DEMO_FOLDER / "validation.csv").read_text(encoding="utf-8")
    (tmp_path / "comments.csv").write_text(texts, encoding="utf-8")
    (tmp_path / "comments.csv.gz").write_bytes(gzip.compress(texts.encode()))
    (tmp_path / "comments").mkdir()
    (tmp_path / "comments" / "a.csv").write_text(texts, encoding="utf-8")
    tickets = [("charged twice, please pay back", "billing,refund"), ("where is my parcel", "delivery")] * 40
    lines = [f"{number};{text} {number};{tags}" for number, (text, tags) in enumerate(tickets)]
    (tmp_path / "tickets.csv").write_text("\n".join(["id;message;tags", *lines]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return tmp_path


def test_commands_that_are_marked_run(workplace):
    """In the order in which they stand; a launcher's are run without it."""
    marked = [(path, pieces) for path in DOCUMENTS for block in blocks(path, marked=True) for pieces in split(block)]
    assert marked
    for path, pieces in marked:
        at = next((index for index, piece in enumerate(pieces) if re.match(r"run_\w+\.py$", piece)), None)
        assert at is not None, f"{shown(path)}: {shlex.join(pieces)} is marked to be run, and no script of this project"
        importlib.import_module(pieces[at].removesuffix(".py")).main(pieces[at + 1 :])
