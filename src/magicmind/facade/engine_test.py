"""Models, engines, contexts: every way in which programs call `enqueue`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import build, run_model


def doubling(*dims: int, config: str = "{}") -> mm.Model:
    """y = 2 * x of the inputs x (float32) and n (int32); the second output is n + n."""
    network = mm.Network()
    x, n = network.add_input(mm.DataType.FLOAT32, mm.Dims(dims)), network.add_input(mm.DataType.INT32, mm.Dims([2]))
    for tensor in (x, n):
        assert network.mark_output(network.add_i_elementwise_node(tensor, tensor, mm.enums.IElementwise.ADD)).ok()
    return build(network, config)


@pytest.fixture(scope="module")
def model() -> mm.Model:
    return doubling(2, 3, config='{"graph_shape_mutable": false}')


@pytest.fixture(scope="module")
def mutable() -> mm.Model:
    network = mm.Network()
    x = network.add_input(mm.DataType.FLOAT32, mm.Dims([2, 3]))
    assert network.mark_output(network.add_i_square_node(x)).ok()
    return build(network, '{"dim_range": {"0": {"min": [1, 3], "max": [8, 3]}}}')


def context_of(model: mm.Model) -> Any:
    engine = model.create_i_engine(mm.Model.EngineConfig())
    assert engine is not None
    return engine.create_i_context()


X, N = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([3, 4])
QUEUE = mm.Device().create_queue()


def filled(context: Any, x: Any = X) -> list[Any]:
    inputs: list[Any] = context.create_inputs()
    for tensor, array in zip(inputs, (x, N), strict=False):
        assert tensor.from_numpy(array).ok()
        tensor.to(mm.Device())
    return inputs


# -------------------------------------------------------------------------------------------------------------- Model


def test_what_a_model_says_of_itself(model: mm.Model) -> None:
    assert (model.get_input_num(), model.get_output_num()) == (2, 2)
    assert model.get_input_names() == ["main/arg-0", "main/arg-1"]
    assert model.get_output_names() == ["main/mm.elementwise:0", "main/mm.elementwise-1:0"]
    assert [d.GetDims() for d in model.get_input_dimensions()] == [[2, 3], [2]]
    assert [d.GetDims() for d in model.get_output_dimensions()] == [[2, 3], [2]]
    assert model.get_input_data_types() == [mm.DataType.FLOAT32, mm.DataType.INT32]
    assert model.get_output_data_types() == [mm.DataType.FLOAT32, mm.DataType.INT32]
    assert model.get_input_data_type(0) is mm.DataType.FLOAT32 and model.get_input_data_type(7) is None


def test_sizes_that_vary_are_reported_as_minus_one(mutable: mm.Model) -> None:
    assert mutable.get_input_dimensions()[0].GetDims() == [-1, 3]
    assert mutable.get_output_dimensions()[0].GetDims() == [-1, 3]


def test_a_file_of_any_name(model: mm.Model, tmp_path: Path) -> None:
    path = str(tmp_path / "model_without_suffix")
    assert model.serialize_to_file(path).ok()
    again = mm.Model()
    assert again.deserialize_from_file(path).ok()
    np.testing.assert_array_equal(run_model(again, X, N)[0], 2 * X)


def test_running_a_file_needs_numpy_alone(model: mm.Model, tmp_path: Path) -> None:
    assert model.serialize_to_file(tmp_path / "m").ok()
    code = f"""
import sys, numpy as np, magicmind.python.runtime as mm
model = mm.Model()
assert model.deserialize_from_file({str(tmp_path / "m")!r}).ok()
context = model.create_i_engine().create_i_context()
inputs, outputs = context.create_inputs(), []
assert inputs[0].from_numpy(np.ones((2, 3))).ok() and inputs[1].from_numpy(np.ones(2)).ok()
assert context.enqueue(inputs, outputs, mm.Device().create_queue()).ok()
assert (outputs[0].asnumpy() == 2).all()
print(sorted({{"onnx", "onnx_ir", "llvmlite", "torch", "google.protobuf"}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no model")
    for path in (tmp_path / "none", tmp_path / "text", tmp_path, None):
        assert not mm.Model().deserialize_from_file(path).ok()  # type: ignore[arg-type]


def test_an_empty_model() -> None:
    empty = mm.Model()
    assert not empty.serialize_to_file("/tmp/nothing").ok()
    assert empty.create_i_engine() is None
    assert empty.get_input_num() == 0 and empty.get_input_names() == []


def test_an_engine_is_configured_by_its_class(model: mm.Model) -> None:
    how = mm.Model.EngineConfig()
    how.device_type = "MLU"
    assert model.create_i_engine(how) is not None and model.create_i_engine() is not None
    assert model.create_i_engine("MLU") is None  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------- enqueue


def test_outputs_are_filled_in_place(model: mm.Model) -> None:
    context, outputs = context_of(model), []  # type: ignore[var-annotated]
    assert context.enqueue(filled(context), outputs, QUEUE).ok()
    np.testing.assert_array_equal(outputs[0].asnumpy(), 2 * X)
    np.testing.assert_array_equal(outputs[1].asnumpy(), 2 * N)


def test_a_list_that_is_filled_already_is_overwritten(model: mm.Model) -> None:
    context, outputs = context_of(model), []  # type: ignore[var-annotated]
    assert context.enqueue(filled(context), outputs, QUEUE).ok()
    first = outputs[0].asnumpy()
    assert context.enqueue(filled(context, X + 1), outputs, QUEUE).ok()
    assert len(outputs) == 2
    np.testing.assert_array_equal(outputs[0].asnumpy(), 2 * X + 2)
    np.testing.assert_array_equal(first, 2 * X)  # still what it was


def test_create_outputs_returns_no_list(model: mm.Model) -> None:
    context = context_of(model)
    made = context.create_outputs(context.create_inputs(), suppress_infer_shape_error=True)
    assert not isinstance(made, list)


def test_inputs_that_the_program_made(model: mm.Model) -> None:
    context, outputs = context_of(model), []  # type: ignore[var-annotated]
    inputs = filled(context)
    inputs[0] = mm.Tensor(shape=(2, 3), dtype=mm.DataType.FLOAT32, location=mm.TensorLocation.kMLU)
    assert inputs[0].memcpy_from_host(X + 5).ok()
    assert context.enqueue(inputs, outputs, QUEUE, input_by_tensor_order=True).ok()
    np.testing.assert_array_equal(outputs[0].asnumpy(), 2 * X + 10)


def test_outputs_as_the_next_inputs(mutable: mm.Model) -> None:
    context, outputs = context_of(mutable), []  # type: ignore[var-annotated]
    inputs = filled(context, np.full((4, 3), 2.0))
    for expected in (4.0, 16.0, 256.0):
        assert context.enqueue(inputs, outputs, QUEUE).ok()
        inputs = [outputs[0]]
        np.testing.assert_array_equal(outputs[0].asnumpy(), np.full((4, 3), expected))


def test_results_in_memory_of_the_program(mutable: mm.Model) -> None:
    """Parts of one large buffer, as one program cuts it."""
    whole = mm.Tensor(shape=(12,), dtype=mm.DataType.FLOAT32)
    address = whole.data_address()
    context = context_of(mutable)
    for k in range(2):
        part = mm.Tensor(shape=(2, 3), dtype=mm.DataType.FLOAT32)
        assert part.set_data_address(address + 4 * 6 * k, [2, 3]).ok()
        assert context.enqueue(filled(context, X + k), [part], QUEUE).ok()
    np.testing.assert_array_equal(whole.asnumpy(), np.concatenate([X.ravel() ** 2, (X.ravel() + 1) ** 2]))


def test_shapes_change_from_call_to_call(mutable: mm.Model) -> None:
    context, outputs = context_of(mutable), []  # type: ignore[var-annotated]
    inputs = context.create_inputs()
    for batch in (1, 8, 3):
        assert inputs[0].from_numpy(np.ones((batch, 3))).ok()
        assert context.enqueue(inputs, outputs, QUEUE).ok()
        assert outputs[0].shape == (batch, 3)


WRONG: dict[str, Any] = {
    "outputs is no list": lambda c: c.enqueue(filled(c), (), QUEUE),
    "outputs is None": lambda c: c.enqueue(filled(c), None, QUEUE),
    "no queue": lambda c: c.enqueue(filled(c), [], "queue"),
    "too few inputs": lambda c: c.enqueue(filled(c)[:1], [], QUEUE),
    "arrays instead of tensors": lambda c: c.enqueue([X, N], [], QUEUE),
    "nothing filled in": lambda c: c.enqueue(c.create_inputs(), [], QUEUE),
    "no arguments": lambda c: c.enqueue(),
    "inputs is None": lambda c: c.enqueue(None, [], QUEUE),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_calls(what: str, model: mm.Model) -> None:
    status = WRONG[what](context_of(model))
    assert not status.ok() and status.error_message


def test_a_shape_outside_the_range(mutable: mm.Model) -> None:
    context = context_of(mutable)
    status = context.enqueue(filled(context, np.ones((9, 3))), [], QUEUE)
    assert not status.ok() and "8" in str(status)


def test_two_threads_on_one_context(mutable: mm.Model) -> None:
    """One of them is told so; nothing waits, nothing breaks."""
    context = context_of(mutable)
    inside, leave = threading.Event(), threading.Event()
    run = context._core.run

    def slow(feeds: Any) -> Any:
        inside.set()
        leave.wait(10)
        return run(feeds)

    context._core.run = slow
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(context.enqueue(filled(context), [], QUEUE)))
    thread.start()
    assert inside.wait(10)
    second = context.enqueue(filled(context), [], QUEUE)
    leave.set()
    thread.join()
    assert not second.ok() and "another thread" in str(second)
    assert statuses[0].ok()
    context._core.run = run
    assert context.enqueue(filled(context), [], QUEUE).ok()


def test_contexts_of_several_threads(model: mm.Model) -> None:
    engine = model.create_i_engine()
    assert engine is not None
    failures: list[str] = []

    def work(number: int) -> None:
        context: Any = engine.create_i_context()
        for k in range(20):
            outputs: list[Any] = []
            status = context.enqueue(filled(context, X + number + k), outputs, QUEUE)
            if not status.ok() or not np.array_equal(outputs[0].asnumpy(), 2 * (X + number + k)):
                failures.append(str(status))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# --------------------------------------------------------------------------------------------------------- diagnostics


def test_outputs_that_create_outputs_made(mutable: mm.Model) -> None:
    """They are filled as they are, whatever size the results have."""
    context = context_of(mutable)
    inputs = filled(context)
    outputs = context.create_outputs(inputs)
    for x in (X, np.ones((3, 3))):
        assert context.enqueue(filled(context, x), outputs, QUEUE).ok()
        np.testing.assert_array_equal(outputs[0].asnumpy(), x**2)


def test_a_profiler(model: mm.Model, tmp_path: Path) -> None:
    profiler = mm.Profiler(mm.ProfilerOptions(mm.HostTracerLevel.kCritical, mm.DeviceTracerLevel.kOn), tmp_path / "log")
    assert not profiler.step_begin(0).ok() and profiler.start().ok()
    for step in range(2):
        assert profiler.step_begin(step).ok() and profiler.step_end().ok()
    assert not profiler.step_end().ok() and profiler.stop().ok() and not profiler.stop().ok()
    steps = json.loads((tmp_path / "log" / "steps.json").read_text())
    assert [s["step"] for s in steps] == [0, 1] and all(s["milliseconds"] >= 0 for s in steps)


def test_a_library_that_is_no_plugin(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "libplugin.so").write_bytes(b"\x7fELF")
    assert not mm.LoadPluginLibrary().load(tmp_path / "libplugin.so") and caplog.text
