"""Calibration: the data objects that programs write, with all they do differently, and what is measured with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind
import magicmind.python.runtime as mm
from magicmind.facade.calibrator import taken
from magicmind.facade.ranges import quantisation
from magicmind.testing.magicmind_api import build, config, run_model

DATA = Path(magicmind.__file__).parent / "data"
QINT8 = '{"graph_shape_mutable": false, "precision_config": {"precision_mode": "qint8_mixed_float32"}}'


def digits() -> mm.Network:
    network = mm.Network()
    status = mm.Parser(mm.ModelKind.kCaffe).parse(network, DATA / "digits.caffemodel", DATA / "digits.prototxt")
    assert status.ok(), status
    return network


def images(count: int = 24) -> Any:
    """float32 [count, 1, 8, 8], between 0 and 1."""
    with np.load(DATA / "digits_test.npz") as file:
        return (file["images"][:count, None] / 16.0).astype(np.float32)


class Samples(mm.CalibDataInterface):
    """As programs write it: everything but the constructor is only there after `next`."""

    def __init__(self, arrays: Any, shape: Any = None, dtype: mm.DataType = mm.DataType.FLOAT32) -> None:
        super().__init__()
        self.arrays, self.declared, self.dtype = arrays, shape, dtype
        self.calls: list[str] = []
        self.reset()

    def next(self) -> mm.Status:
        self.calls.append("next")
        if self.index >= len(self.arrays):
            return mm.Status(mm.Code.OUT_OF_RANGE, "the data is used up")
        self.sample = self.arrays[self.index]
        self.shape = mm.Dims(self.sample.shape if self.declared is None else self.declared)
        self.index += 1
        return mm.Status.OK()

    def get_shape(self) -> mm.Dims:
        self.calls.append("get_shape")
        return self.shape

    def get_data_type(self) -> mm.DataType:
        self.calls.append("get_data_type")
        assert self.shape is not None
        return self.dtype

    def get_sample(self) -> Any:
        self.calls.append("get_sample")
        return self.sample

    def reset(self) -> mm.Status:
        self.calls.append("reset")
        self.index = 0
        return mm.Status.OK()


def batches(size: int = 1, count: int = 24) -> list[Any]:
    return [images(count)[i : i + size] for i in range(0, count, size)]


def calibrated(data: Any, *texts: str, network: mm.Network | None = None) -> mm.Network:
    network = digits() if network is None else network
    calibrator = mm.Calibrator(data)
    assert calibrator.set_quantization_algorithm(mm.QuantizationAlgorithm.LINEAR_ALGORITHM).ok()
    status = calibrator.calibrate(network, config(QINT8, *texts))
    assert status.ok(), status
    return network


# ------------------------------------------------------------------------------------------------- one sample's array

A = np.arange(6, dtype=np.float32).reshape(1, 2, 3)

DEVIATIONS: dict[str, tuple[Any, list[int], mm.DataType]] = {
    "another rank": (A.reshape(1, 1, 2, 3), [1, 2, 3], mm.DataType.FLOAT32),
    "axes in another order": (A.reshape(3, 2, 1), [1, 2, 3], mm.DataType.FLOAT32),
    "more than is declared": (np.concatenate([A, A + 9, A + 5]), [1, 2, 3], mm.DataType.FLOAT32),
    "int64 for float32": (A.astype(np.int64), [1, 2, 3], mm.DataType.FLOAT32),
    "float64 for float32": (A.astype(np.float64), [1, 2, 3], mm.DataType.FLOAT32),
    "int64 for int32": (A.astype(np.int64), [1, 2, 3], mm.DataType.INT32),
    "not contiguous": (np.asfortranarray(A), [1, 2, 3], mm.DataType.FLOAT32),
    "a list": (A.tolist(), [1, 2, 3], mm.DataType.FLOAT32),
}


@pytest.mark.parametrize("what", DEVIATIONS)
def test_an_array_is_a_buffer_of_the_declared_shape(what: str) -> None:
    array, shape, dtype = DEVIATIONS[what]
    data = Samples([array], shape, dtype)
    data.next()
    found = taken(data)
    assert found.shape == (1, 2, 3) and found.dtype == mm.get_numpy_dtype_by_datatype(dtype)
    np.testing.assert_array_equal(found, A)


def test_an_array_that_is_too_small() -> None:
    data = Samples([A], [4, 2, 3])
    status = mm.Calibrator([data]).calibrate(digits(), config(QINT8))
    assert not status.ok() and "[4, 2, 3]" in str(status)


# --------------------------------------------------------------------------------------------------------- the protocol


def test_the_order_of_calls() -> None:
    data = Samples(batches(8))
    calibrated([data])
    assert data.calls[:3] == ["reset", "reset", "next"]  # the first is the constructor's
    first = [name for name in data.calls if name != "reset"]
    assert first[:4] == ["next", "get_shape", "get_sample", "get_data_type"] and data.calls[-1] == "next"


def test_data_that_is_no_list() -> None:
    assert calibrated(Samples(batches(8))).calibration is not None


def test_a_subclass_of_the_calibrator() -> None:
    class Own(mm.Calibrator):
        def __init__(self, data: Any, algorithm: mm.QuantizationAlgorithm) -> None:
            super().__init__(data)
            assert self.set_quantization_algorithm(algorithm).ok()

        def calibrate(self, network: mm.Network, builder_config: Any = None) -> mm.Status:
            return super().calibrate(network, builder_config)

    own = Own(Samples(batches(8)), mm.QuantizationAlgorithm.EQNM_ALGORITHM)
    assert own.calibrate(digits(), builder_config=config(QINT8)).ok()


def test_no_sample_at_all() -> None:
    status = mm.Calibrator([Samples([])]).calibrate(digits(), config(QINT8))
    assert not status.ok() and status.code is mm.Code.OUT_OF_RANGE


def test_a_failure_of_the_data_is_not_its_end() -> None:
    class Broken(Samples):
        def next(self) -> mm.Status:
            return mm.Status(mm.Code.INTERNAL, "the disk is gone")

    status = mm.Calibrator([Broken([])]).calibrate(digits(), config(QINT8))
    assert not status.ok() and "the disk is gone" in str(status)


def test_an_exception_in_the_data_is_a_status() -> None:
    class Raising(Samples):
        def get_sample(self) -> Any:
            raise RuntimeError("no such image")

    status = mm.Calibrator([Raising(batches(8))]).calibrate(digits(), config(QINT8))
    assert not status.ok() and "no such image" in str(status)


WRONG: dict[str, Callable[[], Any]] = {
    "no network": lambda: mm.Calibrator([Samples(batches(8))]).calibrate(None),  # type: ignore[arg-type]
    "no configuration": lambda: mm.Calibrator([Samples(batches(8))]).calibrate(digits(), "{}"),  # type: ignore[arg-type]
    "too many objects": lambda: mm.Calibrator([Samples(batches(8))] * 2).calibrate(digits(), config(QINT8)),
    "no data object": lambda: mm.Calibrator([1]).calibrate(digits(), config(QINT8)),
    "no algorithm": lambda: mm.Calibrator([]).set_quantization_algorithm("linear"),  # type: ignore[arg-type]
    "no remote": lambda: mm.Calibrator([]).set_remote("localhost:8008"),  # type: ignore[arg-type]
    "no such address": lambda: mm.Calibrator([]).set_remote(remote("host:port")),
    "no address": lambda: mm.Calibrator([]).set_remote(mm.RemoteConfig()),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_calls(what: str) -> None:
    status = WRONG[what]()
    assert not status.ok() and status.error_message


@pytest.mark.parametrize("mode", ["force_float32", "force_float16"])
def test_calibrating_a_float_network_is_harmless(mode: str) -> None:
    network, how = digits(), config(QINT8, f'{{"precision_config": {{"precision_mode": "{mode}"}}}}')
    assert mm.Calibrator([Samples(batches(8))]).calibrate(network, how).ok()
    assert mm.Builder().build_model("digits", network, how) is not None


# ----------------------------------------------------------------------------------------------------- what comes out


def agreement(model: mm.Model, feed: Callable[[Any], Any]) -> float:
    with np.load(DATA / "digits_test.npz") as file:
        pictures, labels = file["images"][24:88], file["labels"][24:88]
    hits = [run_model(model, feed(p))[0].argmax() == label for p, label in zip(pictures, labels, strict=True)]
    return float(np.mean(hits))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["qint8_mixed_float32", "qint8_mixed_float16", "qint16_mixed_float32"])
@pytest.mark.parametrize("weights", ["per_tensor", "per_axis"])
def test_a_quantised_network_reads_digits(mode: str, weights: str) -> None:
    texts = (QINT8, f'{{"precision_config": {{"precision_mode": "{mode}", "weight_quant_granularity": "{weights}"}}}}')
    model = build(calibrated([Samples(batches(8))], texts[1]), *texts)
    assert agreement(model, lambda p: p[None, None] / 16.0) > 0.9
    assert model.get_input_data_types() == model.get_output_data_types() == [mm.DataType.FLOAT32]


def test_a_network_is_calibrated_as_it_was_parsed() -> None:
    """The data is NCHW and normalised, though the built model takes bytes in NHWC and normalises them itself."""
    ends = (
        '{"convert_input_layout": {"0": {"src": "NCHW", "dst": "NHWC"}}}',
        '{"insert_bn_before_firstnode": {"0": {"mean": [0], "var": [256]}}}',
    )
    model = build(calibrated([Samples(batches(8))], *ends), QINT8, *ends)
    assert model.get_input_data_types() == [mm.DataType.UINT8]
    assert model.get_input_dimensions()[0].GetDims() == [1, 8, 8, 1]
    assert agreement(model, lambda p: p[None, :, :, None]) > 0.9


@pytest.mark.slow
def test_samples_of_another_batch_than_the_network() -> None:
    network = digits()
    assert network.get_input(0).set_dimension(mm.Dims([4, 1, 8, 8])).ok()  # type: ignore[union-attr]
    calibrated([Samples(batches(1))], network=network)
    model = build(network, QINT8)
    assert run_model(model, images(4))[0].shape == (4, 10)


@pytest.mark.slow
def test_samples_of_changing_shapes() -> None:
    network = digits()
    mutable = '{"graph_shape_mutable": true, "dim_range": {"0": {"min": [1, 1, 8, 8], "max": [8, 1, 8, 8]}}}'
    calibrated([Samples([images()[:1], images()[1:6], images()[6:8]])], mutable, network=network)
    assert agreement(build(network, QINT8, mutable), lambda p: p[None, None] / 16.0) > 0.8


def test_ranges_by_hand_need_no_data() -> None:
    ranges = '{"custom_ranges": {"": {"max": [1], "min": [-1]}}}'
    assert build(digits(), QINT8, ranges) is not None


def test_a_range_of_all_tensors_takes_the_place_of_what_is_measured() -> None:
    ranges = '{"custom_ranges": {"": {"max": [1], "min": [-1]}}}'
    data = Samples([images()[:2]])
    found = [
        run_model(build(network, QINT8, ranges), images()[:1])[0] for network in (digits(), calibrated([data], QINT8))
    ]
    np.testing.assert_array_equal(found[0], found[1])


def test_custom_nodes_are_about_their_own_kind(caplog: pytest.LogCaptureFixture) -> None:
    algorithm = mm.QuantizationAlgorithm.LINEAR_ALGORITHM
    part = {"input": {"0": {"quant_granularity": "per_axis"}}}
    chosen = mm.BuilderConfig()
    assert chosen.parse_from_string(json.dumps({"custom_nodes": {"IConvDepthwiseNode": part, "IPoolNode": part}})).ok()
    how = quantisation(chosen, algorithm)
    assert (how.per_axis, how.per_axis_of) == (False, {"depthwise": True})
    assert "IPoolNode has no weights" in caplog.text
    part["input"]["0"]["quant_granularity"] = "per_tensor"
    document = {"custom_nodes": {"IConvNode": part}, "precision_config": {"weight_quant_granularity": "per_axis"}}
    assert chosen.parse_from_string(json.dumps(document)).ok()
    how = quantisation(chosen, algorithm)
    assert how.per_axis and how.per_axis_of["conv"] is False


def test_data_given_before_the_precision_is_known() -> None:
    network = digits()
    assert mm.Calibrator([Samples(batches(8))]).calibrate(network).ok()
    assert build(network, QINT8) is not None


@pytest.mark.slow
def test_nodes_keep_another_precision() -> None:
    """With every node raised to float, an int8 network computes what the float one does."""
    raised = digits()
    for node in raised.get_all_nodes_in_network():
        for i in range(node.get_input_count()):
            if node.get_input(i).get_data_type() == mm.DataType.FLOAT32:  # type: ignore[union-attr]
                assert node.set_precision(i, mm.DataType.FLOAT32).ok()
        for i in range(node.get_output_count()):
            assert node.set_output_type(i, mm.DataType.FLOAT32).ok()
    calibrated([Samples(batches(8))], network=raised)
    plain = calibrated([Samples(batches(8))])
    x = images(1)
    exact = run_model(build(digits(), '{"graph_shape_mutable": false}'), x)[0]
    np.testing.assert_allclose(run_model(build(raised, QINT8), x)[0], exact, rtol=1e-5, atol=1e-7)
    assert not np.allclose(run_model(build(plain, QINT8), x)[0], exact, rtol=1e-5, atol=1e-7)


# -------------------------------------------------------------------------------------------------------------- remote


def remote(address: str) -> mm.RemoteConfig:
    made = mm.RemoteConfig()
    made.address = address
    return made


def test_calibration_on_a_server() -> None:
    pytest.importorskip("grpc", reason="needs the extra [remote]")
    from magicmind.testing.remote import serving

    image = images(1)
    there, here = digits(), calibrated(Samples(batches(4, 8)))
    with serving() as address:
        calibrator = mm.Calibrator([Samples(batches(4, 8))])
        assert calibrator.set_remote(remote(address)).ok()
        status = calibrator.calibrate(there, config(QINT8))
        assert status.ok(), status
        data = Samples([np.full((4, 1, 8, 8), np.nan, np.float32)])
        calibrator = mm.Calibrator([data])
        assert calibrator.set_remote(remote(address)).ok()
        status = calibrator.calibrate(digits(), config(QINT8))
        assert status.code is mm.Code.INVALID_ARGUMENT and "contains NaN" in str(status)
    for a, b in zip(run_model(build(there, QINT8), image), run_model(build(here, QINT8), image), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc", reason="needs the extra [remote]")
    monkeypatch.delenv("MAGICMIND_REMOTE_TOKEN", raising=False)
    for address, code in (("127.0.0.1:1", mm.Code.UNAVAILABLE), ("10.0.0.1:8008", mm.Code.UNAUTHENTICATED)):
        calibrator = mm.Calibrator([Samples(batches(4, 8))])
        assert calibrator.set_remote(remote(address)).ok()
        status = calibrator.calibrate(digits(), config(QINT8))
        assert status.code is code and address in str(status), status
        network = digits()
        assert calibrator.calibrate(network, config('{"graph_shape_mutable": false}')).ok(), "no ranges are needed"
