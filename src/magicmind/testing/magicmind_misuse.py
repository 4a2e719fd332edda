"""Help for tests of wrong use: values that no call can use, and small objects of every kind to call with them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import build


class Broken:
    """Fails at whatever is tried with it."""

    def _fail(self, *_: object) -> Any:
        raise RuntimeError("broken")

    __len__ = __iter__ = __index__ = __int__ = __float__ = __array__ = __fspath__ = __getitem__ = __call__ = _fail
    __repr__ = __str__ = __bool__ = _fail


BAD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "a negative number": lambda: -3,
    "a number": lambda: 7,
    "a huge number": lambda: 2**70,
    "a hugely negative number": lambda: -(2**70),
    "a fraction": lambda: 1.5,
    "NaN": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "a complex number": lambda: 1j,
    "no text": lambda: "",
    "a text": lambda: "x",
    "a text with a zero": lambda: "\0",
    "half a character": lambda: "\ud800",
    "bytes": lambda: b"\xff",
    "an empty list": list,
    "a list of None": lambda: [None],
    "a list of NaN": lambda: [float("nan")],
    "negative sizes": lambda: [-5, 1],
    "huge sizes": lambda: [2**40, 2**40],
    "sizes beyond 64 bits": lambda: [2**70],
    "a ragged list": lambda: [[1, 2], [3]],
    "a list of texts": lambda: ["x"],
    "a list that holds itself": lambda: _endless(),
    "an object": lambda: {"a": 1},
    "a generator": lambda: (i for i in range(2)),
    "a class": lambda: int,
    "a function": lambda: len,
    "anything": object,
    "an empty array": lambda: np.zeros((0, 3), np.float32),
    "an array": lambda: np.zeros((2, 3)),
    "an array of texts": lambda: np.array(["x"]),
    "an array of objects": lambda: np.array([None]),
    "a type": lambda: mm.DataType.TENSORLIST,
    "a layout": lambda: mm.Layout.NHWC,
    "dims that are none": lambda: mm.Dims("x"),  # type: ignore[arg-type]
    "a status": lambda: mm.Status(mm.Code.INTERNAL, "x"),
    "a network": mm.Network,
    "a broken object": Broken,
}


def _endless() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def network() -> Any:
    """One input, one node, one output."""
    made = mm.Network()
    tensor = made.add_input(mm.DataType.FLOAT32, mm.Dims([1, 4, 6, 6]))
    node = made.add_i_activation_node(tensor, mm.IActivation.RELU)
    assert made.mark_output(node.get_output(0)).ok()
    return made


@cache
def model() -> mm.Model:
    """Made of `network`."""
    return build(network(), '{"graph_shape_mutable": false}')


def engine() -> Any:
    """An engine of `model`."""
    return model().create_i_engine()


def context() -> Any:
    """A context of `model`."""
    return engine().create_i_context()


def filled() -> Any:
    """An input of `model`, with data."""
    (tensor,) = context().create_inputs()
    assert tensor.from_numpy(np.zeros((1, 4, 6, 6), np.float32)).ok()
    return tensor


class Data(mm.CalibDataInterface):
    """No samples."""
