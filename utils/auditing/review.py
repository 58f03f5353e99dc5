"""Suspects → report.html: one page, whole in itself, in which a person reviews them and saves corrections.csv.

Nothing is fetched, nothing sent: the page's policy allows its own script and style alone, by their digests, and no
network. Texts and label names are data in it, never HTML.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from utils.console import visible
from utils.data.corrections import needs_lists, read_labels
from utils.lines import counted

_PARTS = Path(__file__).parent
_POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


def review_page(suspects: Sequence[Mapping[str, Any]], names: Sequence[str], summary: Sequence[str], title: str) -> str:
    """The HTML of a page on which suspects are reviewed; see docs/audit.md for what it does.

    Args:
        suspects: the rows of suspects.csv, most suspicious first: one for each doubtful pair of row and label, by
            column, cells with labels as text or as lists of names, no value as None, nan or an empty text. Pairs of one
            row stand together, where the first of them stood.
        names: the dataset's label names.
        summary: sentences about what was found.
        title: of the page.

    Raises:
        KeyError, ValueError: a label is none of `names`.
    """
    items = _items(suspects, names)
    digest = hashlib.sha256(json.dumps([items, list(names)]).encode()).hexdigest()
    data = {"digest": digest, "lists": needs_lists(names), "names": list(names), "items": items}
    script, style = ((_PARTS / f"review.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    parts = {
        "policy": _POLICY.format(script=_source(script), style=_source(style)),
        "title": escape(visible(title)),
        "found": f"{counted(len(suspects), 'doubt')} in {counted(len(items), 'row')}",
        "summary": "".join(f"<li>{escape(visible(sentence))}</li>" for sentence in summary),
        # ASCII, so that no character means anything to anybody; and no `<`, so that nothing ends the element.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "script": script,
        "style": style,
    }
    template = (_PARTS / "review.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _source(content: str) -> str:
    """What a content security policy calls an element with this content."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _items(suspects: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The suspects by row of the dataset, labels as ids, `corrected` with all suspicions of the row taken as right."""
    ids = {name: index for index, name in enumerate(names)}

    def labels_in(cell: Any) -> list[int]:
        return [ids[name] for name in (read_labels(cell, names) if isinstance(cell, str | None) else cell)]

    items: dict[str, dict[str, Any]] = {}
    for suspect in suspects:
        given = labels_in(suspect["labels"])
        row = {"split": suspect["split"], "place": suspect["place"], "text": suspect["text"], "given": given}
        item = items.setdefault(
            json.dumps(row), {**row, "predicted": labels_in(suspect["predicted"]), "corrected": given, "doubts": []}
        )
        after = labels_in(suspect["corrected_labels"])
        left = [label for label in item["corrected"] if label in after or label not in given]
        item["corrected"] = left + [label for label in after if label not in given and label not in left]
        doubt = {"label": ids[suspect["label"]], "kind": suspect["kind"]}
        item["doubts"].append(doubt | {key: _number(suspect.get(key)) for key in ("score", "probability", "judge")})
    return list(items.values())


def _number(value: Any) -> float | None:
    number = math.nan if value is None or value == "" else float(value)
    return round(number, 6) if math.isfinite(number) else None
