"""Scores of texts: answers to questions (SQuAD), pairs of sentences (MRPC), what was heard (word error rate).

python -m magicmind.evaluation.text squad --dataset dev-v1.1.json --predictions predictions.json
python -m magicmind.evaluation.text mrpc --labels labels.txt --predictions predictions.txt
python -m magicmind.evaluation.text wer --reference text --hypothesis text [--characters]

Prints the lines that `records compare_eval` reads: `squad: OrderedDict([('exact', v), ('f1', v), ('total', n)])`;
`accuracy: v` and `f1: v`; of heard texts `Overall -> v % N=.. C=.. S=.. D=.. I=..`.
"""

from __future__ import annotations

import argparse
import json
import re
import string
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from magicmind.evaluation.files import EvaluationError, lines_of, program
from magicmind.evaluation.records import record_score

# --------------------------------------------------------------------------------------------------------------- SQuAD


def plain_words(text: str) -> list[str]:
    """Lower case, without punctuation and articles (Rajpurkar et al. 2016, "SQuAD")."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def overlap(found: str, wanted: str) -> float:
    """The harmonic mean of precision and recall of words; of no words 1 where both have none."""
    a, b = plain_words(found), plain_words(wanted)
    common = sum((Counter(a) & Counter(b)).values())
    if not a or not b:
        return float(a == b)
    return 2 * common / (len(a) + len(b))


def squad(dataset: Any, predictions: Mapping[str, str]) -> OrderedDict[str, float]:
    """Percent of exact answers and mean overlap, each with the true answer that fits best; questions without a
    prediction count as wrong, those without an answer want an empty one.  Raises EvaluationError."""
    exact = f1 = 0.0
    total = 0
    try:
        questions = [q for article in dataset["data"] for p in article["paragraphs"] for q in p["qas"]]
        for question in questions:
            answers = [answer["text"] for answer in question["answers"]] or [""]
            found = predictions.get(str(question["id"]))
            total += 1
            if found is not None:
                exact += max(plain_words(found) == plain_words(answer) for answer in answers)
                f1 += max(overlap(found, answer) for answer in answers)
    except (KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"this is no data set of SQuAD: {type(error).__name__}: {error}") from error
    if not total:
        raise EvaluationError("the data set has no questions")
    return OrderedDict(exact=100.0 * exact / total, f1=100.0 * f1 / total, total=total)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise EvaluationError(f"{path} is no JSON: {error}") from error


# ---------------------------------------------------------------------------------------------------------------- MRPC


def accuracy_and_f1(labels: Sequence[int], found: Sequence[int]) -> tuple[float, float]:
    """Shares from 0 to 1; F1 is of label 1.  Raises EvaluationError for other numbers of both, and for none."""
    if len(labels) != len(found) or not labels:
        raise EvaluationError(f"{len(found)} predictions for {len(labels)} labels")
    right = sum(a == b for a, b in zip(labels, found, strict=True))
    hits = sum(a == b == 1 for a, b in zip(labels, found, strict=True))
    ones = sum(a == 1 for a in labels) + sum(b == 1 for b in found)
    return right / len(labels), 2 * hits / ones if ones else 0.0


def _numbers(path: Path) -> list[int]:
    """The last word of every line."""
    try:
        return [int(line.split()[-1]) for line in lines_of(path)]
    except ValueError as error:
        raise EvaluationError(f"{path}: a line has no label: {error}") from error


# -------------------------------------------------------------------------------------------------------------- speech


def edits(wanted: Sequence[str], found: Sequence[str]) -> tuple[int, int, int, int]:
    """(correct, substituted, deleted, inserted) on a shortest way from one to the other."""
    row = [(j, (0, 0, 0, j)) for j in range(len(found) + 1)]  # (edits, counts) up to each word that was found
    for word in wanted:
        cost, (c, s, d, i) = row[0]
        diagonal, row[0] = row[0], (cost + 1, (c, s, d + 1, i))
        for j, heard in enumerate(found, 1):
            same = word == heard
            cost, (c, s, d, i) = diagonal
            best = (cost + (not same), (c + same, s + (not same), d, i))
            cost, (c, s, d, i) = row[j]
            best = min(best, (cost + 1, (c, s, d + 1, i)), key=lambda way: way[0])
            cost, (c, s, d, i) = row[j - 1]
            best = min(best, (cost + 1, (c, s, d, i + 1)), key=lambda way: way[0])
            diagonal, row[j] = row[j], best
    return row[-1][1]


def word_errors(wanted: Mapping[str, str], found: Mapping[str, str], characters: bool = False) -> tuple[int, ...]:
    """(correct, substituted, deleted, inserted) over all utterances; one that is missing is deleted."""
    total = [0, 0, 0, 0]
    for name, text in wanted.items():
        units = [_units(t, characters) for t in (text, found.get(name, ""))]
        total = [a + b for a, b in zip(total, edits(*units), strict=True)]
    return tuple(total)


def _units(text: str, characters: bool) -> list[str]:
    return [c for c in text if not c.isspace()] if characters else text.split()


def _utterances(path: Path) -> dict[str, str]:
    """`name words...` per line."""
    return {name: text for name, _, text in (line.partition(" ") for line in lines_of(path))}


# ------------------------------------------------------------------------------------------------------------ commands


def _squad(a: argparse.Namespace) -> None:
    found = squad(_json(a.dataset), _texts(_json(a.predictions), a.predictions))
    pairs = ", ".join(f"('{key}', {value})" for key, value in found.items())  # as older Pythons print it
    print(f"squad: OrderedDict([{pairs}])")
    record_score("SQuAD", "f1", found["f1"])


def _texts(document: Any, path: Path) -> Mapping[str, str]:
    if not isinstance(document, dict) or not all(isinstance(text, str) for text in document.values()):
        raise EvaluationError(f"{path} is no object from questions to texts")
    return document


def _mrpc(a: argparse.Namespace) -> None:
    accuracy, f1 = accuracy_and_f1(_numbers(a.labels), _numbers(a.predictions))
    print(f"accuracy: {accuracy:.6f}\nf1: {f1:.6f}")
    record_score("MRPC", "f1", f1)


def _wer(a: argparse.Namespace) -> None:
    wanted = _utterances(a.reference)
    right, substituted, deleted, inserted = word_errors(wanted, _utterances(a.hypothesis), a.characters)
    count = right + substituted + deleted
    if not count:
        raise EvaluationError(f"{a.reference} holds no words")
    rate = 100.0 * (substituted + deleted + inserted) / count
    print(f"Overall -> {rate:.2f} % N={count} C={right} S={substituted} D={deleted} I={inserted}")
    record_score("speech", "wer", rate)


_COMMANDS: Iterable[tuple[str, Any, Sequence[str]]] = (
    ("squad", _squad, ("dataset", "predictions")),
    ("mrpc", _mrpc, ("labels", "predictions")),
    ("wer", _wer, ("reference", "hypothesis")),
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, files in _COMMANDS:
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        for file in files:
            command.add_argument(f"--{file}", type=Path, required=True)
        if name == "wer":
            command.add_argument("--characters", action="store_true", help="count characters, as for Chinese")
    arguments = parser.parse_args(argv)
    arguments.run(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(program(main))
