"""Operators that move elements without changing them: shapes, orders of axes, joining and cutting, padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.aten.python import stacked
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ir.dims import Expr, exact_div, product
from magicmind.ops.emitter import Value

_END = (1 << 63) - 1


def axis_of(c: Converter, x: Any, dim: int) -> int:
    """The axis from the front."""
    rank = max(c.rank(x), 1)
    return dim % rank


# ------------------------------------------------------------------------------------------------------------ shapes


@aten("view", "aten::reshape", "aten::_unsafe_view", "aten::_reshape_alias", "aten::_reshape_copy")
def view(c: Converter, x: Tensor, size: Any, *strides: Any) -> Value:
    if not isinstance(size, (list, tuple)):
        raise UnsupportedOperatorError("a view as another dtype")
    return c.net.op("Reshape", c.value(x), c.vector(_without_hole(c, x, size)), allowzero=1)


def _without_hole(c: Converter, x: Tensor, size: Sequence[Any]) -> list[Any]:
    """The size with -1 replaced, where the sizes of all else are known."""
    wanted = list(size)
    holes = [i for i, s in enumerate(wanted) if isinstance(s, int) and s == -1]
    if holes and all(isinstance(s, (int, Expr)) for s in wanted):
        rest = product(s for i, s in enumerate(wanted) if i != holes[0])
        found = exact_div(product(c.shape(x)), rest) if rest != 0 else None
        if found is not None:
            wanted[holes[0]] = found
    return wanted


@aten("view_as", "aten::reshape_as")
def view_as(c: Converter, x: Tensor, other: Tensor) -> Value:
    return view(c, x, c.shape(other))


@aten("flatten")
def flatten(c: Converter, x: Tensor, start: int = 0, end: int = -1) -> Any:
    shape = c.shape(x)
    if not shape:
        return view(c, x, [1])
    first, last = axis_of(c, x, start), axis_of(c, x, end)
    return view(c, x, [*shape[:first], product(shape[first : last + 1]), *shape[last + 1 :]])


@aten("ravel")
def ravel(c: Converter, x: Tensor) -> Value:
    return view(c, x, [-1])


@aten("unflatten")
def unflatten(c: Converter, x: Tensor, dim: int, sizes: Sequence[Any]) -> Value:
    shape, axis = c.shape(x), axis_of(c, x, dim)
    parts = list(sizes)
    if -1 in parts:
        known = product(s for s in parts if not (isinstance(s, int) and s == -1))
        found = exact_div(shape[axis], known)
        if found is None:
            raise UnsupportedOperatorError(f"{shape[axis]} elements cannot be cut into {parts}")
        parts[parts.index(-1)] = found
    return view(c, x, [*shape[:axis], *parts, *shape[axis + 1 :]])


@aten("unsqueeze")
def unsqueeze(c: Converter, x: Tensor, dim: int) -> Value:
    return c.net.unsqueeze(c.value(x), dim % (c.rank(x) + 1))


@aten("squeeze")
def squeeze(c: Converter, x: Tensor, dim: int | Sequence[int] | None = None) -> Any:
    shape = c.shape(x)
    axes = range(len(shape)) if dim is None else [dim] if isinstance(dim, int) else dim
    ones = [a % len(shape) for a in axes if shape and shape[a] == 1]
    return c.net.squeeze(c.value(x), *ones) if ones else x.payload


@aten("expand", "aten::broadcast_to")
def expand(c: Converter, x: Tensor, size: Sequence[Any], implicit: bool = False) -> Value:
    shape, count = c.shape(x), len(size) - c.rank(x)
    wanted = [shape[i - count] if isinstance(s, int) and s == -1 else s for i, s in enumerate(size)]
    return c.net.op("Expand", c.value(x), c.vector(wanted))


@aten("expand_as")
def expand_as(c: Converter, x: Tensor, other: Tensor) -> Value:
    return expand(c, x, c.shape(other))


@aten("repeat")
def repeat(c: Converter, x: Tensor, counts: Sequence[Any]) -> Value:
    value = c.value(x)
    more = len(counts) - c.rank(x)
    value = c.net.unsqueeze(value, *range(more)) if more else value
    return c.net.op("Tile", value, c.vector(counts))


@aten("tile")
def tile(c: Converter, x: Tensor, counts: Sequence[Any]) -> Value:
    return repeat(c, x, [*[1] * (c.rank(x) - len(counts)), *counts])


@aten("repeat_interleave")
def repeat_interleave(c: Converter, x: Tensor, count: Any = None, dim: int | None = None, *rest: Any) -> Value:
    if count is None:
        return _repeated_places(c, x)
    source = x if dim is not None else Tensor(view(c, x, [-1]))
    axis = axis_of(c, source, dim or 0)
    shape = c.shape(source)
    if isinstance(count, Tensor):
        known = c.known_size(count)
        if known is None:
            counts = Tensor(c.net.op("Expand", c.value(count), c.vector([shape[axis]])))
            return c.net.op("Gather", c.value(source), _repeated_places(c, counts), axis=axis)
        count = known if isinstance(known, Expr) else int(known)
    spread = c.net.unsqueeze(c.value(source), axis + 1)
    wide = c.net.op("Expand", spread, c.vector([*shape[: axis + 1], count, *shape[axis + 1 :]]))
    return view(c, Tensor(wide), [*shape[:axis], shape[axis] * count, *shape[axis + 1 :]])


def _repeated_places(c: Converter, counts: Tensor) -> Value:
    """0, 1, ... n - 1, each as often as counts[n] says."""
    each, one = c.cast(counts, torch.int64), c.net.const(1, "int64")
    numbers = c.net.op("Range", c.net.const(0, "int64"), c.net.op("ReduceMax", each, keepdims=0), one)
    there = c.net.op("Less", c.net.unsqueeze(numbers, 0), c.net.unsqueeze(each, 1))
    return c.net.op("Gather", c.net.op("NonZero", there), c.net.const(0, "int64"), axis=0)


# ------------------------------------------------------------------------------------------------------------- order


@aten("permute")
def permute(c: Converter, x: Tensor, dims: Sequence[int]) -> Value:
    return c.net.op("Transpose", c.value(x), perm=[d % c.rank(x) for d in dims])


@aten("transpose", "aten::swapaxes", "aten::transpose_copy")
def transpose(c: Converter, x: Tensor, a: int, b: int) -> Any:
    if c.rank(x) == 0:
        return x.payload
    order = list(range(c.rank(x)))
    order[a], order[b] = order[b], order[a]
    return c.net.op("Transpose", c.value(x), perm=order)


@aten("t", "aten::numpy_T", "aten::mT", "aten::adjoint")
def t(c: Converter, x: Tensor) -> Any:
    return x.payload if c.rank(x) < 2 else transpose(c, x, -1, -2)


@aten("movedim")
def movedim(c: Converter, x: Tensor, source: Any, target: Any) -> Value:
    rank = c.rank(x)
    sources = [s % rank for s in ([source] if isinstance(source, int) else source)]
    targets = [t % rank for t in ([target] if isinstance(target, int) else target)]
    rest = iter(i for i in range(rank) if i not in sources)
    placed = dict(zip(targets, sources, strict=True))
    return c.net.op("Transpose", c.value(x), perm=[placed[i] if i in placed else next(rest) for i in range(rank)])


@aten("flip")
def flip(c: Converter, x: Tensor, dims: Sequence[int]) -> Value:
    back, ends = c.net.ints(*[-1] * len(dims)), c.net.ints(*[-_END] * len(dims))
    return c.net.op("Slice", c.value(x), back, ends, c.net.ints(*dims), back)


@aten("roll")
def roll(c: Converter, x: Tensor, shifts: Any, dims: Any = ()) -> Value:
    moves = [shifts] if isinstance(shifts, int) else list(shifts)
    axes = [dims] if isinstance(dims, int) else list(dims)
    value = c.value(x)
    if not axes:
        return view(c, Tensor(_rolled(c, view(c, x, [-1]), moves[0], 0)), c.shape(x))
    for move, axis in zip(moves, axes, strict=True):
        value = _rolled(c, value, move, axis)
    return value


def _rolled(c: Converter, x: Value, shift: Any, axis: int) -> Value:
    size = c.shape(x)[axis]
    move = shift % size if isinstance(size, int) and isinstance(shift, int) and size else shift
    if isinstance(move, int) and move == 0:
        return x
    start = c.vector([move * -1])
    tail = c.net.op("Slice", x, start, c.net.ints(_END), c.net.ints(axis))
    head = c.net.op("Slice", x, c.net.ints(0), start, c.net.ints(axis))
    return c.net.op("Concat", tail, head, axis=axis)


@aten("pixel_shuffle")
def pixel_shuffle(c: Converter, x: Tensor, factor: int) -> Value:
    return c.net.op("DepthToSpace", c.value(x), blocksize=factor, mode="CRD")


@aten("pixel_unshuffle")
def pixel_unshuffle(c: Converter, x: Tensor, factor: int) -> Value:
    n, ch, h, w = c.shape(x)
    cut = view(c, x, [n, ch, h // factor, factor, w // factor, factor])
    moved = c.net.op("Transpose", cut, perm=[0, 1, 3, 5, 2, 4])
    return view(c, Tensor(moved), [n, ch * factor * factor, h // factor, w // factor])


@aten("channel_shuffle", "aten::native_channel_shuffle")
def channel_shuffle(c: Converter, x: Tensor, groups: int) -> Value:
    n, ch, *rest = c.shape(x)
    cut = view(c, x, [n, groups, ch // groups, *rest])
    order = [0, 2, 1, *range(3, 3 + len(rest))]
    return view(c, Tensor(c.net.op("Transpose", cut, perm=order)), [n, ch, *rest])


# ------------------------------------------------------------------------------------------------- joining and cutting


@aten("cat", "aten::concat", "aten::concatenate")
def cat(c: Converter, tensors: Sequence[Tensor], dim: int = 0) -> Value:
    if (all_ := stacked(tensors)) is not None:
        shape, axis = c.shape(all_)[1:], dim % (c.rank(all_) - 1)
        moved = movedim(c, all_, 0, axis)  # [..., items, size, ...]
        return c.net.op("Reshape", moved, c.vector([*shape[:axis], -1, *shape[axis + 1 :]]))
    filled = [t for t in tensors if c.shape(t) != (0,)] or list(tensors)  # an empty vector joins anything
    return c.net.op("Concat", *c.promoted(*filled), axis=dim)


@aten("stack")
def stack(c: Converter, tensors: Sequence[Tensor], dim: int = 0) -> Value:
    if (all_ := stacked(tensors)) is not None:
        return movedim(c, all_, 0, dim)
    axis = dim % (c.rank(tensors[0]) + 1)
    return c.net.op("Concat", *(c.net.unsqueeze(v, axis) for v in c.promoted(*tensors)), axis=axis)


@aten("hstack")
def hstack(c: Converter, tensors: Sequence[Tensor]) -> Value:
    return cat(c, tensors, 0 if c.rank(tensors[0]) < 2 else 1)


@aten("split", "aten::split_with_sizes", "aten::unsafe_split", "aten::tensor_split_sizes")
def split(c: Converter, x: Tensor, sizes: Any, dim: int = 0) -> list[Value]:
    if not isinstance(sizes, (list, tuple)):
        size = c.shape(x)[dim]
        count = exact_div(size, sizes) if isinstance(size, Expr) or isinstance(sizes, Expr) else -(-size // sizes)
        if not isinstance(count, int):
            raise UnsupportedOperatorError(f"a mutable number of parts: {size} elements, {sizes} in each")
        last = size - sizes * (count - 1)
        sizes = [*[sizes] * (count - 1), last]
    if len(sizes) == 1:
        return [c.value(x)]
    return list(c.net.ops("Split", c.value(x), c.vector(sizes), count=len(sizes), axis=dim))


@aten("chunk", "aten::unsafe_chunk")
def chunk(c: Converter, x: Tensor, chunks: int, dim: int = 0) -> list[Value]:
    size = c.shape(x)[dim]
    if isinstance(size, int):
        return split(c, x, max(-(-size // chunks), 1), dim)
    each = exact_div(size, chunks)
    if each is None:
        raise UnsupportedOperatorError(f"a mutable size {size} in {chunks} chunks")
    return split(c, x, [each] * chunks, dim)


@aten("tensor_split")
def tensor_split(c: Converter, x: Tensor, parts: Any, dim: int = 0) -> list[Value]:
    size = c.shape(x)[dim]
    if not isinstance(size, int) or isinstance(parts, Tensor):
        raise UnsupportedOperatorError("tensor_split of a mutable size")
    if isinstance(parts, int):
        small, more = divmod(size, parts)
        return split(c, x, [small + 1] * more + [small] * (parts - more), dim)
    edges = [0, *(min(p % size if p < 0 else p, size) for p in parts), size]
    return split(c, x, [b - a for a, b in pairwise(edges)], dim)


@aten("unbind")
def unbind(c: Converter, x: Tensor, dim: int = 0) -> list[Value]:
    count = c.shape(x)[dim]
    if not isinstance(count, int):
        raise UnsupportedOperatorError(f"a mutable number of parts: {count}")
    return [c.net.squeeze(v, axis_of(c, x, dim)) for v in split(c, x, [1] * count, dim)]


@aten("narrow")
def narrow(c: Converter, x: Tensor, dim: int, start: Any, length: Any) -> Value:
    begin = c.vector([start])
    return c.net.op("Slice", c.value(x), begin, c.net.op("Add", begin, c.vector([length])), c.net.ints(dim))


def padded(c: Converter, x: Tensor, pads: Sequence[Any], mode: str, number: Any) -> Value:
    """ONNX's Pad in place of PyTorch's, whose pads start at the last axis."""
    rank = c.rank(x)
    begin, end = [0] * rank, [0] * rank
    for i in range(len(pads) // 2):
        begin[rank - 1 - i], end[rank - 1 - i] = pads[2 * i], pads[2 * i + 1]
    value = c.value(x)
    fill = c.net.scalar(number or 0, value) if mode == "constant" else None
    return c.net.op("Pad", value, c.vector([*begin, *end]), fill, mode=mode)


@aten("constant_pad_nd")
def constant_pad_nd(c: Converter, x: Tensor, pads: Sequence[Any], number: Any = 0) -> Value:
    return padded(c, x, pads, "constant", number)


@aten("pad")
def pad(c: Converter, x: Tensor, pads: Sequence[Any], mode: str = "constant", number: Any = None) -> Value:
    return padded(c, x, pads, _MODES[mode], number)


_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pads_as(mode: str) -> Callable[..., Value]:
    return lambda c, x, pads: padded(c, x, pads, mode, None)


for _axes in (1, 2, 3):
    aten(f"reflection_pad{_axes}d")(_pads_as("reflect"))
    aten(f"replication_pad{_axes}d")(_pads_as("edge"))
