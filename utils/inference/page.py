"""Rows with their labels and the words that moved them → a page of HTML, whole in itself: no script, nothing fetched.

Every text and name from outside is escaped. The signs stand beside the colours, which follow the reader's light or dark
setting. The page can be written in pieces: HTML needs no end of `main`, `body` and `html`.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from utils.console import visible
from utils.inference.marked import pieces, signed, sum_of

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Which words moved the labels</title>
<style>
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --soft: #595959; --line: #d4d4d4;
  --plus: 30 110 220; --minus: 225 105 0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --paper: #15171a; --soft: #a8a8a8; --line: #3a3d42; --plus: 70 140 255; --minus: 240 120 20; }
}
body { margin: 0 auto; max-width: 46rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.7 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; line-height: 1.3; }
article { border-top: 1px solid var(--line); padding: .75rem 0; }
article > p { margin: .25rem 0; white-space: pre-wrap; }
h2 { font-size: 1rem; margin: .75rem 0 0; }
h2 small, .sum, .about { color: var(--soft); font-weight: normal; font-size: .85rem; }
.text { font-weight: 600; }
.plus, .minus { border-radius: .2rem; padding: .05rem .1rem; }
.plus { background: rgb(var(--plus) / calc(var(--share) * .4)); }
.minus { background: rgb(var(--minus) / calc(var(--share) * .4)); }
sup { font-size: .7rem; line-height: 0; }
</style>
</head>
<body>
<main>
<h1>Which words moved the labels</h1>
<p class="about">The figure at a word says how far the label's log-odds fall (+) or rise (−) when that word alone is
left out: +0.7 is twice the odds. Words also work together, which no single figure shows; the line below each label has
that part. Figures say what the model reads in a text, not what its author felt.</p>
"""


def page_of(rows: Sequence[Mapping[str, Any]], text_column: str, first: bool = True) -> str:
    """The HTML of some rows, with the head of the page where they are its `first`.

    Args:
        rows: each with its text, `labels`, `scores` and `words`.
    """
    return (HEAD if first else "") + "".join([_article(row, text_column) for row in rows])


def _article(row: Mapping[str, Any], text_column: str) -> str:
    text = row.get(text_column)
    text = text if isinstance(text, str) else ""
    scores = dict(zip(row["labels"], row["scores"], strict=True))
    parts = [f'<article>\n<p class="text" dir="auto">{_shown(text)}</p>\n']
    if not scores:
        parts.append('<p class="sum">no label</p>\n')
    for cell in row["words"]:
        label = cell["label"]
        score = f" <small>{scores[label]:.3f}</small>" if label in scores else " <small>not among its labels</small>"
        parts.append(f'<h2><bdi>{_shown(label)}</bdi>{score}</h2>\n<p dir="auto">{_marked(text, cell)}</p>\n')
        parts.append(f'<p class="sum">{sum_of(cell)}</p>\n')
    return "".join([*parts, "</article>\n"])


def _marked(text: str, cell: Mapping[str, Any]) -> str:
    parts = []
    for piece in pieces(text, cell["words"]):
        shown = _shown(piece.text)
        if piece.share:
            kind = "plus" if piece.share > 0 else "minus"
            figure = f"<sup>{signed(piece.contribution)}</sup>"
            shown = f'<span class="{kind}" style="--share: {abs(piece.share):.2f}">{shown}{figure}</span>'
        parts.append(shown)
    return "".join(parts)


def _shown(text: str) -> str:
    return escape(visible(text))
