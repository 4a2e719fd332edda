"""DynamicStitch with indices that the network, or only the run, tells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import run

FIXED = '{"graph_shape_mutable": false}'
A = np.arange(6, dtype=np.float32).reshape(3, 2)
B = np.arange(8, dtype=np.float32).reshape(2, 2, 2) + 10

CASES = [
    ([0, 2, 4], [[1, 3], [5, 6]]),
    ([0, 0, 2], [[2, 1], [0, 3]]),  # later rows over earlier ones
    ([5, 0, 1], [[1, 1], [1, 1]]),  # rows without an index
]


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(("first", "second"), CASES)
def test_rows_go_to_their_places(first: Any, second: Any, constant: bool) -> None:
    network: Any = mm.Network()
    data = [network.add_input(mm.DataType.FLOAT32, mm.Dims(array.shape)) for array in (A, B)]
    feeds: list[Any] = [A, B]
    indices: list[Any] = []
    for places in (first, second):
        array = np.array(places, np.int32)
        if constant:
            indices.append(network.add_i_const_node(mm.DataType.INT32, mm.Dims(array.shape), array))
        else:
            indices.append(network.add_input(mm.DataType.INT32, mm.Dims(array.shape)))
            feeds.append(array)
    assert network.mark_output(network.add_i_dynamic_stitch_node(data, indices)).ok()
    flat = [*first, *np.ravel(second)]
    wanted = np.zeros((max(flat) + 1, 2), np.float32)
    for place, row in zip(flat, [*A, *B.reshape(-1, 2)], strict=True):
        wanted[place] = row
    np.testing.assert_array_equal(run(network, *feeds, config=FIXED)[0], wanted)
