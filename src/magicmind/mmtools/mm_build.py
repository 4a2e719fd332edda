"""Programs `mm_build`, `caffe_build`, `onnx_build`, `pytorch_build`, `tensorflow_build`: from a file to a model.

onnx_build --onnx net.onnx --batch_size 8 --input_layout NHWC --means 123.7,116.3,103.5 --vars 3409,3262,3291
caffe_build --prototxt net.prototxt --caffemodel net.caffemodel --precision qint8_mixed_float16 --calibration true
    --calibration_data_path samples --file_list samples/list.txt --magicmind_model net.mm

They say in flags what programs say through `magicmind.python.runtime`, and build through it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from magicmind.errors import Error
from magicmind.facade.builder import Builder
from magicmind.facade.calibrator import Calibrator, RemoteConfig
from magicmind.facade.config import BuilderConfig
from magicmind.facade.dims import Dims
from magicmind.facade.engine import reported
from magicmind.facade.enums import DataType, ModelKind, QuantizationAlgorithm
from magicmind.facade.model import Model
from magicmind.facade.network import Network
from magicmind.facade.parser import Parser
from magicmind.facade.status import Status
from magicmind.mmtools.build_config import configuration, has_data, one_each
from magicmind.mmtools.build_flags import chosen, flags_of
from magicmind.mmtools.program import run_program
from magicmind.mmtools.summary import type_name

T = TypeVar("T")

_ALGORITHMS = {algorithm.value: algorithm for algorithm in QuantizationAlgorithm}
_PARAMETERS = {
    "pt_input_dtypes": "pytorch-input-dtypes",
    "input_names": "tf-graphdef-inputs",
    "output_names": "tf-graphdef-outputs",
}
"""Flags that are parameters of the parser."""
_KINDS = {kind.value: kind for kind in ModelKind}


def mm_build(argv: Sequence[str] | None = None) -> int:
    """The tool for files of any framework."""
    return run_program("mm_build", flags_of(None), lambda values: run(chosen(values), values), argv)


def _main(framework: str, argv: Sequence[str] | None = None) -> int:
    return run_program(f"{framework}_build", flags_of(framework), partial(run, framework), argv)


caffe_build = partial(_main, "caffe")
onnx_build = partial(_main, "onnx")
pytorch_build = partial(_main, "pytorch")
tensorflow_build = partial(_main, "tensorflow")


def run(framework: str, values: Mapping[str, Any]) -> None:
    """Reads, calibrates, builds, writes, prints. Raises Error."""
    from magicmind.plugin import load_plugins

    load_plugins(values["plugin"] or ())
    network = parsed(framework, values)
    set_shapes(network, values)
    config = configured(network, values)
    calibrate(network, config, values)
    set_types(network, values)
    builder = Builder()
    model = builder.build_model(Path(values["magicmind_model"]).name, network, config)
    _require(builder.status)
    assert model is not None
    _require(model.serialize_to_file(values["magicmind_model"]))
    print("\n".join(description(model)))


def parsed(framework: str, values: Mapping[str, Any]) -> Network:
    """The network of the file. Raises Error."""
    parser, network = Parser(_KINDS[framework]), Network()
    if framework == "tensorflow":
        _require(parser.set_model_param("tf-model-type", "tf-graphdef-file"))
    for flag, parameter in _PARAMETERS.items():
        given = values.get(flag)
        if given is not None:
            value = [DataType[name] for name in given] if flag.endswith("dtypes") else given
            _require(parser.set_model_param(parameter, value))
    files = {"caffe": ("caffemodel", "prototxt"), "pytorch": ("pytorch_pt",), "tensorflow": ("tf_pb",)}
    _require(parser.parse(network, *(values[name] for name in files.get(framework, (framework,)))))
    if values.get("pt_input_dtypes") is not None:
        one_each("pt_input_dtypes", values["pt_input_dtypes"], network.get_input_count())
    return network


def set_shapes(network: Network, values: Mapping[str, Any]) -> None:
    """What `--input_dims` says, with the first dim that `--batch_size` says. Raises Error."""
    count = network.get_input_count()
    dims, batches = values["input_dims"], values["batch_size"]
    if dims is not None:
        for i, shape in enumerate(one_each("input_dims", dims, count)):
            _require(_there(network.get_input(i)).set_dimension(Dims(shape)))
    if batches is not None:
        for i, batch in enumerate(one_each("batch_size", batches * count if len(batches) == 1 else batches, count)):
            tensor, known = _there(network.get_input(i)), network.inputs[i].dims
            if known is None:
                raise Error(
                    f"--batch_size: the file says nothing of the shape of input {tensor.get_tensor_name()}",
                    hint="--input_dims says it",
                )
            if known:
                _require(tensor.set_dimension(Dims([batch, *known[1:]])))
    if not values["dynamic_shape"]:
        for found in network.inputs:
            if found.dims is None or any(d < 0 for d in found.dims):
                said = "unknown" if found.dims is None else found.dims
                raise Error(
                    f"--dynamic_shape is false, and the shape of input {found.shown_name} is {said}",
                    hint="--input_dims or --batch_size says it",
                )


def configured(network: Network, values: Mapping[str, Any]) -> BuilderConfig:
    """The flags as a configuration, and the file over it. Raises Error."""
    config = BuilderConfig()
    document = configuration(values, network.get_input_count(), network.get_output_count())
    _require(config.parse_from_string(json.dumps(document)))
    if values["build_config"] is not None:
        _require(config.parse_from_file(values["build_config"]))
    return config


def calibrate(network: Network, config: BuilderConfig, values: Mapping[str, Any]) -> None:
    """Measures ranges with the samples that the flags name, if `--calibration` asks for it. Raises Error."""
    if not values["calibration"]:
        if has_data(values):
            _say("without --calibration true the calibration data has no effect")
        if config.precision.startswith("qint") and not config.value("custom_ranges"):
            raise Error(
                f"{config.precision} needs ranges, and nothing is calibrated",
                hint="--calibration true, with --calibration_data_path, --file_list or --random_calib_range",
            )
        return
    if not has_data(values):
        _say("no calibration data: every range is [-1, 1], which is for measuring speed alone")
        return
    from magicmind.mmtools.calibration_data import samples

    calibrator = Calibrator(samples(network, values))
    _require(calibrator.set_quantization_algorithm(_ALGORITHMS[values["calibration_algo"]]))
    if values["rpc_server"] is not None:
        remote = RemoteConfig()
        remote.address = values["rpc_server"]
        _require(calibrator.set_remote(remote))
    _require(calibrator.calibrate(network, config))


def set_types(network: Network, values: Mapping[str, Any]) -> None:
    """What the model takes and delivers, where the flags say it. Raises Error."""
    for end, count, get in (
        ("input", network.get_input_count(), network.get_input),
        ("output", network.get_output_count(), network.get_output),
    ):
        given = values[f"{end}_dtypes"]
        if given is not None:
            for i, name in enumerate(one_each(f"{end}_dtypes", given, count, end)):
                _require(_there(get(i)).set_data_type(DataType[name]))


def description(model: Model) -> list[str]:
    """The inputs and outputs of the built model, as MagicMind's own tools print them."""
    lines = []
    for end, infos in (("input", model.core.inputs), ("output", model.core.outputs)):
        for i, info in enumerate(infos):
            lines += [
                f"model {end}[{i}] name is : {info.name}",
                f"model {end}[{i}] shape is : {list(reported(info))}",
                f"model {end}[{i}] dtype is : {type_name(info.dtype.name)}",
            ]
    return lines


def _require(status: Status) -> None:
    """Raises Error with the text of a status that is not OK."""
    if not status.ok():
        raise Error(status.error_message)


def _there(found: T | None) -> T:
    assert found is not None  # the index is in range
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(mm_build())
