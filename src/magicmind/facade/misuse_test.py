"""Calls in the wrong order, documents that are malformed or do not fit, and threads that share what they may not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind
import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import build, config
from magicmind.testing.magicmind_misuse import Data, context, filled, network

DATA = Path(magicmind.__file__).parent / "data"

FIXED = '{"graph_shape_mutable": false}'
QINT8 = '{"graph_shape_mutable": false, "precision_config": {"precision_mode": "qint8_mixed_float32"}}'


def _built() -> Any:
    made = network()
    build(made, FIXED)
    return made


def _parsed() -> Any:
    made: Any = mm.Network()
    assert mm.Parser(mm.ModelKind.kOnnx).parse(made, DATA / "digits.onnx").ok()
    assert made.get_input(0).set_dimension(mm.Dims([1, 1, 8, 8])).ok()
    return made


def _node(made: mm.Network) -> mm.INode:
    return made.get_all_nodes_in_network()[0]


def _status(made: mm.Network, *texts: str) -> mm.Status:
    """How a build ends."""
    builder = mm.Builder()
    return mm.Status.OK() if builder.build_model("n", made, config(*texts)) else builder.status


def _no_outputs() -> Any:
    made = network()
    assert made.unmark_output(made.get_output(0)).ok()
    return made


def _of_another() -> Any:
    return network().get_input(0)


WRONG_ORDER: dict[str, tuple[Callable[[], Any], str]] = {
    "a build of nothing": (lambda: _status(mm.Network()), "output"),
    "a build without outputs": (lambda: _status(_no_outputs()), "output"),
    "a build that needs ranges": (lambda: _status(_parsed(), QINT8), "Calibrator.calibrate(network, config)"),
    "a second build": (lambda: _status(_built()), "cannot change"),
    "parsing twice": (lambda: mm.Parser(mm.ModelKind.kOnnx).parse(_parsed(), DATA / "digits.onnx"), "not empty"),
    "parsing into a built one": (lambda: mm.Parser(mm.ModelKind.kOnnx).parse(_built(), DATA / "digits.onnx"), "cannot"),
    "parsing over nodes": (lambda: mm.Parser(mm.ModelKind.kOnnx).parse(network(), DATA / "digits.onnx"), "not empty"),
    "parsing a file of another kind": (
        lambda: mm.Parser(mm.ModelKind.kTensorflow).parse(mm.Network(), DATA / "digits.onnx"), "digits.onnx",
    ),
    "calibrating nothing": (lambda: mm.Calibrator([]).calibrate(mm.Network(), config(QINT8)), "no outputs"),
    "calibrating a built one": (lambda: mm.Calibrator([Data()]).calibrate(_built(), config(QINT8)), "cannot change"),
    "calibrating without data": (lambda: mm.Calibrator([Data()]).calibrate(network(), config(QINT8)), "ended before"),
    "calibrating with too much data": (lambda: mm.Calibrator([Data()] * 2).calibrate(network(), config(QINT8)), "2 o"),
    "set_dimension after the build": (lambda: _built().get_input(0).set_dimension(mm.Dims([1])), "cannot change"),
    "set_data_type after the build": (lambda: _built().get_input(0).set_data_type(mm.DataType.UINT8), "cannot change"),
    "mark_output after the build": (lambda: (n := _built()).mark_output(n.get_input(0)), "cannot change"),
    "unmark_output after the build": (lambda: (n := _built()).unmark_output(n.get_output(0)), "cannot change"),
    "set_precision after the build": (lambda: _node(_built()).set_precision(0, mm.DataType.FLOAT16), "cannot change"),
    "set_node_name after the build": (lambda: _node(_built()).set_node_name("x"), "cannot change"),
    "update_input after the build": (lambda: (n := _built()) and _node(n).update_input(0, n.get_input(0)), "cannot"),
    "add_input after the build": (lambda: _built().add_input(mm.DataType.FLOAT32, mm.Dims([1])), ""),
    "a node after the build": (
        lambda: (n := _built()).add_i_activation_node(n.get_input(0), mm.IActivation.RELU), "",
    ),
    "an output twice": (lambda: (n := network()).mark_output(n.get_output(0)), "already"),
    "no output": (lambda: (n := network()).unmark_output(n.get_input(0)), "no output"),
    "an output of another network": (lambda: network().mark_output(_of_another()), "another network"),
    "an operand of another network": (lambda: _node(network()).update_input(0, _of_another()), "another network"),
    "the shape of what is no input": (lambda: network().get_output(0).set_dimension(mm.Dims([1])), "no input"),
    "a shape of another rank": (lambda: _parsed().get_input(0).set_dimension(mm.Dims([1])), "dims"),
    "saving nothing": (lambda: mm.Model().serialize_to_file("/nowhere/model"), "empty"),
    "an engine of nothing": (lambda: mm.Model().create_i_engine(), ""),
    "running without inputs": (lambda: context().enqueue([], [], None), "1 input"),
    "running on empty tensors": (lambda: (c := context()).enqueue(c.create_inputs(), [], None), "no data"),
    "running after a refused array": (
        lambda: (x := filled()).from_numpy(np.zeros(7)) and context().enqueue([x], [], None), "array [7]",
    ),
    "running into a tuple": (lambda: context().enqueue([filled()], (), None), "list"),
    "running on arrays": (lambda: context().enqueue([np.zeros((1, 4, 6, 6))], [], None), "not a tensor"),
    "reading a tensor without data": (lambda: context().create_inputs()[0].asnumpy(), ""),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_ORDER)
def test_calls_in_the_wrong_order(what: str) -> None:
    call, says = WRONG_ORDER[what]
    found = call()
    if says:
        assert isinstance(found, mm.Status) and not found.ok() and says in str(found), found
    else:
        assert found is None


def test_what_a_built_network_still_tells() -> None:
    made = _built()
    assert made.get_input(0).get_dimension().GetDims() == [1, 4, 6, 6]
    assert _node(made).get_node_type() == "IActivationNode" and made.get_output_count() == 1


# ---------------------------------------------------------------------------------------------------------------- JSON

DOCUMENTS: dict[str, str | bytes] = {
    "nothing": "",
    "no JSON": "{nope}",
    "half": '{"archs": [',
    "a list": "[]",
    "a number": "7",
    "null": "null",
    "no UTF-8": b"\xff\xfe{}",
    "half a character": '"\ud800"',
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "a number for a section": '{"precision_config": 7}',
    "null for a section": '{"opt_config": null}',
    "an unknown precision": '{"precision_config": {"precision_mode": "int4"}}',
    "a list for a precision": '{"precision_config": {"precision_mode": ["force_float32"]}}',
    "a text for a flag": '{"graph_shape_mutable": "true"}',
    "a number for archs": '{"archs": 7}',
    "archs of numbers": '{"archs": [7]}',
    "null in archs": '{"archs": [null]}',
    "names for inputs": '{"dim_range": {"image": {"min": [1], "max": [1]}}}',
    "half a range": '{"dim_range": {"0": {"min": [1]}}}',
    "a range of texts": '{"dim_range": {"0": {"min": ["a"], "max": ["b"]}}}',
    "a range of other lengths": '{"dim_range": {"0": {"min": [1], "max": [1, 2]}}}',
    "a negative range": '{"dim_range": {"0": {"min": [-1], "max": [2]}}}',
    "NaN for means": '{"insert_bn_before_firstnode": {"0": {"mean": "NaN", "var": [1]}}}',
    "no such layout": '{"convert_input_layout": {"0": {"src": "NCHW", "dst": "CHWN"}}}',
    "a list for custom ranges": '{"custom_ranges": []}',
    "a text for nodes": '{"custom_nodes": "x"}',
    "a number for a node": '{"custom_nodes": {"IConvNode": 5}}',
    "a list of inputs": '{"custom_nodes": {"IConvNode": {"input": [{}]}}}',
    "an unknown granularity": '{"custom_nodes": {"IConvNode": {"input": {"1": {"quant_granularity": "per_row"}}}}}',
    "a text for a level": '{"debug_config": {"print_ir": {"print_level": "3"}}}',
}


@pytest.mark.parametrize("what", DOCUMENTS)
def test_malformed_documents(what: str, tmp_path: Path) -> None:
    text = DOCUMENTS[what]
    settings = mm.BuilderConfig()
    assert settings.parse_from_string('{"graph_shape_mutable": false}').ok()
    status = settings.parse_from_string(text)  # type: ignore[arg-type]
    assert not status.ok() and len(str(status)) < 2000, status
    assert settings.document == {"graph_shape_mutable": False}, "it stays as it was"
    if what != "half a character":
        (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        assert not settings.parse_from_file(tmp_path / "config.json").ok()


FROM, MUTABLE = '{"graph_shape_mutable": true, "dim_range": {"0": ', '"graph_shape_mutable": true'
ODD = {
    "ranges of NaN": ('{"custom_ranges": {"x": {"min": [NaN], "max": [1]}}}', "NaN"),
    "ranges of texts": ('{"custom_ranges": {"x": {"min": ["a"], "max": [1]}}}', "the range of 'x'"),
    "ranges that are numbers": ('{"custom_ranges": {"x": 7}}', "the range of 'x'"),
    "ranges upside down": ('{"custom_ranges": {"x": {"min": [1], "max": [-1]}}}', "the range of 'x'"),
    "ranges of nothing there": ('{"custom_ranges": {"x": {"min": [-1], "max": [1]}}}', "'x'"),
    "a range beyond the inputs": (f'{{{MUTABLE}, "dim_range": {{"9": {{"min": [1], "max": [2]}}}}}}', "number 9"),
    "a range of another rank": (FROM + '{"min": [1], "max": [2]}}}', "has 1 dims"),
    "a range upside down": (FROM + '{"min": [4, 1, 8, 8], "max": [1, 1, 8, 8]}}}', "exceeds max"),
    "an endless range": (FROM + '{"min": [1, 1, 8, 8], "max": [1e400, 1, 8, 8]}}}', "dim_range"),
    "another layout's rank": ('{"convert_input_layout": {"0": {"src": "NCDHW", "dst": "NDHWC"}}}', "5 axes"),
    "a layout beyond the inputs": ('{"convert_input_layout": {"9": {"src": "NCHW", "dst": "NHWC"}}}', "number 9"),
    "means of other channels": (
        '{"insert_bn_before_firstnode": {"0": {"mean": [1, 2, 3], "var": [1, 2, 3]}}}', "one per channel",
    ),
    "no variance": ('{"insert_bn_before_firstnode": {"0": {"mean": [0], "var": [0]}}}', "variances above zero"),
    "a negative variance": ('{"insert_bn_before_firstnode": {"0": {"mean": [0], "var": [-1]}}}', "above zero"),
    "an infinite mean": ('{"insert_bn_before_firstnode": {"0": {"mean": [1e400], "var": [1]}}}', "mean"),
    "a hugely negative level": ('{"debug_config": {"print_ir": {"print_level": -7}}}', "from 0 on"),
    "no such target": ('{"archs": ["mtp_372", "pentium"]}', "'pentium'"),
}  # fmt: skip


@pytest.mark.parametrize("what", ODD)
def test_documents_that_do_not_fit_the_network(what: str) -> None:
    """Refused when they are read, or else when a model is built."""
    text, says = ODD[what]
    settings = config(QINT8 if "custom_ranges" in text else FIXED)
    status = settings.parse_from_string(text)
    if status.ok():
        builder = mm.Builder()
        assert builder.build_model("n", _parsed(), settings) is None
        status = builder.status
    assert says in str(status)


# ------------------------------------------------------------------------------------------------------------- threads


def test_two_threads_on_one_context() -> None:
    shared, statuses = context(), []
    begin, expected = threading.Barrier(4), filled()

    def work() -> None:
        begin.wait()
        for _ in range(50):
            outputs: list[Any] = []
            status = shared.enqueue([expected], outputs, None)
            statuses.append(status)
            assert not status.ok() or outputs[0].asnumpy().shape == (1, 4, 6, 6)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == 200
    assert all(s.ok() or (s.code is mm.Code.UNAVAILABLE and "another thread" in str(s)) for s in statuses)
    assert shared.enqueue([expected], [], None).ok()


def test_one_network_in_two_threads() -> None:
    made, found = network(), []
    threads = [threading.Thread(target=lambda: found.append(_status(made, FIXED))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(status.ok() for status in found) >= 1
    assert all(status.ok() or len(status.error_message) > 8 for status in found)
