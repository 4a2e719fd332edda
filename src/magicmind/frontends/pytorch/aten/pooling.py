"""Pooling over windows, and over as many as give a wanted size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.aten.convolution import Sizes, per_axis
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Tensor
from magicmind.ops.emitter import Value


def _batched(c: Converter, x: Tensor, spatial: int, pool: Callable[[Value], Any]) -> Any:
    """Pools [N, C, ...]; of [C, ...] with an axis added for the while."""
    value = c.value(x)
    if c.rank(x) == spatial + 2:
        return pool(value)
    result = pool(c.net.unsqueeze(value, 0))
    if isinstance(result, tuple):
        return tuple(c.net.squeeze(r, 0) for r in result)
    return c.net.squeeze(result, 0)


def _max_pool(spatial: int, with_positions: bool) -> Callable[..., Any]:
    def importer(
        c: Converter,
        x: Tensor,
        kernel: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
    ) -> Any:
        sizes = per_axis(kernel, spatial)
        attributes: dict[str, Any] = {
            "kernel_shape": sizes,
            "strides": per_axis(stride, spatial) if stride else sizes,
            "pads": per_axis(padding, spatial) * 2,
            "dilations": per_axis(dilation, spatial),
            "ceil_mode": int(ceil_mode),
        }

        def pool(value: Value) -> Any:
            results = c.net.ops("MaxPool", value, count=2 if with_positions else 1, **attributes)
            if not with_positions:
                return results[0]
            return results[0], _positions_in_plane(c, value, results[1])

        return _batched(c, x, spatial, pool)

    return importer


def _positions_in_plane(c: Converter, x: Value, flat: Value) -> Value:
    """Positions within one channel, from ONNX's in the whole tensor."""
    plane: Any = 1
    for d in c.net.shape(x)[2:]:
        plane = plane * d
    return c.net.op("Mod", flat, c.value(plane))


def _average_pool(spatial: int) -> Callable[..., Any]:
    def importer(
        c: Converter,
        x: Tensor,
        kernel: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor: int | None = None,
    ) -> Any:
        sizes = per_axis(kernel, spatial)
        attributes: dict[str, Any] = {
            "kernel_shape": sizes,
            "strides": per_axis(stride, spatial) if stride else sizes,
            "pads": per_axis(padding, spatial) * 2,
            "ceil_mode": int(ceil_mode),
            "count_include_pad": int(count_include_pad),
        }

        def pool(value: Value) -> Value:
            if divisor is None:
                return c.net.op("AveragePool", value, **attributes)
            window = 1
            for size in sizes:
                window *= size
            mean = c.net.op("AveragePool", value, **{**attributes, "count_include_pad": 1})
            return c.net.op("Mul", mean, c.net.scalar(window / divisor, value))

        return _batched(c, x, spatial, pool)

    return importer


def _adaptive(spatial: int, kind: str) -> Callable[..., Any]:
    """Windows from floor(i * in / out) to ceil((i + 1) * in / out)."""

    def importer(c: Converter, x: Tensor, output: Sequence[Any] | int) -> Any:
        sizes = [output] * spatial if isinstance(output, int) else list(output)
        have = c.shape(x)[-spatial:]
        wanted = [have[i] if s is None else s for i, s in enumerate(sizes)]

        def pool(value: Value) -> Value:
            if all(w == 1 for w in wanted):
                return c.net.op(f"Global{kind}Pool", value)
            for axis, (size, want) in enumerate(zip(have, wanted, strict=True)):
                value = _adapt(c, value, kind, axis, spatial, size, want)
            return value

        result = _batched(c, x, spatial, pool)
        return (result, result) if kind == "Max" else result

    return importer


def _adapt(c: Converter, x: Value, kind: str, axis: int, spatial: int, size: Any, want: Any) -> Value:
    """One axis of an adaptive pooling; the axes are independent of one another."""
    if size == want:
        return x
    if not isinstance(size, int) or not isinstance(want, int):
        raise UnsupportedOperatorError(
            f"adaptive pooling of a mutable size {size} to {want}", hint="fix this dimension, or pool to 1"
        )
    if size % want == 0:
        window = [size // want if i == axis else 1 for i in range(spatial)]
        return c.net.op(f"{kind}Pool", x, kernel_shape=window, strides=window)
    reduction = "ReduceMean" if kind == "Average" else "ReduceMax"
    at = axis - spatial
    parts = [
        c.net.op(
            reduction, c.net.slice(x, at, i * size // want, -(-(i + 1) * size // want)), c.net.ints(at), keepdims=1
        )
        for i in range(want)
    ]
    return c.net.op("Concat", *parts, axis=at)


for _spatial in (1, 2, 3):
    aten(f"max_pool{_spatial}d")(_max_pool(_spatial, False))
    aten(f"max_pool{_spatial}d_with_indices")(_max_pool(_spatial, True))
    aten(f"avg_pool{_spatial}d")(_average_pool(_spatial))
    aten(f"adaptive_avg_pool{_spatial}d", f"aten::_adaptive_avg_pool{_spatial}d")(_adaptive(_spatial, "Average"))
    aten(f"adaptive_max_pool{_spatial}d")(_adaptive(_spatial, "Max"))


def _unpool(spatial: int) -> Callable[..., Value]:
    """Elements back at the positions in their channel from which pooling took them, zeros elsewhere."""

    def importer(c: Converter, x: Tensor, at: Tensor, size: Sequence[Any], *settings: Any) -> Value:
        front = list(c.shape(x)[:-spatial])
        count: Any = 1
        for s in size[-spatial:]:
            count = count * s
        flat = [c.net.op("Reshape", c.value(v), c.vector([*front, -1]), allowzero=1) for v in (x, at)]
        empty = c.net.op("Expand", c.net.scalar(0, flat[0]), c.vector([*front, count]))
        full = c.net.op("ScatterElements", empty, flat[1], flat[0], axis=-1)
        return c.net.op("Reshape", full, c.vector([*front, *size[-spatial:]]), allowzero=1)

    return importer


aten("max_unpool2d")(_unpool(2))
aten("max_unpool3d")(_unpool(3))
