"""Parsers: their parameters, and files that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import (
    FIXED,
    demo_of_caffe,
    demo_of_tensorflow,
    from_onnx,
    parsed,
    run,
)


def test_parameters_of_parsers() -> None:
    parser = mm.parser.Parser(mm.ModelKind.kTensorflow)
    for key, value in (
        ("tf-model-type", "tf-graphdef-file"), ("tf-model-type", "tf-savedmodel-v1-dir"), ("tf-infer-shape", False),
        ("tf-graphdef-inputs", ["a:0"]), ("tf-graphdef-outputs", ["b"]), ("tf-savedmodel-tags", "serve"),
        ("tf-savedmodel-exported-names", "serving_default"), ("tf-savedmodel-main-func", "main"),
    ):  # fmt: skip
        assert parser.set_model_param(key, value).ok()
    wrong: tuple[tuple[str, Any], ...] = (
        ("tf-model-type", "h5"), ("pytorch-input-dtypes", []), ("nothing", 1), ("tf-infer-shape", "yes"),
    )  # fmt: skip
    for key, value in wrong:
        assert not parser.set_model_param(key, value).ok()


def test_types_that_the_parser_is_told(onnx_file: str) -> None:
    network = parsed(mm.ModelKind.kOnnx, onnx_file, onnx_input_dtypes=[mm.DataType.UINT8])
    assert network.get_input(0).get_data_type() is mm.DataType.UINT8  # type: ignore[union-attr]


PARSES: dict[str, Callable[[str], Any]] = {
    "a kind that is none": lambda f: mm.Parser("onnx").parse(mm.Network(), f),  # type: ignore[arg-type]
    "no network": lambda f: mm.Parser(mm.ModelKind.kOnnx).parse(None, f),  # type: ignore[arg-type]
    "no file": lambda f: mm.Parser(mm.ModelKind.kOnnx).parse(mm.Network(), "/none.onnx"),
    "no path": lambda f: mm.Parser(mm.ModelKind.kOnnx).parse(mm.Network(), 3),  # type: ignore[arg-type]
    "another framework's file": lambda f: mm.Parser(mm.ModelKind.kTensorflow).parse(mm.Network(), f),
    "one file of Caffe's two": lambda f: mm.Parser(mm.ModelKind.kCaffe).parse(mm.Network(), f),
    "two files of one": lambda f: mm.Parser(mm.ModelKind.kOnnx).parse(mm.Network(), f, f),
    "nothing": lambda f: mm.Parser(mm.ModelKind.kOnnx).parse(),  # type: ignore[call-arg]
}


@pytest.mark.parametrize("what", PARSES)
def test_what_cannot_be_parsed(what: str, onnx_file: str) -> None:
    status = PARSES[what](onnx_file)
    assert not status.ok() and status.error_message


def test_a_network_is_filled_once(onnx_file: str) -> None:
    status = mm.Parser(mm.ModelKind.kOnnx).parse(from_onnx(onnx_file), onnx_file)
    assert not status.ok() and "not empty" in str(status)


@pytest.mark.parametrize("load", [demo_of_caffe, demo_of_tensorflow])
def test_the_demos_networks_run(load: Callable[[], mm.Network]) -> None:
    network = load()
    x = network.get_input(0)
    assert x is not None
    dims = x.get_dimension().GetDims()
    dims[0] = 2
    assert x.set_dimension(mm.Dims(dims)).ok()
    found = run(network, np.zeros(dims), config=FIXED)
    assert found[0].shape[0] == 2
