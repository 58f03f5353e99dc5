"""The files of an audit: what was found, as tables for a spreadsheet, a page to review it, and a few sentences."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from datasets import Dataset

from utils.auditing.agreement import Score
from utils.auditing.findings import LIKELY, Findings
from utils.auditing.folder import (
    AGREEMENT_FILE,
    CONFUSED_FILE,
    LABELS_FILE,
    PROBABILITIES_FILE,
    REPORT_FILE,
    SUMMARY_FILE,
    SUSPECTS_FILE,
    digest_of,
)
from utils.auditing.review import review_page
from utils.auditing.suspects import Rate
from utils.data.corrections import labels_cell
from utils.evaluation.mistakes import confused_pairs
from utils.lines import counted
from utils.run_folder import whole_file, write_csv, write_json, write_text

REVIEWED = 1000  # suspects in report.html; suspects.csv has all
HARDLY_LEARNED = 0.3  # micro-F1 out of fold, below which suspicions say little
CONFUSED = 100  # pairs of labels in confused_labels.csv


def write_audit(
    folder: Path,
    rows: Dataset,
    names: Sequence[str],
    findings: Findings,
    sentences: Sequence[str],
    about: Mapping[str, Any],
) -> None:
    """Write all files; see `utils.auditing.folder`.

    Args:
        rows: with `text`, `split` and `place`, in the order of the matrices in `findings`.
        names: label names.
        sentences: see `summary`.
        about: what the audit was made of, for audit.json and the page's title.
    """
    suspects, found = suspects_table(rows, names, findings), findings
    (folder / SUMMARY_FILE).unlink(missing_ok=True)  # it is written last, and says that the others are whole
    write_csv(folder / SUSPECTS_FILE, suspects, SUSPECT_COLUMNS, for_spreadsheets=True)
    write_csv(folder / LABELS_FILE, labels_table(names, findings), for_spreadsheets=True)
    agreement = agreement_table(rows, names, findings)
    write_csv(folder / AGREEMENT_FILE, agreement, AGREEMENT_COLUMNS, for_spreadsheets=True)
    decided = found.decided.astype(np.float32)
    pairs = confused_pairs(names, found.gold, decided, np.full(len(names), 0.5), CONFUSED)
    write_csv(folder / CONFUSED_FILE, pairs, ("gold", "predicted", "rows", "share"), for_spreadsheets=True)
    _write_probabilities(folder / PROBABILITIES_FILE, rows, names, findings)
    page = review_page(suspects[:REVIEWED], names, sentences, f"Labels in doubt: {about['dataset']['name']}")
    write_text(folder / REPORT_FILE, page)
    agreed = found.agreement
    summed = {
        "rows": dict(zip(*(part.tolist() for part in np.unique(rows["split"], return_counts=True)), strict=True)),
        "out_of_fold": found.f1,
        "likely_errors": sum(suspect.score >= LIKELY for suspect in found.suspects),
        "listed": len(suspects),
        "suspects_sha256": digest_of(folder / SUSPECTS_FILE),
        "agreement": {
            "texts": agreed.texts,
            "rows": agreed.rows,
            "equal": None if np.isnan(agreed.equal) else agreed.equal,
            "copies": {name: score._asdict() for name, score in agreed.copies.items()},
            "model": {name: score._asdict() for name, score in agreed.model.items()},
            "best": {name: score._asdict() for name, score in agreed.best.items()},
        },
    }
    write_json(folder / SUMMARY_FILE, {**about, **summed})


SUSPECT_COLUMNS = (
    "split", "place", "text", "labels", "label", "kind", "score", "probability", "judge", "predicted",
    "corrected_labels",
)  # fmt: skip
AGREEMENT_COLUMNS = ("text", "copies", "different", "split", "place", "labels", "predicted")


def suspects_table(rows: Dataset, names: Sequence[str], findings: Findings) -> list[dict[str, Any]]:
    """One entry for each suspect, likeliest errors first; `SUSPECT_COLUMNS`.

    `corrected_labels` is what becomes of the row's labels if the suspicion is right: a wrong label goes, and where none
    is left, those that the model gives take its place.
    """
    texts, places, split = rows["text"], rows["place"], rows["split"]
    opinions = list(findings.opinions.values())
    table = []
    for row, label, score in findings.suspects:
        given = findings.gold[row] > 0
        corrected = given.copy()
        corrected[label] = not given[label]
        if not corrected.any():
            corrected = findings.decided[row].copy()
            corrected[label] = False
            if not corrected.any():
                others = np.where(np.arange(len(names)) == label, -1, findings.probabilities[row])
                corrected[others.argmax()] = len(names) > 1
        heard = [says[row, label] for says in opinions if not np.isnan(says[row, label])]
        table.append(
            {
                "split": split[row],
                "place": places[row],
                "text": texts[row],
                "labels": _cell(given, names),
                "label": names[label],
                "kind": "wrong" if given[label] else "missing",
                "score": round(score, 4),
                "probability": round(float(findings.probabilities[row, label]), 4),
                "judge": round(float(np.mean(heard)), 4) if heard else "",
                "predicted": _cell(findings.decided[row], names),
                "corrected_labels": _cell(corrected, names),
            }
        )
    return table


def labels_table(names: Sequence[str], findings: Findings) -> list[dict[str, Any]]:
    """For each label: its rows, suspects, and estimated shares of wrong and missing ones with 95 % intervals."""
    kinds = np.zeros((len(names), 2), dtype=int)
    for row, label, _ in findings.suspects:
        kinds[label, int(findings.gold[row, label] > 0)] += 1
    table = []
    for label, (wrong, missing) in enumerate(findings.errors):
        entry = {"label": names[label], "rows": int(findings.gold[:, label].sum())}
        entry |= {"suspected_wrong": int(kinds[label, 1]), "suspected_missing": int(kinds[label, 0])}
        table.append(entry | _rate("wrong", wrong) | _rate("missing", missing))
    return table


def _rate(name: str, rate: Rate) -> dict[str, float]:
    return {name: round(rate.value, 4), f"{name}_ci_low": round(rate.low, 4), f"{name}_ci_high": round(rate.high, 4)}


def agreement_table(rows: Dataset, names: Sequence[str], findings: Findings) -> list[dict[str, Any]]:
    """Each copy of each text that stands several times, those with the most different labels first."""
    texts, places, split = rows["text"], rows["place"], rows["split"]
    counted = [(len(np.unique(findings.gold[copies], axis=0)), copies) for copies in findings.copies]
    return [
        {
            "text": texts[row],
            "copies": len(copies),
            "different": different,
            "split": split[row],
            "place": places[row],
            "labels": _cell(findings.gold[row] > 0, names),
            "predicted": _cell(findings.decided[row], names),
        }
        for different, copies in sorted(counted, key=lambda item: -item[0])
        for row in copies
    ]


def summary(names: Sequence[str], findings: Findings) -> list[str]:
    """What was found, in sentences."""
    gold = findings.gold
    suspects = [suspect for suspect in findings.suspects if suspect.score >= LIKELY]
    wrong = sum(bool(gold[row, label] > 0) for row, label, _ in suspects)
    sentences = [
        f"{len(gold):,} rows were judged, each by a model that has not seen its labels: micro-F1 "
        f"{findings.f1['f1_micro']:.3f}, macro-F1 {findings.f1['f1_macro']:.3f}.",
    ]
    if findings.f1["f1_micro"] < HARDLY_LEARNED:
        sentences.append(
            "That is little: models that have hardly learned the labels suspect them at random. More rows, epochs or "
            "another model make better judges."
        )
    if suspects:
        sentences.append(
            f"{counted(len(suspects), 'label')} in {counted(len({row for row, _, _ in suspects}), 'row')} "
            f"{'is likelier an error' if len(suspects) == 1 else 'are likelier errors'} than not: {wrong:,} given that "
            f"{'does' if wrong == 1 else 'do'} not belong, {len(suspects) - wrong:,} missing."
        )
    else:
        sentences.append(
            f"No label is likelier an error than not; {SUSPECTS_FILE} has the {len(findings.suspects):,} most suspect."
        )
    if unheard := [names[label] for label in np.flatnonzero(np.isnan(findings.suspicion).any(axis=0)).tolist()]:
        shown = ", ".join(unheard[:5]) + (f" and {len(unheard) - 5:,} more" if len(unheard) > 5 else "")
        sentences.append(
            f"In too few rows for every fold, or in all of them, so that some rows could not be judged: {shown}."
        )
    agreed = findings.agreement
    if agreed.texts:
        sentences.append(
            f"{counted(agreed.texts, 'text')} {'stands' if agreed.texts == 1 else 'stand'} several times "
            f"({counted(agreed.rows, 'row')}). The labels of one copy against those "
            f"of another: micro-F1 {_with_interval(agreed.copies['f1_micro'])}, macro-F1 "
            f"{_with_interval(agreed.copies['f1_macro'])}, exactly equal in {agreed.equal:.0%}. The model on these "
            f"rows: {_with_interval(agreed.model['f1_micro'])} and {_with_interval(agreed.model['f1_macro'])}. With "
            "the best labels for each text, and no model can do better there: "
            f"{_with_interval(agreed.best['f1_micro'])} and {_with_interval(agreed.best['f1_macro'])}."
        )
    else:
        sentences.append("No text stands twice, so how far the labels agree with themselves is not known.")
    return sentences


def _with_interval(score: Score) -> str:
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"


def _cell(chosen: np.ndarray, names: Sequence[str]) -> str:
    return labels_cell([names[index] for index in np.flatnonzero(chosen).tolist()], names)


def _write_probabilities(path: Path, rows: Dataset, names: Sequence[str], findings: Findings) -> None:
    table = pyarrow.table(
        {
            "split": rows["split"],
            "place": rows["place"],
            "text": rows["text"],
            "labels": [[names[i] for i in np.flatnonzero(given).tolist()] for given in findings.gold],
            "probabilities": list(findings.probabilities.astype(np.float32)),
        }
    )
    with whole_file(path) as file:
        pyarrow.parquet.write_table(table.replace_schema_metadata({"label_names": json.dumps(list(names))}), file)
