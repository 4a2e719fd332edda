"""Quantised builds from calibration to outputs: on small networks, against float32 and against onnxruntime."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from netbuilder import Net, random_feeds

import magicmind
from magicmind import PrecisionError, Quantisation, Scales
from magicmind.quant.scales import ALGORITHMS

Array = np.ndarray[Any, np.dtype[Any]]
INT8 = "qint8_mixed_float32"


def network() -> onnx.ModelProto:
    """Everything that matters: depthwise, residual, concatenation, pooling, resize, a fully connected end."""
    net = Net()
    x = net.block(net.input("x", [1, 3, 16, 16]), 3, 8)
    y = net.op("Clip", net.conv(x, 8, 8, group=8), net.const(np.float32(0)), net.const(np.float32(6)))
    y = net.op("Add", net.conv(y, 8, 8, 1), x)
    a, b = net.block(y, 8, 8, 1), net.block(y, 8, 8, 3)
    y = net.op("Concat", a, b, axis=1)
    y = net.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = net.op("HardSwish", net.conv(y, 16, 12, 3))
    y = net.op("Flatten", net.op("GlobalAveragePool", y))
    return net.model(net.op("Gemm", y, net.floats(12, 10), net.floats(10), name="classify"))


def perceptron() -> onnx.ModelProto:
    """Matrix products alone."""
    net = Net()
    y = net.op("Gemm", net.input("x", [4, 16]), net.floats(16, 24), net.floats(24))
    y = net.op("MatMul", net.op("Relu", y), net.floats(24, 10))
    return net.model(net.op("Add", y, net.floats(10)))


def samples(model: onnx.ModelProto, count: int = 8) -> list[dict[str, Array]]:
    return [random_feeds(model, seed=seed) for seed in range(count)]


def outputs(model: magicmind.Model, feeds: list[dict[str, Array]]) -> Array:
    with model, model.session(threads=2) as session:
        return np.concatenate([next(iter(session.run(feed).values())) for feed in feeds])


def sqnr(got: Array, want: Array) -> float:
    """Signal to quantisation noise in dB."""
    return float(10 * np.log10((want.astype(np.float64) ** 2).sum() / ((got - want).astype(np.float64) ** 2).sum()))


@pytest.fixture(scope="module")
def graph() -> magicmind.Graph:
    return magicmind.parse(network())


@pytest.fixture(scope="module")
def wanted(graph: magicmind.Graph) -> Array:
    return outputs(magicmind.build(graph), samples(network())[:4])


# ----------------------------------------------------------------------------------------------------------- accuracy


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_bytes_are_close_to_floats(graph: magicmind.Graph, wanted: Array, algorithm: str, symmetric: bool) -> None:
    how = Quantisation(algorithm, symmetric=symmetric)
    got = outputs(
        magicmind.build(graph, INT8, calibration=samples(network()), quantisation=how), samples(network())[:4]
    )
    assert 25 < sqnr(got, wanted) < 60


@pytest.mark.slow
@pytest.mark.parametrize("how", [Quantisation(per_axis=False), Quantisation(equalise=True), Quantisation("linear")])
def test_other_ways(graph: magicmind.Graph, wanted: Array, how: Quantisation) -> None:
    got = outputs(
        magicmind.build(graph, INT8, calibration=samples(network()), quantisation=how), samples(network())[:4]
    )
    assert sqnr(got, wanted) > 22


def test_sixteen_bits_are_closer() -> None:
    graph, calibration = magicmind.parse(perceptron()), samples(perceptron())
    wanted = outputs(magicmind.build(graph), calibration)
    assert (
        sqnr(outputs(magicmind.build(graph, "qint16_mixed_float32", calibration=calibration), calibration), wanted) > 75
    )
    assert 30 < sqnr(outputs(magicmind.build(graph, INT8, calibration=calibration), calibration), wanted) < 60


@pytest.mark.slow
def test_layers_that_stay_floats_make_it_exact(graph: magicmind.Graph, wanted: Array) -> None:
    calibration = samples(network())
    model = magicmind.build(graph, INT8, calibration=calibration, layers={"*": "force_float32"})
    np.testing.assert_allclose(outputs(model, calibration[:4]), wanted, rtol=1e-5, atol=1e-6)
    some = magicmind.build(graph, INT8, calibration=calibration, layers={"node_conv_*": "force_float32"})
    all_ = magicmind.build(graph, INT8, calibration=calibration)
    assert sqnr(outputs(some, calibration[:4]), wanted) > sqnr(outputs(all_, calibration[:4]), wanted)


@pytest.mark.slow
def test_the_same_from_saved_scales(graph: magicmind.Graph, tmp_path: Path) -> None:
    how = Quantisation(equalise=True)
    calibration = samples(network())
    scales = magicmind.calibrate(graph, calibration, how)
    scales.save(tmp_path / "scales.json")
    direct = outputs(magicmind.build(graph, INT8, calibration=calibration, quantisation=how), calibration)
    again = outputs(magicmind.build(graph, INT8, scales=tmp_path / "scales.json", quantisation=how), calibration)
    np.testing.assert_array_equal(direct, again)


# ------------------------------------------------------------------------------------------------------------ promises


@pytest.mark.slow
def test_layers_that_hurt_stay_floats_until_the_target_is_reached(graph: magicmind.Graph, wanted: Array) -> None:
    calibration = samples(network())
    plain = sqnr(outputs(magicmind.build(graph, INT8, calibration=calibration), calibration[:4]), wanted)
    target = magicmind.AccuracyTarget(plain + 5, samples=4)
    model = magicmind.build(graph, INT8, calibration=iter(calibration), accuracy_target=target)
    found = model.info()["accuracy"]
    assert 0 < len(found["kept"]) < 7 and 0 < found["share_of_flops"] < 1
    assert found["kept"] == sorted(found["alone"], key=found["alone"].__getitem__)[: len(found["kept"])]
    assert found["reached"] >= plain + 5
    # Layers in float are fused otherwise in the model than where they were watched: their roundings show at 50 dB.
    assert found["reached"] == pytest.approx(sqnr(outputs(model, calibration[:4]), wanted), abs=0.01)
    assert found["without"] == pytest.approx(plain, abs=0.01)


@pytest.mark.slow
def test_a_target_of_ones_own(graph: magicmind.Graph) -> None:
    """A function of outputs and references; one that nothing reaches."""

    def worst(got: Any, want: Any) -> float:
        return -max(float(np.abs(a[name] - b[name]).max()) for a, b in zip(got, want, strict=True) for name in b)

    target = magicmind.AccuracyTarget(-0.2, worst)
    with magicmind.build(graph, INT8, calibration=samples(network()), accuracy_target=target) as model:
        assert model.info()["accuracy"]["metric"] == "worst"
    with pytest.raises(PrecisionError, match=r"worst reaches -?0.* at best, not 1"):
        magicmind.build(graph, INT8, calibration="random:2", accuracy_target=magicmind.AccuracyTarget(1, worst))
    scales = magicmind.calibrate(graph, "random:2")
    with pytest.raises(PrecisionError, match="needs samples to measure"):
        magicmind.build(graph, INT8, scales=scales, accuracy_target=target)


@pytest.mark.slow
def test_never_slower(graph: magicmind.Graph) -> None:
    with magicmind.build(graph, INT8, calibration=samples(network()), never_slower=True) as model:
        found = model.info()["never_slower"]
    assert found["chosen_ms"] <= found["float_ms"] and found["chosen_ms"] <= found["integer_ms"]


# ---------------------------------------------------------------------------------------------------- other engines


@pytest.mark.parametrize(("model", "precision"), [(network(), INT8), (perceptron(), "qint16_mixed_float32")])
def test_onnxruntime_runs_what_is_exported(model: onnx.ModelProto, precision: str, tmp_path: Path) -> None:
    graph, calibration = magicmind.parse(model), samples(model)
    file = tmp_path / "qdq.onnx"
    magicmind.export_qdq(graph, file, precision, calibration=calibration)
    onnx.checker.check_model(onnx.load(file), full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # its byte kernels saturate
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    theirs = np.concatenate([session.run(None, feed)[0] for feed in calibration])
    ours = outputs(magicmind.build(graph, precision, calibration=calibration), calibration)
    assert sqnr(ours, theirs) > 40  # a value between two integers may fall on either side
    imported = outputs(magicmind.build(magicmind.parse(file)), calibration)
    assert sqnr(imported, theirs) > 40


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("promise", [{"never_slower": True}, {"accuracy_target": magicmind.AccuracyTarget(20)}])
def test_promises_are_about_integers(graph: magicmind.Graph, promise: dict[str, Any]) -> None:
    for mode in ("force_float32", "force_float16"):
        with pytest.raises(PrecisionError, match=f"{mode} has no integers"):
            magicmind.build(graph, mode, **promise)


def test_float16_needs_no_scales(graph: magicmind.Graph) -> None:
    with pytest.raises(PrecisionError, match="takes no scales"):
        magicmind.build(graph, "force_float16", scales={"": (-1, 1)})


def test_a_network_that_came_quantised_stays_so(
    graph: magicmind.Graph, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    magicmind.export_qdq(graph, tmp_path / "net.onnx", calibration="random:1")
    quantised = magicmind.parse(tmp_path / "net.onnx")
    magicmind.build(quantised, INT8, calibration="random:1")
    assert "came quantised" in caplog.text
    with pytest.raises(PrecisionError, match="came quantised"):
        magicmind.build(quantised, INT8, calibration="random:1", never_slower=True)


def test_a_mode_of_integers_needs_to_know_ranges(graph: magicmind.Graph) -> None:
    with pytest.raises(PrecisionError, match=r"needs to know the range of every tensor(?s:.*)calibration"):
        magicmind.build(graph, INT8)
    with pytest.raises(PrecisionError, match="force_float32 takes no calibration data"):
        magicmind.build(graph, calibration=samples(network()))


GOOD = np.zeros((1, 3, 16, 16), np.float32)
BAD: list[tuple[Any, str]] = [
    ([], "holds no sample"),
    (iter([]), "holds no sample"),
    ({"x": GOOD}, "calibration data is dict"),
    (3, "calibration data is int"),
    ([GOOD], "sample 1 is ndarray"),
    ([{"x": GOOD}, {"y": GOOD}], r"sample 2 gives y(?s:.*)inputs: x"),
    ([{"x": GOOD}, {"x": GOOD[:, :2]}], r"sample 2: input 'x': dim 1 is 2"),
    ([{"x": "picture"}], r"sample 1: 'picture' is no array"),
    ([{"x": GOOD}, {"x": GOOD + np.nan}], r"sample 2: tensor 'x' contains NaN"),
    ([{"x": GOOD + np.inf}], r"sample 1: tensor 'x' contains infinity"),
    ([{"x": GOOD + np.float32(3e38)}], r"sample 1: tensor '\w+' contains (NaN|infinity)"),
    ("nowhere", "no calibration data at nowhere"),
    (__file__, "is no calibration data"),
]


@pytest.mark.parametrize(("data", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_data_that_cannot_be(graph: magicmind.Graph, data: Any, message: str) -> None:
    with pytest.raises(PrecisionError, match=message):
        magicmind.calibrate(graph, data)


def test_scales_that_do_not_fit(graph: magicmind.Graph, tmp_path: Path) -> None:
    file = tmp_path / "scales.json"
    magicmind.calibrate(graph, samples(network(), 1)).save(file)
    document = json.loads(file.read_text())
    name = next(iter(document["tensors"]))
    document["tensors"][name + "?"] = document["tensors"].pop(name)
    with pytest.raises(PrecisionError, match=rf"none for '{name}'; unknown '{name}\?' \(close: {name}"):
        magicmind.build(graph, INT8, scales=Scales.of_json(document))


def test_unknown_layers(graph: magicmind.Graph) -> None:
    with pytest.raises(PrecisionError, match=r"no layer 'classifi'(?s:.*)close: classify"):
        magicmind.build(graph, INT8, calibration="random:1", layers={"classifi": "force_float32"})


@pytest.mark.parametrize(
    "wrong", [{"layers": ["conv*"]}, {"quantisation": "eqnm"}, {"accuracy_target": "sqnr=25"}, {"scales": 5}]
)
def test_options_of_the_wrong_kind_are_named(graph: magicmind.Graph, wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(magicmind.PrecisionError, match=name):
        magicmind.build(graph, INT8, **{"calibration": "random:1", **wrong})


def test_calibrate_names_a_quantisation_that_is_none(graph: magicmind.Graph) -> None:
    how: Any = "linear"
    with pytest.raises(PrecisionError, match=r"quantisation is 'linear'(?s:.*)Quantisation\(algorithm"):
        magicmind.calibrate(graph, "random:1", how)


def test_nothing_to_quantise() -> None:
    net = Net()
    plain = magicmind.parse(net.model(net.op("Relu", net.input("x", [1, 4]))))
    with pytest.raises(PrecisionError, match="nothing to quantise"):
        magicmind.build(plain, INT8, calibration="random")


# ----------------------------------------------------------------------------------------------------------- oddities


def test_random_data_says_so(graph: magicmind.Graph, tmp_path: Path) -> None:
    scales = magicmind.calibrate(graph, "random:2")
    scales.save(tmp_path / "scales.json")
    assert "not accurate" in json.loads((tmp_path / "scales.json").read_text())["provenance"]["remark"]
    with magicmind.build(graph, INT8, scales=tmp_path / "scales.json") as model:
        assert "not accurate" in model.info()["calibration"]["remark"]


def test_ranges_by_hand(graph: magicmind.Graph) -> None:
    """MagicMind's custom ranges: one range for every tensor."""
    with magicmind.build(graph, INT8, scales={"": {"max": [4], "min": [-4]}}) as model:
        assert np.isfinite(next(iter(model.session().run(samples(network(), 1)[0]).values()))).all()


def test_constant_and_zero_tensors_and_weights() -> None:
    """All-zero input and weights, a channel of zeros with a bias, an activation that never changes."""
    net = Net()
    weights = np.random.default_rng(0).standard_normal((4, 3, 1, 1)).astype(np.float32)
    weights[1] = 0
    bias = np.array([0.1, 1234.5, 0, 3e-5], np.float32)
    y = net.op("Conv", net.input("x", [1, 3, 4, 4]), net.const(weights), net.const(bias))
    z = net.op("Conv", y, net.const(np.zeros((2, 4, 1, 1), np.float32)), net.const(np.float32([5, 0])))
    model = net.model(y, z)
    feeds = [{"x": np.zeros((1, 3, 4, 4), np.float32)}]
    with magicmind.build(magicmind.parse(model), INT8, calibration=feeds) as built:
        first, second = built.session().run(feeds[0]).values()
    np.testing.assert_allclose(first[0, :, 0, 0], bias, rtol=1e-5, atol=3e-5)
    np.testing.assert_allclose(second[0, :, 0, 0], [5, 0], rtol=1e-5)


def resident_kib() -> int:
    text = Path("/proc/self/statm").read_text().split()
    return int(text[1]) * resource.getpagesize() // 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_samples(graph: magicmind.Graph) -> None:
    seen: list[int] = []

    def many() -> Iterator[dict[str, Array]]:
        rng = np.random.default_rng(0)
        for _ in range(2000):
            yield {"x": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)}
            seen.append(resident_kib())

    scales = magicmind.calibrate(graph, many())
    assert scales.samples == 2000
    assert max(seen[50:]) - seen[50] < 4096


def test_progress_is_reported(graph: magicmind.Graph) -> None:
    steps: list[tuple[str, int, int]] = []
    magicmind.calibrate(graph, "random:3", progress=lambda *step: steps.append(step))
    assert [step for step in steps if step[0] == "calibrating"] == [("calibrating", i, 3) for i in (1, 2, 3)]
