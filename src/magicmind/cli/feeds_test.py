from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from magicmind.cli import feeds
from magicmind.dtypes import codes_of, numpy_dtype
from magicmind.errors import ModelFormatError, ShapeError
from magicmind.tensorinfo import TensorInfo

IMAGE = TensorInfo("image", np.dtype(np.float32), ((1, 64), 3, (4, None)))
IDS = TensorInfo("ids", np.dtype(np.int64), (2, 5))


def test_mutable_dims_become_the_batch_and_minima() -> None:
    made = feeds.make([IMAGE, IDS], files={}, shapes={}, batch=None, seed=0)
    assert {name: array.shape for name, array in made.items()} == {"image": (1, 3, 4), "ids": (2, 5)}
    assert feeds.make([IMAGE], files={}, shapes={}, batch=8, seed=0)["image"].shape == (8, 3, 4)


def test_a_given_shape_wins() -> None:
    assert feeds.make([IMAGE], files={}, shapes={"image": (2, 3, 9)}, batch=8, seed=0)["image"].shape == (2, 3, 9)


def test_equal_seeds_give_equal_arrays() -> None:
    first, again, other = (feeds.make([IMAGE], files={}, shapes={}, batch=2, seed=s)["image"] for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_integers_are_small_and_bytes_are_all_there() -> None:
    rng = np.random.default_rng(0)
    assert set(np.unique(feeds.random((100,), np.dtype(np.int64), rng))) == {0, 1}
    octets = feeds.random((5000,), np.dtype(np.uint8), rng)
    assert octets.dtype == np.uint8 and octets.min() == 0 and octets.max() == 255


def test_files(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.ones((1, 3, 4), np.float32))
    made = feeds.make([IMAGE], files={"image": tmp_path / "image.npy"}, shapes={}, batch=None, seed=0)
    assert made["image"].sum() == 12
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(ModelFormatError, match=r"bad\.npy"):
        feeds.load(tmp_path / "bad.npy")


def test_unknown_names_and_another_batch_are_refused() -> None:
    with pytest.raises(ShapeError, match="no input 'img'"):
        feeds.make([IMAGE], files={}, shapes={"img": (1,)}, batch=None, seed=0)
    with pytest.raises(ShapeError, match="first dim of 2, not 3"):
        feeds.make([IDS], files={}, shapes={}, batch=3, seed=0)


@pytest.mark.parametrize("name", ["int4", "float8_e4m3fn", "float8_e5m2", "bfloat16"])
def test_files_of_types_that_numpy_does_not_know(name: str, tmp_path: Path) -> None:
    """As `magicmind run --output` writes them; numpy's own way of saving loses the type or cannot be read."""
    array = np.arange(4).astype(numpy_dtype(name))
    np.save(tmp_path / "x.npy", codes_of(array))
    (made,) = feeds.make(
        [TensorInfo("x", array.dtype, (4,))], files={"x": tmp_path / "x.npy"}, shapes={}, batch=None, seed=0
    ).values()
    assert made.dtype == array.dtype and np.array_equal(made, array)
