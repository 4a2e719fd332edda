"""ONNX operators on numpy arrays, one node at a time, by onnx's own reference evaluator: slow and obviously right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx_ir
from onnx.reference import ReferenceEvaluator

from magicmind.errors import UnsupportedOperatorError

Array: TypeAlias = np.ndarray[Any, Any]

OPSET = 22  # the operator set that the unified graph speaks


def evaluate_op(
    op_type: str, arrays: Sequence[Array | None], attributes: Mapping[str, Any] | None = None, opset: int = OPSET
) -> list[Array]:
    """The only output of an ONNX operator given its inputs and attributes as plain Python values."""
    names = ["" if a is None else f"x{i}" for i, a in enumerate(arrays)]
    node = onnx.helper.make_node(op_type, names, ["y"], **(attributes or {}))
    return _evaluate(node, arrays, names, opset)


def evaluate_node(node: onnx_ir.Node, arrays: Sequence[Array | None], opset: int = OPSET) -> list[Array]:
    """All outputs of an ONNX node (without subgraphs).  Raises UnsupportedOperatorError for what onnx cannot run."""
    proto = onnx_ir.to_proto(node)
    names = ["" if a is None else f"x{i}" for i, a in enumerate(arrays)]
    del proto.input[:], proto.output[:]
    proto.input.extend(names)
    proto.output.extend(f"y{i}" for i in range(len(node.outputs)))
    return _evaluate(proto, arrays, names, opset)


def _evaluate(proto: onnx.NodeProto, arrays: Sequence[Array | None], names: list[str], opset: int) -> list[Array]:
    try:
        evaluator = ReferenceEvaluator(proto, opsets={"": opset})
    except (NotImplementedError, RuntimeError) as error:
        raise UnsupportedOperatorError(f"onnx has no reference for {proto.op_type}: {error}") from error
    feeds = {name: array for name, array in zip(names, arrays, strict=True) if array is not None}
    try:
        return [np.asarray(y) for y in evaluator.run(None, feeds)]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, AssertionError) as error:
        raise UnsupportedOperatorError(f"onnx's reference of {proto.op_type} fails: {error}") from error
