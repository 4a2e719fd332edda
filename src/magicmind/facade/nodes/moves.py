"""Nodes that make, move and select values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.errors import ShapeError
from magicmind.facade.dims import Dims
from magicmind.facade.enums import DataType, get_numpy_dtype_by_datatype
from magicmind.facade.nodes.row import Call, Emit, Emitter, Row, Value
from magicmind.facade.status import Refused


def _const(e: Emitter, c: Call) -> Value:
    dtype, dims = c["dtype"], c["dimensions"]
    if not isinstance(dtype, DataType):
        raise Refused(f"a constant has a DataType, not {dtype!r:.60}")
    found = dims if isinstance(dims, Dims) else Dims(dims)
    array = np.asarray(c["value"])
    if found.problem or array.size != found.GetElementCount():
        raise Refused(found.problem or f"{array.size} values do not fit the dims {found}")
    return e.const(array.astype(get_numpy_dtype_by_datatype(dtype)).reshape(found.GetDims()))


def _permute(e: Emitter, c: Call) -> Value:
    return e.op("Transpose", c["input"], perm=c.numbers("perm"))


def _swap(e: Emitter, c: Call) -> Value:
    rank = e.rank(c["input"])
    a, b = c.number("dim0") % rank, c.number("dim1") % rank
    perm = list(range(rank))
    perm[a], perm[b] = perm[b], perm[a]
    return e.op("Transpose", c["input"], perm=perm)


def _range(e: Emitter, c: Call) -> Value:
    return e.op("Range", c.scalar("start"), c.scalar("limit"), c.scalar("delta"))


def _cast(e: Emitter, c: Call) -> Value:
    return e.op("Cast", c["input"], to=int(_dtype(c["dtype"])))


def _fill(e: Emitter, c: Call) -> Value:
    return e.op("Expand", c.scalar("value"), c.i64("shape"))


def _slice(e: Emitter, c: Call) -> Value:
    axes, rank = c.numbers("axis"), e.rank(c["input"])
    if any(not -rank <= axis < rank for axis in axes):
        raise ShapeError(f"a tensor of {rank} dims has no axis {axes}")
    begin, size = c.i64("begin"), c.i64("size")
    return e.op("Slice", c["input"], begin, e.op("Add", begin, size), c.i64("axis"))


def _split(e: Emitter, c: Call) -> Any:
    count = c.number("num")
    return e.ops("Split", c["input"], count=count, axis=c.number("axis"), num_outputs=count)


def _pads(e: Emitter, value: Value, rank: int) -> Value:
    """[rank, 2] or flat (begin, end) pairs as ONNX's begins, then ends; fewer pairs are those of the last axes."""
    pairs = e.reshape(value, -1, 2)
    count = e.shape(pairs)[0]
    if isinstance(count, int) and count < rank:
        pairs = e.op("Concat", e.const(np.zeros((rank - count, 2)), np.int64), pairs, axis=0)
    return e.reshape(e.op("Transpose", pairs, perm=[1, 0]), -1)


def _pad(e: Emitter, c: Call) -> Value:
    value = None if c["value"] is None else c.scalar("value")
    return e.op("Pad", c["input"], _pads(e, c.i64("paddings"), e.rank(c["input"])), value)


def _crop(e: Emitter, c: Call) -> Value:
    """As Caffe's Crop: from `axis` on, `size` elements beginning at `offset`; a tensor of floats has that size."""
    rank, axis = e.rank(c["input"]), c.number("axis", "axis")
    given = c["offset"] if c.settings["offset"] is None else c.settings["offset"]
    sizes, offsets = _sizes(e, c), [int(v) for v in np.ravel(given)] if given is not None else [0]
    axes = list(range(axis % rank, rank))
    sizes = sizes[-len(axes) :]
    offsets = offsets * len(axes) if len(offsets) == 1 else offsets[-len(axes) :]
    ends = [o + s for o, s in zip(offsets, sizes, strict=True)]
    return e.op("Slice", c["input"], e.ints(*offsets), e.ints(*ends), e.ints(*axes))


def _sizes(e: Emitter, c: Call) -> list[int]:
    size = c["size"]
    if not hasattr(size, "const_value") or not e.type(size).dtype.is_floating_point():
        return c.numbers("size")
    shape = e.shape(size)
    if not all(isinstance(d, int) for d in shape):
        raise Refused(f"the size to crop to is open: {shape}")
    return [d for d in shape if isinstance(d, int)]


def _batch_space(to_batch: bool) -> Emit:
    """TensorFlow's SpaceToBatchND and BatchToSpaceND on channels-last tensors [N, spatial..., C]."""

    def emit(e: Emitter, c: Call) -> Value:
        block, edges = c.numbers("block_shape"), c.numbers("edges")
        begins, ends, count = edges[::2], edges[1::2], len(edges) // 2
        axes = list(range(1, count + 1))
        if to_batch:
            rank = e.rank(c["input"])
            pads = [0, *begins, *[0] * (rank - 1 - count), 0, *ends, *[0] * (rank - 1 - count)]
            return _space_to_batch(e, e.op("Pad", c["input"], e.ints(*pads)), block)
        found = _batch_to_space(e, c["input"], block)
        stops = [-end or np.iinfo(np.int64).max for end in ends]
        return e.op("Slice", found, e.ints(*begins), e.ints(*stops), e.ints(*axes))

    return emit


def _space_to_batch(e: Emitter, x: Value, block: Sequence[int]) -> Value:
    count, rank = len(block), e.rank(x)
    sizes = [part for i, b in enumerate(block) for part in (e.op("Div", e.dim(x, i + 1), e.ints(b)), b)]
    rest = [e.dim(x, i) for i in range(count + 1, rank)]
    split = e.reshape(x, e.dim(x, 0), *sizes, *rest)
    inner, outer = [2 + 2 * i for i in range(count)], [1 + 2 * i for i in range(count)]
    moved = e.op("Transpose", split, perm=[*inner, 0, *outer, *range(1 + 2 * count, rank + count)])
    return e.reshape(moved, -1, *(e.op("Div", e.dim(x, i + 1), e.ints(b)) for i, b in enumerate(block)), *rest)


def _batch_to_space(e: Emitter, x: Value, block: Sequence[int]) -> Value:
    count, rank = len(block), e.rank(x)
    batch = e.op("Div", e.dim(x, 0), e.ints(int(np.prod(block))))
    rest = [e.dim(x, i) for i in range(count + 1, rank)]
    split = e.reshape(x, *block, batch, *(e.dim(x, i + 1) for i in range(count)), *rest)
    order = [count, *(axis for i in range(count) for axis in (count + 1 + i, i)), *range(2 * count + 1, rank + count)]
    moved = e.op("Transpose", split, perm=order)
    return e.reshape(moved, batch, *(e.op("Mul", e.dim(x, i + 1), e.ints(b)) for i, b in enumerate(block)), *rest)


def _gather(e: Emitter, c: Call) -> Value:
    return e.op("Gather", c["weight"], c["indices"], axis=0)


def _gather_elements(e: Emitter, c: Call) -> Value:
    return e.op("GatherElements", c["values"], c["indices"], axis=c.number("axis"))


def _where(e: Emitter, c: Call) -> Value:
    """Values by condition, or without them the positions [count, rank] where it holds."""
    if c["x"] is not None and c["y"] is not None:
        return e.op("Where", c["condition"], c["x"], c["y"])
    return e.op("Transpose", e.op("NonZero", c["condition"]), perm=[1, 0])


def _masked_select(e: Emitter, c: Call) -> Value:
    shape = e.op("Shape", c["input"])
    flat = e.reshape(c["input"], -1)
    return e.op("Compress", flat, e.reshape(e.op("Expand", c["mask"], shape), -1), axis=0)


_SCATTER = {"SCATTER": "none", "SCATTER_ADD": "add", "SCATTER_MAX": "max", "SCATTER_MIN": "min", "SCATTER_MUL": "mul"}


def _scatter(e: Emitter, c: Call) -> Value:
    how = _SCATTER.get(c.word("kind"))
    if how is None:
        raise Refused(f"kind {c.word('kind')!r} is not known", hint=f"known: {', '.join(_SCATTER)}")
    return e.op("ScatterElements", c["input"], c["index"], c["src"], axis=c.number("axis"), reduction=how)


def _reverse(e: Emitter, c: Call) -> Value:
    axes = c.numbers("axis")
    ends = [np.iinfo(np.int64).min + 1] * len(axes)
    return e.op("Slice", c["input"], e.ints(*[-1] * len(axes)), e.ints(*ends), e.ints(*axes), e.ints(*[-1] * len(axes)))


def _shuffle(e: Emitter, c: Call) -> Value:
    x, group, axis = c["input"], c.number("group", "group"), c.setting("axis", int) % e.rank(c["input"])
    depth = e.shape(x)[axis]
    if not isinstance(depth, int) or depth % group:
        raise Refused(f"{depth} channels are not {group} groups")
    before, rest = ([e.dim(x, i) for i in part] for part in (range(axis), range(axis + 1, e.rank(x))))
    split = e.reshape(x, *before, group, depth // group, *rest)
    moved = e.op("Transpose", split, perm=[*range(axis), axis + 1, axis, *range(axis + 2, e.rank(split))])
    return e.reshape(moved, *before, depth, *rest)


def _invert_permutation(e: Emitter, c: Call) -> Value:
    from magicmind.ops.registry import contents_of

    index = c.i64("input")
    known = contents_of(c["input"])
    if known is not None and sorted(known.flat) != list(range(known.size)):
        raise Refused(f"{known.tolist()!s:.80} is no permutation")
    return e.cast_like(e.op("ScatterElements", index, index, e.count_up(e.dim(index, 0)), axis=0), c["input"])


def _random_uniform(e: Emitter, c: Call) -> Value:
    """From `low` to `high`, which may be tensors."""
    zeros = e.op("ConstantOfShape", c.i64("shape"))
    seed = c.settings["seed"]
    drawn = e.op("RandomUniformLike", zeros, low=0.0, high=1.0, seed=None if seed is None else float(seed))
    low, high = (e.cast_like(c.scalar(n), drawn) for n in ("low", "high"))
    return e.cast(e.op("Add", e.op("Mul", drawn, e.op("Sub", high, low)), low), _dtype(c["dtype"]))


def _dtype(found: Any) -> Any:
    if not isinstance(found, DataType):
        raise Refused(f"a DataType is wanted, not {found!r:.60}")
    from magicmind.facade.onnx_types import graph_type

    return graph_type(found)


def _static_count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Refused(f"the number of parts is {value!r}; a number above zero is wanted")
    return value


ROWS: Sequence[Row] = (
    Row("const", ".dtype .dimensions .value", _const),
    Row("permute", "input perm", _permute),
    Row("transpose", "input .dim0 .dim1", _swap),
    Row("range", "start limit delta", _range),
    Row("unsqueeze", "input .axis", lambda e, c: e.op("Unsqueeze", c["input"], c.i64("axis"))),
    Row("squeeze", "input .axis", lambda e, c: e.op("Squeeze", c["input"], c.i64("axis"))),
    Row("cast", "input .dtype", _cast),
    Row("fill", "shape value", _fill),
    Row("slice", "input begin size .axis", _slice),
    Row("split", "input .axis .num", _split, results=lambda a: _static_count(a["num"])),
    Row("concat", ".axis inputs*", lambda e, c: e.op("Concat", *c["inputs"], axis=c.number("axis"))),
    Row(
        "pack", ".axis inputs*",
        lambda e, c: e.op("Concat", *(e.unsqueeze(v, c.number("axis")) for v in c["inputs"]), axis=c.number("axis")),
    ),
    Row("reshape", "input .shape", lambda e, c: e.op("Reshape", c["input"], c.i64("shape"))),
    Row("tile", "input .multiples", lambda e, c: e.op("Tile", c["input"], c.i64("multiples"))),
    Row("pad", "input .paddings value?", _pad),
    Row("crop", "input .size .offset? .axis? .space_number?", _crop, dict.fromkeys(("offset", "axis", "space_number"))),
    Row("batch_to_space", "input .block_shape .edges", _batch_space(to_batch=False)),
    Row("space_to_batch", "input .block_shape .edges", _batch_space(to_batch=True)),
    Row("select", "x y condition", lambda e, c: e.op("Where", c["condition"], c["x"], c["y"])),
    Row("where", "condition x? y?", _where),
    Row("masked_fill", "input mask value", lambda e, c: e.op("Where", c["mask"], c.scalar("value"), c["input"])),
    Row("masked_select", "input mask", _masked_select),
    Row("scatter", "input .axis index src .kind", _scatter),
    Row("gather_elw", "values indices .axis", _gather_elements),
    Row("embedding", "weight indices .padding_index?", _gather, {"layout": None}),
    Row("random_uniform", ".shape .high .low .dtype", _random_uniform, {"seed": None}),
    Row("invert_permutation", "input", _invert_permutation),
    Row("reverse", "input .axis", _reverse),
    Row("shuffle_channel", "input .group?", _shuffle, {"group": None, "axis": 1}),
)  # fmt: skip
