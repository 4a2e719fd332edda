"""The shapes a model is run with: `--run_config` before `--batch_size` and `--batch` before `--input_dims`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magicmind.errors import Error
from magicmind.tensorinfo import TensorInfo

Group = dict[str, tuple[int, ...]]
"""A shape per input."""


def shape_groups(inputs: Sequence[TensorInfo], values: Mapping[str, Any]) -> list[Group]:
    """One group, or those of the run configuration.

    Raises Error where a mutable dim has no size, and for shapes that the model does not take.
    """
    groups = _configured(inputs, Path(values["run_config"])) if values["run_config"] else [_told(inputs, values)]
    for group in groups:
        for info in inputs:
            if not _takes(info, group[info.name]):
                raise Error(f"input {info.name} has shape {_shown(info)}: {list(group[info.name])} does not fit")
    return groups


def batch_of(group: Group) -> int:
    """The largest first dim."""
    return max((shape[0] for shape in group.values() if shape), default=1)


def _takes(info: TensorInfo, shape: Sequence[int]) -> bool:
    ends = [(dim, dim) if isinstance(dim, int) else dim for dim in info.shape]
    return len(ends) == len(shape) and all(
        low <= size and (high is None or size <= high) for (low, high), size in zip(ends, shape, strict=True)
    )


def _shown(info: TensorInfo) -> str:
    """`[1..8, 3, 1.., 1..]`."""
    dims = (str(d) if isinstance(d, int) else f"{d[0]}..{'' if d[1] is None else d[1]}" for d in info.shape)
    return f"[{', '.join(dims)}]"


def _told(inputs: Sequence[TensorInfo], values: Mapping[str, Any]) -> Group:
    """The group that the flags say."""
    dims = values["input_dims"]
    if dims is not None and len(dims) != len(inputs):
        raise Error(f"--input_dims has {len(dims)} shapes, the model has {len(inputs)} inputs", hint="one per input")
    batches = values["batch_size"] or ([values["batch"]] if values["batch"] else None)
    if batches is not None and len(batches) == 1:
        batches = batches * len(inputs)  # as one client gives it for two inputs
    if batches is not None and len(batches) != len(inputs):
        raise Error(f"--batch_size has {len(batches)} values, the model has {len(inputs)} inputs", hint="one per input")
    group: Group = {}
    for i, info in enumerate(inputs):
        shape: list[Any] = list(info.shape if dims is None else dims[i])
        if batches is not None and shape:
            shape[0] = batches[i]
        if any(not isinstance(dim, int) or dim < 0 for dim in shape):
            raise Error(
                f"input {info.name} has shape {_shown(info)}: it has to be told",
                hint="--batch_size for its first dim, or --input_dims for all",
            )
        group[info.name] = tuple(shape)
    return group


def _configured(inputs: Sequence[TensorInfo], path: Path) -> list[Group]:
    """`inputType` 0: lists of shapes in input order; 1: objects of shapes by name. `[]` is a scalar."""
    try:
        document = json.loads(path.read_text())
        kind, groups = document["inputType"], document["inputDims"]
        if kind == 0:
            found = [dict(zip((i.name for i in inputs), map(_shape, group), strict=True)) for group in groups]
        elif kind == 1:
            found = [{name: _shape(shape) for name, shape in group.items()} for group in groups]
        else:
            raise ValueError(f"inputType is {kind!r}, not 0 or 1")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = '{"inputType": 0, "inputDims": [[[1, 3]]]} is one'
        raise Error(f"{path} is no run configuration: {error}", hint=hint) from error
    names = {info.name for info in inputs}
    for group in found:
        if set(group) != names:
            raise Error(f"{path}: a group names {sorted(group)}, the model's inputs are {sorted(names)}")
    if not found:
        raise Error(f"{path} holds no group of shapes")
    return found


def _shape(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, list) or not all(type(size) is int for size in sizes):
        raise ValueError(f"{sizes!r} is no shape")
    return tuple(sizes)
