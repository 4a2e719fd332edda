"""Operators with several outputs: the names by which functions refer to them, in order."""

from __future__ import annotations

from typing import Any

from magicmind.errors import ModelFormatError

_NORM = ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3")
_CELL = ("i", "cs", "f", "o", "ci", "co", "h")
_LIMITS = ("output", "min_output", "max_output")

OUTPUTS: dict[str, tuple[str, ...]] = {
    "BlockLSTM": _CELL,
    "BlockLSTMV2": _CELL,
    "DecodeWav": ("audio", "sample_rate"),
    "FusedBatchNorm": _NORM[:5],
    "FusedBatchNormV2": _NORM[:5],
    "FusedBatchNormV3": _NORM,
    "GRUBlockCell": ("r", "u", "c", "h"),
    "LSTMBlockCell": _CELL,
    "ListDiff": ("out", "idx"),
    "Merge": ("output", "value_index"),
    "MaxPoolWithArgmax": ("output", "argmax"),
    "Moments": ("mean", "variance"),
    "NonMaxSuppressionV4": ("selected_indices", "valid_outputs"),
    "NonMaxSuppressionV5": ("selected_indices", "selected_scores", "valid_outputs"),
    "CombinedNonMaxSuppression": ("nmsed_boxes", "nmsed_scores", "nmsed_classes", "valid_detections"),
    "RefMerge": ("output", "value_index"),
    "RefSwitch": ("output_false", "output_true"),
    "Switch": ("output_false", "output_true"),
    "TensorArrayV3": ("handle", "flow"),
    "TensorArrayConcatV3": ("value", "lengths"),
    "TensorListConcatV2": ("tensor", "lengths"),
    "TensorListPopBack": ("output_handle", "tensor"),
    "TopK": ("values", "indices"),
    "TopKV2": ("values", "indices"),
    "Unique": ("y", "idx"),
    "UniqueV2": ("y", "idx"),
    "UniqueWithCounts": ("y", "idx", "count"),
    "SoftmaxCrossEntropyWithLogits": ("loss", "backprop"),
    "QuantizeV2": _LIMITS,
    "QuantizedConv2D": _LIMITS,
}


def position(node: Any, label: str) -> int:
    """The number of the first output called `label`.  Raises ModelFormatError when the operator has none."""
    names = OUTPUTS.get(node.op)
    if names is None:
        return 0  # its outputs are one list, or there is only one
    if label not in names:
        raise ModelFormatError(f"{node.op} {node.name!r} has no output {label!r}; it has {', '.join(names)}")
    return names.index(label)
