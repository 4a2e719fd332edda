"""Masks of StridedSlice as numpy's indices have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import run

Array = np.ndarray[Any, np.dtype[Any]]
X = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
FIXED = '{"graph_shape_mutable": false}'
OPEN = '{"dim_range": {"0": {"min": [2, 3, 4, 5], "max": [8, 3, 4, 5]}}}'

CASES: list[tuple[Any, ...]] = [
    (Ellipsis, slice(1, 3)),
    (0, Ellipsis),
    (slice(0, 1), Ellipsis, 2, slice(None, None, -1)),
    (np.newaxis, slice(0, 1)),
    (slice(0, 1), np.newaxis, 1),
    (np.newaxis, 1, np.newaxis, Ellipsis, np.newaxis, slice(1, 4, 2), np.newaxis),
    (Ellipsis,),
    (Ellipsis, np.newaxis),
    (slice(0, 1), slice(0, 2), slice(0, 3), Ellipsis, slice(0, 4)),  # an ellipsis of no axes
    (1, 2, 3, 4),
]


def spelled(index: tuple[Any, ...]) -> tuple[list[int], list[int], list[int], dict[str, int]]:
    """Begins, ends, steps and masks, as TensorFlow writes an index of Python."""
    begin, end, step, masks = [], [], [], dict.fromkeys(("begin", "end", "shrink_axis", "ellipsis", "new_axis"), 0)
    for i, part in enumerate(index):
        first, last, by = 7, 7, 1  # what is masked does not matter
        if part is Ellipsis:
            masks["ellipsis"] |= 1 << i
        elif part is np.newaxis:
            masks["new_axis"] |= 1 << i
        elif isinstance(part, int):
            masks["shrink_axis"] |= 1 << i
            first = part
        else:
            by = part.step or 1
            for name, value in (("begin", part.start), ("end", part.stop)):
                masks[name] |= (value is None) << i
            first, last = (0 if value is None else value for value in (part.start, part.stop))
        begin.append(first)
        end.append(last)
        step.append(by)
    return begin, end, step, masks


@pytest.mark.parametrize("config", [FIXED, OPEN])
@pytest.mark.parametrize("number", range(len(CASES)))
def test_an_index_of_python(number: int, config: str) -> None:
    index = CASES[number]
    begin, end, step, masks = spelled(index)
    network: Any = mm.Network()
    x = network.add_input(mm.DataType.FLOAT32, mm.Dims(X.shape))
    operands = [network.add_i_const_node(mm.DataType.INT32, mm.Dims([len(v)]), v) for v in (begin, end, step)]
    node = network.add_i_strided_slice_node(x, *operands, None)
    for name, bits in masks.items():
        assert getattr(node, f"set_{name}_mask")(bits).ok()
    assert network.mark_output(network.add_i_abs_node(node)).ok()
    found = run(network, X, config=config)[0]
    np.testing.assert_array_equal(found, X[index])


def test_beginnings_that_the_run_tells() -> None:
    network: Any = mm.Network()
    x = network.add_input(mm.DataType.FLOAT32, mm.Dims(X.shape))
    begin = network.add_input(mm.DataType.INT32, mm.Dims([2]))
    end = network.add_input(mm.DataType.INT32, mm.Dims([2]))
    node = network.add_i_strided_slice_node(x, begin, end, None, None)
    assert node.set_ellipsis_mask(1).ok() and network.mark_output(node).ok()
    found = run(network, X, np.array([9, 1]), np.array([9, 4]), config=FIXED)[0]
    np.testing.assert_array_equal(found, X[..., 1:4])
