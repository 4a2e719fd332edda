"""The build configuration that the flags of `mm_build` say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from magicmind.errors import Error
from magicmind.mmtools.arguments import UsageError
from magicmind.mmtools.build_flags import ALONE

T = TypeVar("T")

OPPOSITES = {"NCHW": "NHWC", "NHWC": "NCHW", "NCT": "NTC", "NTC": "NCT", "NCDHW": "NDHWC", "NDHWC": "NCDHW"}
"""What a network has when its model is to have the other."""
UNKNOWN_RANGES = {"": {"min": [-1], "max": [1]}}
"""For every tensor, where nothing is measured: for speed tests."""


def configuration(values: Mapping[str, Any], inputs: int, outputs: int) -> dict[str, Any]:
    """The JSON object. inputs, outputs: how many the network has.  Raises Error where a flag does not fit that."""
    document: dict[str, Any] = {
        "graph_shape_mutable": values["dynamic_shape"],
        "precision_config": {"precision_mode": values["precision"]},
        "archs": _archs(values["mlu_arch"], values["cluster_num"]),
        "insert_bn_before_firstnode": _normalisation(values["means"], values["vars"], inputs),
        "convert_input_layout": _layouts("input_layout", values, inputs),
        "convert_output_layout": _layouts("output_layout", values, outputs),
        "rgb2bgr": values["rgb2bgr"],
        "cross_compile_toolchain_path": values["toolchain_path"],
        "custom_ranges": UNKNOWN_RANGES if values["calibration"] and not has_data(values) else None,
    }
    return {key: value for key, value in document.items() if value not in (None, {}, [])}


def has_data(values: Mapping[str, Any]) -> bool:
    """Whether the flags name samples to calibrate with."""
    return any(values[name] is not None for name in ("calibration_data_path", "file_list", "random_calib_range"))


def one_each(flag: str, given: Sequence[T], count: int, what: str = "input") -> Sequence[T]:
    """The values, one per input or output.  Raises Error when they are more or fewer."""
    if len(given) != count:
        raise Error(f"--{flag} has {len(given)} values, the network has {count} {what}s", hint=f"one per {what}")
    return given


def _archs(names: Sequence[str] | None, clusters: Sequence[Sequence[int]] | None) -> list[Any]:
    if clusters is None:
        return list(names or ())
    if names is None or len(names) != len(clusters):
        raise UsageError(f"--cluster_num has {len(clusters)} lists for {len(names or ())} names of --mlu_arch")
    return [{name: list(counts)} for name, counts in zip(names, clusters, strict=True)]


def _normalisation(
    means: Sequence[Sequence[float]] | None, variances: Sequence[Sequence[float]] | None, inputs: int
) -> dict[str, Any]:
    if means is None and variances is None:
        return {}
    if means is None or variances is None:
        raise UsageError(
            f"--{'means' if means is None else 'vars'} is missing", hint="--means and --vars come together"
        )
    found = {}
    pairs = zip(one_each("means", means, inputs), one_each("vars", variances, inputs), strict=True)
    for i, (mean, variance) in enumerate(pairs):
        if len(mean) != len(variance):
            raise UsageError(f"input {i} has {len(mean)} --means and {len(variance)} --vars", hint="one per channel")
        if any(v <= 0 for v in variance):
            raise UsageError(f"input {i}: --vars {list(variance)}: a variance is above zero")
        if mean:
            found[str(i)] = {"mean": list(mean), "var": list(variance)}
    return found


def _layouts(flag: str, values: Mapping[str, Any], count: int) -> dict[str, Any]:
    given = values[flag]
    if given is None:
        return {}
    targets = enumerate(one_each(flag, given, count, flag.partition("_")[0]))
    return {str(i): {"src": OPPOSITES[target], "dst": target} for i, target in targets if target not in ALONE}
