"""Tables in both layouts, of both kinds of bytes."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.errors import ShapeError
from magicmind.testing.check_own import check_own

RNG = np.random.default_rng(2)
TABLE = RNG.integers(0, 256, 256).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("blocked", [False, True])
def test_against_numpy(blocked: bool, dtype: type) -> None:
    x: np.ndarray = RNG.integers(0, 256, (2, 19, 7, 5)).astype(np.uint8).view(dtype)
    for shape in (x.shape, ("N", 19, "H", "W")):
        kernels = check_own("magicmind.ByteTable", [x, TABLE], {0: shape}, blocked=blocked)
        assert any(name.startswith("byte_table") for name in kernels)


def test_a_table_has_256_bytes() -> None:
    with pytest.raises(ShapeError, match="256 uint8"):
        check_own("magicmind.ByteTable", [RNG.integers(0, 9, 3).astype(np.uint8), TABLE[:128]], {0: (3,)})
