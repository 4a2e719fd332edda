"""Runs of a tiny sample: what is written, what goes wrong, and going on where a run stopped."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the extra 'zoo' is not installed")

import magicmind
from magicmind.cli import main
from magicmind.zoo import pipeline as pipelines
from magicmind.zoo.build import BuildOptions, build, image_graph
from magicmind.zoo.datasets import Given, load
from magicmind.zoo.infer import InferOptions, infer, look, open_session, pipeline_of
from magicmind.zoo.journal import Journal
from magicmind.zoo.score import score
from magicmind.zoo.tiny_testing import SAMPLE, write_data, write_network
from magicmind.zoo.workspace import Request


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample that is built, with mutable batch and with batches of five."""
    folder = tmp_path_factory.mktemp("tiny")
    for request in (tiny(folder), tiny(folder, mutable=False, batch=5)):
        write_network(request.models / "tiny.onnx")
        build(request, None)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve pictures, of which the fifth is broken."""
    write_data(tmp_path / "data", broken=(4,))
    return tmp_path / "data"


def tiny(root: Path, *, mutable: bool = True, batch: int = 4) -> Request:
    return Request(SAMPLE, mutable=mutable, batch=batch, root=root)


def results(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.txt")}


def test_the_model_takes_bytes_and_normalises_them(root: Path, data: Path) -> None:
    request = tiny(root)
    pixels = request.preparation(data / "images/ILSVRC2012_val_00000001.JPEG").pixels
    assert pixels.dtype == np.uint8
    plain = magicmind.build(magicmind.parse(request.models / "tiny.onnx")).session()
    x = (pixels.astype(np.float32) - [100, 110, 120]) / [50, 60, 70]
    expected = plain.run({"data": np.ascontiguousarray(x.transpose(2, 0, 1)[None], np.float32)})["logits"]
    with open_session(request) as session:
        assert session.inputs[0].shape == ((1, 16), 8, 8, 3)
        found = session.run({session.inputs[0].name: pixels[None]})
    np.testing.assert_allclose(next(iter(found.values())), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("mutable", "batch"), [(True, 4), (True, 1), (False, 5)])
def test_a_broken_picture_is_reported_counted_and_wrong(
    root: Path, data: Path, tmp_path: Path, mutable: bool, batch: int
) -> None:
    request = tiny(root, mutable=mutable, batch=batch)
    if batch == 1:  # one mutable model serves all batches
        request = replace(request, sample=replace(SAMPLE, model_file="models/tiny_{precision}_{mutable}_4"))
    dataset = load("imagenet", Given(root=data))
    outcome = infer(request, dataset, InferOptions(output=tmp_path / "out"))
    assert [item.name for item, _ in outcome.broken] == ["ILSVRC2012_val_00000005.JPEG"]
    assert "cut off" in outcome.broken[0][1]
    written = {name: text.decode().splitlines() for name, text in results(tmp_path / "out").items()}
    assert len(written["eval_labels.txt"]) == 12
    assert len(written["eval_result_1.txt"]) == 11
    assert len(written["eval_result_5.txt"]) == 55
    assert "[4]: 4" in written["eval_labels.txt"]
    assert not any(line.startswith("[4]:") for line in written["eval_result_1.txt"])
    found = score(request, dataset, outcome)
    assert found.broken == 1
    assert found.figures["top5"] <= 11 / 12
    assert "1 of 12 pictures could not be read" in (tmp_path / "out/eval.md").read_text()


def test_batches_do_not_change_results(root: Path, data: Path, tmp_path: Path) -> None:
    dataset = load("imagenet", Given(root=data))
    for mutable, batch in ((True, 4), (False, 5)):
        infer(tiny(root, mutable=mutable, batch=batch), dataset, InferOptions(output=tmp_path / str(mutable)))
    assert results(tmp_path / "True") == results(tmp_path / "False")


@pytest.mark.parametrize("cpus", [64, 1])
def test_pictures_come_in_order_beside_the_engine_and_in_turns(
    root: Path, data: Path, cpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "available_cpus", lambda: cpus)
    request = tiny(root)
    items = [replace(item, index=i) for i, item in enumerate([*load("imagenet", Given(root=data)).items] * 3)]
    with open_session(request) as session:
        pipeline = pipeline_of(request, session)
        found = list(pipeline.run(items, lambda loaded, outputs: (loaded.item.index, outputs[0].argmax())))
    assert [item for item, _ in found] == items
    broken = [isinstance(result, pipelines.Broken) for _, result in found]
    assert broken == [i % 12 == 4 for i in range(36)]
    assert [result[0] for _, result in found if isinstance(result, tuple)] == [i for i in range(36) if i % 12 != 4]
    assert [r for _, r in found[5:12]] == [(i, found[i + 12][1][1]) for i in range(5, 12)]
    assert pipeline.times.pictures == 33


def stopping(at: int, error: type[BaseException]) -> Any:
    """A report that raises when so many pictures are done."""

    def report(what: str, done: int, total: int) -> None:
        if done == at:
            raise error

    return report


def test_an_interrupted_run_goes_on(root: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request, dataset = tiny(root), load("imagenet", Given(root=data))
    whole = infer(request, dataset, InferOptions(output=tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        infer(request, dataset, InferOptions(output=tmp_path / "out"), stopping(6, KeyboardInterrupt))
    assert not list((tmp_path / "out").glob("eval_*"))
    journal = tmp_path / "out/progress.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"index":6,"na')  # as a process that was killed leaves it
    loaded = count_loads(monkeypatch)
    rest = infer(request, dataset, InferOptions(output=tmp_path / "out"))
    assert loaded() == 6
    assert len(rest.records) == 12
    assert results(tmp_path / "out") == results(tmp_path / "whole")
    infer(request, dataset, InferOptions(output=tmp_path / "out"))
    assert loaded() == 6  # all was there
    infer(request, dataset, InferOptions(output=tmp_path / "out", again=True))
    assert loaded() == 18
    assert whole.times.pictures == 11
    assert 0 < whole.times.preparing < 11


def count_loads(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that says how many pictures have been loaded."""
    loaded = []
    original = pipelines.Pipeline._load

    def load_one(self: Any, item: Any) -> Any:
        loaded.append(item)
        return original(self, item)

    monkeypatch.setattr(pipelines.Pipeline, "_load", load_one)
    return lambda: len(loaded)


def test_other_pictures_or_another_model_begin_anew(root: Path, data: Path, tmp_path: Path) -> None:
    request, options = tiny(root), InferOptions(output=tmp_path / "out")
    infer(request, load("imagenet", Given(root=data), 3), options)
    more = infer(request, load("imagenet", Given(root=data)), options)
    assert more.times.pictures == 8  # nine more, one of them broken
    lines = (data / "val.txt").read_text().splitlines()
    (data / "val.txt").write_text("\n".join(reversed(lines)) + "\n")
    assert infer(request, load("imagenet", Given(root=data)), options).times.pictures == 11
    os.utime(request.model)
    assert infer(request, load("imagenet", Given(root=data)), options).times.pictures == 11


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_said_with_the_file_and_what_to_do(root: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "progress.jsonl").symlink_to("/dev/full")
    with pytest.raises(magicmind.Error, match=r"progress.jsonl cannot be written: No space left.*\n.*make room"):
        infer(tiny(root), load("imagenet", Given(root=data)), InferOptions(output=out))
    (out / "progress.jsonl").unlink()
    infer(tiny(root), load("imagenet", Given(root=data)), InferOptions(output=out))
    assert len(results(out)["eval_result_1.txt"].splitlines()) == 11


def full_at(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The disk is full when a file of this name is written."""
    original = Path.write_bytes

    def write_bytes(self: Path, data: Any) -> int:
        if name in self.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return original(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


@pytest.mark.parametrize(("file", "left"), [("00000008.jpg", range(1, 12)), ("eval_result_1.txt", range(1))])
def test_a_disk_that_fills_up_loses_nothing(
    root: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, left: range
) -> None:
    """While a drawing is written, or the last files."""
    request, dataset = tiny(root, batch=1), load("imagenet", Given(root=data))
    request = replace(request, sample=replace(SAMPLE, model_file="models/tiny_{precision}_{mutable}_4"))
    whole, options = InferOptions(tmp_path / "whole", True), InferOptions(tmp_path / "out", True)
    infer(request, dataset, whole)
    with monkeypatch.context() as patched:
        full_at(patched, file)
        with pytest.raises(
            magicmind.Error, match=rf"{file} cannot be written: No space left.*\n.*run the same command"
        ):
            infer(request, dataset, options)
    assert not list((tmp_path / "out").glob("*.draft"))
    loaded = count_loads(monkeypatch)
    infer(request, dataset, options)
    assert loaded() in left  # what was done before is kept
    assert results(tmp_path / "out") == results(tmp_path / "whole")
    assert {p.name for p in (tmp_path / "out").glob("*.jpg")} == {p.name for p in (tmp_path / "whole").glob("*.jpg")}


def test_a_picture_that_is_missing_is_reported_and_counted(root: Path, data: Path, tmp_path: Path) -> None:
    (data / "images/ILSVRC2012_val_00000009.JPEG").unlink()
    outcome = infer(tiny(root), load("imagenet", Given(root=data)), InferOptions(output=tmp_path / "out"))
    assert [(item.index, "No such file" in reason) for item, reason in outcome.broken] == [(4, False), (8, True)]
    assert len(results(tmp_path / "out")["eval_labels.txt"].splitlines()) == 12


def test_control_c_says_how_to_go_on(
    root: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The signal itself, in the middle of the command; the same command then does the rest."""
    monkeypatch.setattr("magicmind.zoo.samples.SAMPLES", {"tiny": SAMPLE})
    command = ["zoo", "eval", "tiny", "--root", str(root), "--batch-size", "4", "--dataset", str(data)]
    command += ["--output", str(tmp_path / "out")]
    add = Journal.add

    def add_and_interrupt(self: Journal, entry: dict[str, Any]) -> None:
        add(self, entry)
        if entry["index"] == 6:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", add_and_interrupt)
        assert main(command) == 130
    said = capsys.readouterr()
    assert "of 12 pictures are done and kept; the same command goes on" in said.err
    loaded = count_loads(monkeypatch)
    assert main(command) == 0
    said = capsys.readouterr()
    assert loaded() == 5
    assert "of them were done before" in said.out and "top1:  " in said.out
    assert "1 of 12 pictures could not be read; they count as wrong" in said.err


def test_drawings_of_a_run_and_of_own_pictures(root: Path, data: Path, tmp_path: Path) -> None:
    request = tiny(root)
    dataset = load("imagenet", Given(root=data), 3)
    infer(request, dataset, InferOptions(output=tmp_path / "out", save_img=True))
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 3
    paths = sorted((data / "images").iterdir())[3:6]
    found = look(request, paths, [f"class {i}" for i in range(10)], InferOptions(output=tmp_path / "own"))
    assert [path for path, _, _ in found] == paths
    assert "class" in found[0][1] and found[0][2] == tmp_path / "own" / f"{paths[0].stem}.jpg"
    assert found[1][2] is None and "cut off" in found[1][1]


def test_drawings_never_take_the_place_of_pictures_or_of_one_another(root: Path, data: Path, tmp_path: Path) -> None:
    (first, second) = (tmp_path / "a.jpg", tmp_path / "b" / "a.png")
    second.parent.mkdir()
    kept = (data / "images/ILSVRC2012_val_00000001.JPEG").read_bytes()
    for path in (first, second):
        path.write_bytes(kept)
    found = look(tiny(root), [first, second, first], (), InferOptions(output=tmp_path))
    assert [path and path.name for _, _, path in found] == ["a_2.jpg", "a_3.jpg", "a_4.jpg"]
    assert first.read_bytes() == second.read_bytes() == kept
    with pytest.raises(magicmind.Error, match="is the folder of the pictures; results would be written over them"):
        infer(tiny(root), load("imagenet", Given(root=data)), InferOptions(output=data / "images"))


def test_labels_that_the_network_has_no_class_of(root: Path, data: Path, tmp_path: Path) -> None:
    (data / "val.txt").write_text("ILSVRC2012_val_00000001.JPEG 9\nILSVRC2012_val_00000002.JPEG 10\n")
    with pytest.raises(magicmind.Error, match=r"00000002.JPEG has the label 10; the network's classes are 0 to 9"):
        infer(tiny(root), load("imagenet", Given(root=data)), InferOptions(output=tmp_path / "out"))


def test_calibration_goes_on_without_broken_pictures(
    root: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request = replace(tiny(tmp_path), precision="qint8_mixed_float32")
    write_network(request.models / "tiny.onnx")
    build(request, load("imagenet", Given(root=data)), BuildOptions(count=6))
    assert "left out of the calibration" in caplog.text and "00000005.JPEG" in caplog.text
    with pytest.raises(magicmind.Error, match="there are 0 to be read"):
        write_data(tmp_path / "bad", 2, broken=(0, 1))
        build(request, load("imagenet", Given(root=tmp_path / "bad")), BuildOptions(count=2))


def test_the_engine_is_closed_when_a_run_fails(root: Path, data: Path, tmp_path: Path) -> None:
    dataset = load("imagenet", Given(root=data))
    with pytest.raises(RuntimeError):
        infer(tiny(root), dataset, InferOptions(output=tmp_path / "out"), stopping(3, RuntimeError))
    infer(tiny(root), dataset, InferOptions(output=tmp_path / "out"))


def test_a_batch_that_the_network_cannot_have_is_refused(root: Path) -> None:
    with pytest.raises(magicmind.Error, match="takes batches of 1 to 16, not 17"):
        image_graph(tiny(root, batch=17))
    with pytest.raises(magicmind.Error, match="tiny takes one picture a call, not 4"):
        open_session(replace(tiny(root), sample=replace(SAMPLE, batches=None)))
    with pytest.raises(magicmind.PrecisionError, match="not supported"):
        Request(SAMPLE, precision="int4")
    assert Request(SAMPLE, precision="forced_float16").precision == "force_float16"


def test_a_model_that_is_not_built_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(
        magicmind.Error,
        match=r"(?s)there is no model.*build tiny --precision force_float32 --shape-mutable true --batch-size 4 --ro",
    ):
        open_session(tiny(tmp_path))


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Data sets and folders of whoever runs the tests have no part in them."""
    for name in ("PROJ_ROOT_PATH", "DATASETS_PATH", "ILSVRC2012_DATASETS_PATH", "UTILS_PATH"):
        monkeypatch.delenv(name, raising=False)
    yield
