"""Einsum as Transpose, Reshape, ReduceSum, Mul and MatMul.  ONNX operator Einsum-12.

Every operand is brought to one axis per label (diagonals by a mask). Two operands are joined at a time: labels that
neither the result nor a later operand has are summed, as a matrix product where both have them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from magicmind.errors import ModelFormatError, ShapeError
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.registry import Op

einsum = Op("Einsum")


@dataclass(frozen=True)
class Operand:
    """A tensor with one label per axis."""

    value: Value
    labels: str


def parse(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """One label per axis of every operand, and of the result. Axes of an ellipsis are numbered from the last."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ModelFormatError(f"equation {equation!r} has {len(terms)} operands; {len(ranks)} are given")
    widths = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    if any(width < 0 or (width and "..." not in term) for term, width in zip(terms, widths, strict=True)):
        raise ShapeError(f"equation {equation!r} does not fit inputs of ranks {ranks}")
    widest = max(widths)
    names = "0123456789"[:widest]
    labels = [term.replace("...", names[widest - width :]) for term, width in zip(terms, widths, strict=True)]
    if arrow:
        return labels, right.replace("...", names)
    joined = "".join(labels)
    return labels, names + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c.isalpha()))


@einsum.expand
def expand_einsum(e: Expansion) -> list[Value]:
    """Joins the operands from left to right."""
    values = [e.input(i) for i in range(len(e.node.inputs))]
    terms, result = parse(str(e.view.attr("equation")), [e.rank(v) for v in values])
    waiting = [_diagonal(e, Operand(v, term)) for v, term in zip(values, terms, strict=True)]
    current = waiting.pop(0)
    while waiting:
        following = waiting.pop(0)
        kept = set(result).union(*(o.labels for o in waiting))
        current = _join(
            e,
            _summed(e, current, kept | set(following.labels)),
            _summed(e, following, kept | set(current.labels)),
            kept,
        )
    current = _summed(e, current, set(result))
    perm = [current.labels.index(label) for label in result]
    return [e.op("Transpose", current.value, perm=perm) if perm else e.op("Identity", current.value)]


def _diagonal(e: Expansion, operand: Operand) -> Operand:
    """Axes with one label twice become one: a mask keeps the diagonal, the sum over one of the axes reads it."""
    value, labels = operand.value, operand.labels
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first, second = labels.index(label), labels.rindex(label)
            rank = len(labels)
            rows = e.unsqueeze(e.count_up(e.dim(value, first)), *range(1, rank - first))
            columns = e.unsqueeze(e.count_up(e.dim(value, second)), *range(1, rank - second))
            masked = e.op("Where", e.op("Equal", rows, columns), value, e.scalar(0, value))
            value = e.op("ReduceSum", masked, e.ints(second), keepdims=0)
            labels = labels[:second] + labels[second + 1 :]
    return Operand(value, labels)


def _summed(e: Expansion, operand: Operand, kept: set[str]) -> Operand:
    """Without the axes that nobody needs."""
    axes = [i for i, label in enumerate(operand.labels) if label not in kept]
    if not axes:
        return operand
    value = e.op("ReduceSum", operand.value, e.ints(*axes), keepdims=0)
    return Operand(value, "".join(label for label in operand.labels if label in kept))


def _join(e: Expansion, a: Operand, b: Operand, kept: set[str]) -> Operand:
    """Product over shared axes: [batch, rows, summed] @ [batch, summed, columns]."""
    shared = [c for c in a.labels if c in b.labels]
    batch, summed = [c for c in shared if c in kept], [c for c in shared if c not in kept]
    if not summed:
        return _multiplied(e, a, b)
    if any(_size(e, a, c) != _size(e, b, c) for c in batch + summed):
        return _summed(e, _multiplied(e, a, b), kept)
    rows, columns = [c for c in a.labels if c not in shared], [c for c in b.labels if c not in shared]
    left = _matrix(e, a, batch, rows, summed)
    right = _matrix(e, b, batch, summed, columns)
    sizes = [e.dim(a.value, a.labels.index(c)) for c in batch + rows]
    sizes += [e.dim(b.value, b.labels.index(c)) for c in columns]
    product = e.op("MatMul", left, right)
    labels = "".join(batch + rows + columns)
    return Operand(e.reshape(product, *sizes) if sizes else e.op("Reshape", product, e.const([], np.int64)), labels)


def _size(e: Expansion, operand: Operand, label: str) -> object:
    return e.shape(operand.value)[operand.labels.index(label)]


def _matrix(e: Expansion, operand: Operand, *groups: list[str]) -> Value:
    """The operand with its axes in three groups, each joined into one; no group of batch axes is one of size 1."""
    order = [operand.labels.index(c) for group in groups for c in group]
    turned = e.op("Transpose", operand.value, perm=order)
    sizes: list[Value] = []
    at = 0
    for group in groups:
        dims = [e.dim(turned, at + i) for i in range(len(group))]
        at += len(group)
        total = dims[0] if dims else e.ints(1)
        for dim in dims[1:]:
            total = e.op("Mul", total, dim)
        sizes.append(total)
    return e.reshape(turned, *sizes)


def _multiplied(e: Expansion, a: Operand, b: Operand) -> Operand:
    """The elementwise product over all labels of both."""
    labels = a.labels + "".join(c for c in b.labels if c not in a.labels)
    return Operand(e.op("Mul", _placed(e, a, labels), _placed(e, b, labels)), labels)


def _placed(e: Expansion, operand: Operand, labels: str) -> Value:
    order = [operand.labels.index(c) for c in labels if c in operand.labels]
    value = e.op("Transpose", operand.value, perm=order) if order != sorted(order) else operand.value
    return e.unsqueeze(value, *(i for i, c in enumerate(labels) if c not in operand.labels))
