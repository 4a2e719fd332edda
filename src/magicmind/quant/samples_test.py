"""Calibration data from folders, archives and random numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from magicmind.errors import MissingExtraError, PrecisionError
from magicmind.quant.samples import Images, Preprocessing, Random, parse_preprocessing, picture, samples_of
from magicmind.tensorinfo import TensorInfo

X = TensorInfo("x", np.dtype(np.float32), (1, 3, 4, 6))
PIXELS = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.png", "c.png"):
        Image.fromarray(PIXELS).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_an_image_as_it_is(folder: Path) -> None:
    how = Preprocessing(resize=(8, 12), mean=(1, 2, 3), std=(2,), order="bgr")
    expected = (PIXELS[..., ::-1].astype(np.float32) - [1, 2, 3]) / 2
    np.testing.assert_allclose(picture(folder / "a.png", how, X), expected.transpose(2, 0, 1), rtol=1e-6)
    nhwc = picture(folder / "a.png", Preprocessing(resize=(8, 12), layout="NHWC"), X)
    np.testing.assert_array_equal(nhwc, PIXELS)


def test_sizes(folder: Path) -> None:
    def shape(**how: Any) -> tuple[int, ...]:
        return tuple(picture(folder / "a.png", Preprocessing(**how), X).shape)

    assert shape() == (3, 4, 6)  # the network's
    assert shape(resize=4) == (3, 4, 6) and shape(resize=16) == (3, 16, 24)
    assert shape(resize=8, crop=(6, 4)) == (3, 6, 4)
    cropped = picture(folder / "a.png", Preprocessing(resize=8, crop=(2, 2)), X)
    np.testing.assert_array_equal(cropped, PIXELS[3:5, 5:7].transpose(2, 0, 1))
    assert picture(folder / "a.png", Preprocessing(order="gray"), X).shape == (1, 4, 6)
    whole = picture(folder / "a.png", Preprocessing(mean=(128.0,)), TensorInfo("x", np.dtype(np.uint8), X.shape))
    assert whole.dtype == np.uint8 and whole.min() == 0  # clipped, not wrapped


def test_a_crop_larger_than_its_picture(folder: Path) -> None:
    with pytest.raises(PrecisionError, match=r"the crop, 9x2, is larger than .*a\.png, which is 8x12"):
        picture(folder / "a.png", Preprocessing(resize=8, crop=(9, 2)), X)


def test_folders_are_read_by_name_and_in_batches(folder: Path) -> None:
    found = samples_of(str(folder), [X])
    assert (found.total, found.random) == (3, False)
    assert [sample["x"].shape for sample in found.items] == [(1, 3, 4, 6)] * 3
    pairs = samples_of(Images(folder), [TensorInfo("x", X.dtype, (2, 3, 4, 6))])
    assert [sample["x"].shape for sample in pairs.items] == [(2, 3, 4, 6)]
    assert len(list(samples_of(Images(folder, limit=2), [X]).items)) == 2


def test_archives(tmp_path: Path) -> None:
    many = np.random.default_rng(0).standard_normal((5, 3, 4, 6)).astype(np.float32)
    np.savez(tmp_path / "many.npz", x=many, unused=np.zeros(3))
    for source in (tmp_path, tmp_path / "many.npz"):
        found = list(samples_of(source, [X]).items)
        np.testing.assert_array_equal(np.concatenate([sample["x"] for sample in found]), many)
    stacked = list(samples_of(tmp_path / "many.npz", [TensorInfo("x", X.dtype, (3, 4, 6))]).items)
    assert [sample["x"].shape for sample in stacked] == [(3, 4, 6)] * 5
    by_two = list(samples_of(tmp_path / "many.npz", [TensorInfo("x", X.dtype, (2, 3, 4, 6))]).items)
    assert [sample["x"].shape for sample in by_two] == [(2, 3, 4, 6)] * 2


def test_random_data_is_marked_and_repeatable() -> None:
    mutable = TensorInfo("x", np.dtype(np.float32), ((1, None), 3))
    found, again = samples_of("random:3", [mutable]), samples_of(Random(3), [mutable])
    assert found.random and found.total == 3
    first, second = list(found.items), list(again.items)
    assert [sample["x"].shape for sample in first] == [(1, 3)] * 3
    np.testing.assert_array_equal(first[2]["x"], second[2]["x"])


def test_preprocessing_as_text() -> None:
    assert parse_preprocessing("size=227 mean=104,117,123 order=BGR") == Preprocessing(
        resize=(227, 227), mean=(104, 117, 123), order="bgr"
    )
    assert parse_preprocessing("short=256;crop=224x192;std=255;layout=nhwc") == Preprocessing(
        resize=256, crop=(224, 192), std=(255,), layout="NHWC"
    )
    for text in ("size", "size=big", "colour=1", "mean=1,a"):
        with pytest.raises(PrecisionError, match="is not understood"):
            parse_preprocessing(text)
    sizes = ("size=0", "crop=99999", "short=-1")
    for text in ("std=0", "order=cmyk", "mean=1,2", "std=1,2,3 order=gray", "mean=nan", *sizes):
        with pytest.raises(PrecisionError):
            parse_preprocessing(text)


def test_what_is_not_there(folder: Path) -> None:
    with pytest.raises(PrecisionError, match="holds no images"):
        samples_of(Images(folder / "none"), [X])
    with pytest.raises(PrecisionError, match=r"is no image"):
        list(samples_of(Images([folder / "notes.txt"]), [X]).items)
    np.savez(folder / "y.npz", y=PIXELS)
    with pytest.raises(PrecisionError, match=r"holds no array 'x'; its arrays: y"):
        list(samples_of(folder / "y.npz", [X]).items)
    (folder / "bad.npz").write_bytes(b"PK")
    with pytest.raises(PrecisionError, match="cannot be read"):
        list(samples_of(folder / "bad.npz", [X]).items)
    two = [X, TensorInfo("y", X.dtype, (1,))]
    with pytest.raises(PrecisionError, match="one input of four dims"):
        list(samples_of(Images(folder), two).items)
    with pytest.raises(PrecisionError, match="pictures of any size"):
        picture(folder / "a.png", Preprocessing(), TensorInfo("x", X.dtype, (1, 3, (1, None), (1, None))))


def test_without_pillow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"needs Pillow(?s:.*)magicmind\[images\]"):
        picture(folder / "a.png", Preprocessing(), X)
