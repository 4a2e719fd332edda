"""Diagonals and bands of matrices, of mutable sizes too."""

from __future__ import annotations

import numpy as np

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.ir.dims import Dim
from magicmind.ops.emitter import Value


def _number(c: Call, i: int) -> int:
    """The diagonal that input `i` names.  Raises UnsupportedOperatorError for a band of several."""
    found = c.ints(i, "the diagonal") if len(c.inputs) > i else [0]
    if len(set(found)) != 1:
        raise c.unsupported(f"several diagonals at once: {found}")
    return found[0]


def _distance(c: Call, rows: Dim, columns: Dim) -> Value:
    """int64 [rows, columns]: how far right of the main diagonal each place is."""
    net = c.net
    if isinstance(rows, int) and isinstance(columns, int):
        return net.const(np.arange(columns)[None, :] - np.arange(rows)[:, None], np.int64)
    down, right = (net.count_up(net.shape_vector(n)) for n in (rows, columns))
    return net.op("Sub", net.unsqueeze(right, 0), net.unsqueeze(down, 1))


def _on(c: Call, rows: Dim, columns: Dim, diagonal: int = 0) -> Value:
    """bool [rows, columns]: the places of one diagonal."""
    net, distance = c.net, _distance(c, rows, columns)
    return net.op("Equal", distance, net.const(diagonal, np.int64))


def _padded(c: Call, x: Value, axis: int, before: int, after: int) -> Value:
    pads = [0] * (2 * c.net.rank(x))
    pads[axis], pads[axis + c.net.rank(x)] = before, after
    return c.net.op("Pad", x, c.net.ints(*pads), c.net.scalar(0, x)) if before or after else x


@importer("MatrixDiag", "MatrixDiagV2", "MatrixDiagV3", "Diag")
def diagonal(c: Call) -> Value:
    """A matrix with the input on one of its diagonals."""
    net, x, k = c.net, c.x, _number(c, 1)
    if c.node.op == "Diag" and c.rank() != 1:
        raise c.unsupported(f"a diagonal of rank {c.rank()}")
    if any(c.known(c.value(i)) is None or (c.const(i, "the shape") > 0).any() for i in (2, 3) if len(c.inputs) > i):
        raise c.unsupported("a diagonal in a matrix of another size")
    if len(c.inputs) > 4 and c.const(4, "the value around").any():
        raise c.unsupported("a diagonal in a matrix that is not zero")
    rank, n = c.rank(), c.shape()[-1]
    column = net.unsqueeze(_padded(c, x, rank - 1, max(-k, 0), max(k, 0)), rank)
    size = n + abs(k)
    return net.op("Where", _on(c, size, size, k), column, net.scalar(0, x))


@importer("MatrixDiagPart", "MatrixDiagPartV2", "MatrixDiagPartV3")
def diagonal_part(c: Call) -> Value:
    """One diagonal: what is left of its rows and columns, added up."""
    net, x, k, rank = c.net, c.x, _number(c, 1), c.rank()
    end = int(np.iinfo(np.int64).max)
    if k:
        axis = rank - 1 if k > 0 else rank - 2
        x = net.slice(x, axis, abs(k), end)
    rows, columns = net.shape(x)[-2:]
    if isinstance(rows, int) and isinstance(columns, int) and rows > columns:
        x, rows = net.slice(x, rank - 2, 0, columns), columns
    elif rows != columns and not (isinstance(rows, int) and isinstance(columns, int)):
        x = net.op("Slice", x, net.ints(0), net.shape_vector(columns), net.ints(rank - 2))
        rows = net.shape(x)[-2]
    kept = net.op("Where", _on(c, rows, columns), x, net.scalar(0, x))
    return net.op("ReduceSum", kept, net.ints(-1), keepdims=0)


@importer("MatrixSetDiag", "MatrixSetDiagV2", "MatrixSetDiagV3")
def set_diagonal(c: Call) -> Value:
    """A matrix with another diagonal."""
    net, x, k = c.net, c.x, _number(c, 2)
    rows, columns = c.shape()[-2:]
    length = c.shape(1)[-1]
    rest = rows - length - max(-k, 0)
    after = c.fixed(rest, "what is left below the diagonal")
    new = _padded(c, c.value(1), c.rank(1) - 1, max(-k, 0), after)
    return net.op("Where", _on(c, rows, columns, k), net.unsqueeze(new, net.rank(new)), x)


@importer("MatrixBandPart")
def band_part(c: Call) -> Value:
    """What lies within some diagonals; the rest is zero."""
    net = c.net
    distance = _distance(c, *c.shape()[-2:])
    kept: Value | None = None
    for i, sign in ((1, -1), (2, 1)):
        number = c.number(i, ("num_lower", "num_upper")[i - 1])
        if number >= 0:
            side = net.op(
                "LessOrEqual", net.op("Mul", distance, net.const(sign, np.int64)), net.const(number, np.int64)
            )
            kept = side if kept is None else net.op("And", kept, side)
    return c.x if kept is None else net.op("Where", kept, c.x, net.scalar(0, c.x))
