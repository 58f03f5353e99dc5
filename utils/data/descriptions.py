"""What each label means, in words: GoEmotions' own, those of a file, or the labels' names."""

from collections.abc import Sequence

from utils.console import InputError, say
from utils.data.labels import on_one_line
from utils.flat_yaml import TextLoader, read_flat
from utils.lines import shortened

# In other words, what the paper's raters were told of each emotion (Demszky et al., 2020, appendix A).
GO_EMOTIONS_DESCRIPTIONS = {
    "admiration": "respect, finding it impressive",
    "amusement": "laughing, finding it funny",
    "anger": "rage, strong displeasure",
    "annoyance": "mildly angry, irritated",
    "approval": "agreeing, a good opinion of it",
    "caring": "kindness, concern for another",
    "confusion": "not understanding, unsure",
    "curiosity": "wanting to know or learn",
    "desire": "wishing for something",
    "disappointment": "hopes that were not fulfilled",
    "disapproval": "disagreeing, a bad opinion of it",
    "disgust": "revolted by something gross",
    "embarrassment": "ashamed, awkward",
    "excitement": "thrilled and eager",
    "fear": "afraid, scared",
    "gratitude": "thankful, appreciating",
    "grief": "mourning somebody's death",
    "joy": "happy, delighted",
    "love": "strong affection",
    "nervousness": "anxious, worried",
    "optimism": "hopeful about the future",
    "pride": "proud of what one has achieved",
    "realization": "becoming aware of something",
    "relief": "reassured, the worry is over",
    "remorse": "sorry, feeling guilty",
    "sadness": "unhappy, sorrow",
    "surprise": "astonished by the unexpected",
    "neutral": "no emotion",
}


def read_descriptions(source: str | None, names: Sequence[str]) -> list[str] | None:
    """A sentence about each label, in the order of `names`: the name and, unless it stands alone, what it means.

    Says what the first one is.

    Args:
        source: `names` for the names alone, `go_emotions`, or a YAML file of `label: description` lines; None for none.

    Raises:
        InputError: a label is not described, or the file is no such file.
    """
    if source is None:
        return None
    written = [_written_out(name) for name in names]
    if source != "names":
        meanings = _meanings(source, names)
        written = [f"{name}: {meaning}" for name, meaning in zip(written, meanings, strict=True)]
    say(f"The classifier starts at what the labels mean: {shortened(on_one_line(written[0]), 60)!r}, …")
    return written


def _meanings(source: str, names: Sequence[str]) -> list[str]:
    option = "--label_descriptions"
    described = GO_EMOTIONS_DESCRIPTIONS if source == "go_emotions" else read_flat(source, option, TextLoader)
    meanings = {name: text for name, text in described.items() if isinstance(text, str) and text.strip()}
    if missing := [name for name in names if name not in meanings]:
        others = [name for name in meanings if name not in names]
        known = f"it describes {', '.join(map(on_one_line, others[:5]))} instead; " if others else ""
        raise InputError(
            f"{option} {source} does not describe {', '.join(map(on_one_line, missing[:5]))}"
            f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}; {known}accepted: a YAML file with a line "
            "`label: description` for each label, `go_emotions`, or `names` for the names alone."
        )
    return [" ".join(meanings[name].split()) for name in names]


def _written_out(name: str) -> str:
    return name.replace("_", " ")
