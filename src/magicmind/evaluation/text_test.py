"""Scores of texts against examples whose answers are plain, and the lines against what `compare_eval` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from magicmind.evaluation import records, text
from magicmind.evaluation.files import EvaluationError


def dataset(*answers: list[str]) -> Any:
    questions = [{"id": str(i), "answers": [{"text": t} for t in texts]} for i, texts in enumerate(answers)]
    return {"data": [{"paragraphs": [{"qas": questions}]}]}


def test_words_without_articles_and_punctuation() -> None:
    assert text.plain_words("The cat, a dog; AN owl!") == ["cat", "dog", "owl"]
    assert text.overlap("the big cat", "big cat sat") == pytest.approx(2 * 2 / 5)
    assert text.overlap("", "") == 1.0 and text.overlap("", "x") == 0.0


def test_the_best_of_several_answers_counts() -> None:
    found = text.squad(dataset(["Denver", "the Denver Broncos"], ["1999"], []), {"0": "Denver Broncos", "1": "in 1999"})
    assert found["exact"] == pytest.approx(100 / 3) and found["total"] == 3
    assert found["f1"] == pytest.approx(100 * (1 + 2 / 3) / 3)
    assert text.squad(dataset([]), {"0": ""})["exact"] == 100.0


def test_pairs_of_sentences() -> None:
    assert text.accuracy_and_f1([1, 1, 0, 0], [1, 0, 0, 1]) == (0.5, 0.5)
    assert text.accuracy_and_f1([0], [0]) == (1.0, 0.0)
    with pytest.raises(EvaluationError, match="1 predictions for 2"):
        text.accuracy_and_f1([0, 1], [1])


@pytest.mark.parametrize(
    ("wanted", "found", "counts"),
    [
        ("a b c", "a b c", (3, 0, 0, 0)),
        ("a b c", "a x c", (2, 1, 0, 0)),
        ("a b c", "a c", (2, 0, 1, 0)),
        ("a c", "a b c", (2, 0, 0, 1)),
        ("", "a", (0, 0, 0, 1)),
        ("a b", "", (0, 0, 2, 0)),
    ],
)
def test_edits(wanted: str, found: str, counts: tuple[int, ...]) -> None:
    assert text.edits(wanted.split(), found.split()) == counts
    correct, substituted, deleted, inserted = counts
    assert correct + substituted + deleted == len(wanted.split())
    assert correct + substituted + inserted == len(found.split())


def test_the_command_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def file(name: str, content: str) -> str:
        (tmp_path / name).write_text(content)
        return str(tmp_path / name)

    data, answers = file("dev.json", json.dumps(dataset(["x"]))), file("p.json", '{"0": "x"}')
    assert text.main(["squad", "--dataset", data, "--predictions", answers]) == 0
    assert records.scores(Path(file("log", capsys.readouterr().out)), "squad") == [100.0, 100.0]
    labels, found = file("labels", "s1 1\ns2 0\n"), file("found", "1\n0\n")
    assert text.main(["mrpc", "--labels", labels, "--predictions", found]) == 0
    assert records.scores(Path(file("log", capsys.readouterr().out)), "mrpc") == [1.0, 1.0]
    wanted, heard = file("ref", "u1 the cat sat\nu2 no\n"), file("hyp", "u1 the cat sits down\n")
    assert text.main(["wer", "--reference", wanted, "--hypothesis", heard]) == 0
    assert capsys.readouterr().out == "Overall -> 75.00 % N=4 C=2 S=1 D=1 I=1\n"
    assert text.main(["wer", "--reference", wanted, "--hypothesis", wanted, "--characters"]) == 0
    assert "0.00 % N=11" in capsys.readouterr().out
    for words, message in (
        (["squad", "--dataset", answers, "--predictions", answers], "no data set"),
        (["squad", "--dataset", data, "--predictions", data], "no object"),
        (["squad", "--dataset", labels, "--predictions", data], "no JSON"),
        (["mrpc", "--labels", wanted, "--predictions", found], "no label"),
        (["wer", "--reference", file("empty", ""), "--hypothesis", heard], "no words"),
        (["wer", "--reference", "/nowhere/x", "--hypothesis", heard], "cannot be read"),
    ):
        with pytest.raises(EvaluationError, match=message):
            text.main(words)
