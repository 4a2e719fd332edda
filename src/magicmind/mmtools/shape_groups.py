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
    """One group, or those of the run configuration. Raises Error where a mutable dim has no size."""
    if values["run_config"]:
        return _configured(inputs, Path(values["run_config"]))
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
        if any(not isinstance(dim, int) for dim in shape):
            raise Error(
                f"input {info.name} has shape {list(info.shape)}: it has to be told",
                hint="--batch_size for its first dim, or --input_dims for all",
            )
        group[info.name] = tuple(shape)
    return [group]


def _configured(inputs: Sequence[TensorInfo], path: Path) -> list[Group]:
    """`inputType` 0: lists of shapes in input order; 1: objects of shapes by name. `[]` is a scalar."""
    try:
        document = json.loads(path.read_text())
        kind, groups = document["inputType"], document["inputDims"]
        if kind == 0:
            found = [dict(zip((i.name for i in inputs), map(tuple, group), strict=True)) for group in groups]
        else:
            found = [{name: tuple(shape) for name, shape in group.items()} for group in groups]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = '{"inputType": 0, "inputDims": [[[1, 3]]]} is one'
        raise Error(f"{path} is no run configuration: {error}", hint=hint) from error
    names = {info.name for info in inputs}
    for group in found:
        if set(group) != names:
            raise Error(f"{path}: a group names {sorted(group)}, the model's inputs are {sorted(names)}")
    if not found:
        raise Error(f"{path} holds no group of shapes")
    return found
