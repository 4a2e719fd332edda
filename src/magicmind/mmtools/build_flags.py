"""The flags of `mm_build` and of the tools for one framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from magicmind.facade.config import LAYOUTS, PRECISIONS
from magicmind.facade.enums import DataType
from magicmind.mmtools import arguments as grammar
from magicmind.mmtools.arguments import Flag, UsageError

ALONE = ("NONE", "ARRAY")
"""Layouts that leave an input or output as it is."""
_TYPES = tuple(name for name in DataType.__members__ if name != "TENSORLIST")
_layouts, _types = grammar.choices(*LAYOUTS, *ALONE), grammar.choices(*_TYPES)
_precision = grammar.choice(*PRECISIONS, "forced_float32", "forced_float16")

COMMON = (
    Flag("precision", _precision, "MODE", PRECISIONS[0], f"one of {', '.join(PRECISIONS)}"),
    Flag("calibration", grammar.boolean, "BOOL", False, "measure ranges; without data all are [-1, 1]"),
    Flag("calibration_algo", grammar.choice("linear", "eqnm"), "linear|eqnm", "linear", "how ranges are found"),
    Flag("calibration_data_path", grammar.text, "FOLDER", None, "raw samples, in the network's types"),
    Flag("file_list", grammar.texts, "FILE ...", None, "a list per input: `file` or `file shape[1,3,8,8]` per line"),
    Flag("random_calib_range", grammar.numbers, "MIN,MAX", None, "random samples; before files"),
    Flag("rpc_server", grammar.text, "HOST:PORT", None, "calibrate there"),
    Flag("batch_size", grammar.counts, "N ...", None, "first dim of every input, or one per input"),
    Flag("input_dims", grammar.shapes, "1,3,224,224 ...", None, "a shape per input; `_` a scalar, -1 an open size"),
    Flag("input_layout", _layouts, "NHWC ...", None, "what the model takes; the network has its opposite"),
    Flag("output_layout", _layouts, "NHWC ...", None, "what the model delivers"),
    Flag("input_dtypes", _types, "UINT8 ...", None, "types that the model takes; else the network's"),
    Flag("output_dtypes", _types, "FLOAT ...", None, "types that the model delivers; else the network's"),
    Flag("dynamic_shape", grammar.boolean, "BOOL", True, "sizes may change, within dim_range of --build_config"),
    Flag("means", grammar.number_lists, "A,B,C ...", None, "per input, `_` for none; the model then takes UINT8"),
    Flag("vars", grammar.number_lists, "A,B,C ...", None, "variances; with --means"),
    Flag("mlu_arch", grammar.texts, "NAME ...", None, "targets; names of cards mean this machine"),
    Flag("cluster_num", grammar.count_lists, "A,B ...", None, "per --mlu_arch; kept in the manifest", effect=False),
    Flag("toolchain_path", grammar.text, "FOLDER", None, "kept in the manifest, no effect on a CPU"),
    Flag("rgb2bgr", grammar.boolean, "BOOL", False, "the model takes channels in reverse"),
    Flag("plugin", grammar.texts, "FILE ...", None, "Python files that register operators"),
    Flag("build_config", grammar.text, "FILE", None, "JSON, over what the flags say"),
    Flag("magicmind_model", grammar.text, "FILE", "./model", "the offline model to write"),
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A framework: its files, which are all needed, and flags that go with them."""

    files: Sequence[Flag]
    extra: Sequence[Flag] = ()

    @property
    def flags(self) -> tuple[Flag, ...]:
        """All of them."""
        return (*self.files, *self.extra)


def _file(name: str, meaning: str) -> Flag:
    return Flag(name, grammar.text, "FILE", None, meaning, required=True)


SOURCES: Mapping[str, Source] = {
    "caffe": Source([_file("prototxt", "Caffe's network"), _file("caffemodel", "Caffe's weights")]),
    "onnx": Source([_file("onnx", "ONNX model")]),
    "pytorch": Source(
        [_file("pytorch_pt", "TorchScript program")],
        [Flag("pt_input_dtypes", _types, "FLOAT ...", None, "types of its inputs; FLOAT unless given")],
    ),
    "tensorflow": Source(
        [_file("tf_pb", "frozen TensorFlow graph")],
        [
            Flag("input_names", grammar.texts, "NAME ...", None, "tensors that are inputs; else the placeholders"),
            Flag("output_names", grammar.texts, "NAME ...", None, "tensors that are outputs; else the last ones"),
        ],
    ),
}
"""By the word in front of `_build`."""


def flags_of(framework: str | None) -> tuple[Flag, ...]:
    """The flags of one framework's tool; None: of `mm_build`, which takes all."""
    if framework is not None:
        return (*SOURCES[framework].flags, *COMMON)
    return (*(replace(flag, required=False) for source in SOURCES.values() for flag in source.flags), *COMMON)


def chosen(values: Mapping[str, Any]) -> str:
    """The framework whose file `mm_build` is given.  Raises UsageError unless there is one, with all its files."""
    given = {
        framework: [flag.name for flag in source.flags if values[flag.name] is not None]
        for framework, source in SOURCES.items()
    }
    found = [framework for framework, names in given.items() if names]
    if len(found) != 1:
        said = " and ".join(f"--{names[0]}" for names in given.values() if names)
        ways = "; ".join(" ".join(f"--{flag.name}" for flag in source.files) for source in SOURCES.values())
        raise UsageError(
            f"{said} are of different frameworks" if said else "no network is given", hint=f"one of: {ways}"
        )
    missing = [flag for flag in SOURCES[found[0]].files if flag.name not in given[found[0]]]
    if missing:
        raise UsageError(f"--{missing[0].name} is missing", hint=missing[0].meaning)
    return found[0]
