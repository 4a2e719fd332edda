"""Networks in float16 against the same in float32: small ones of well-known families, and published ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks_test as networks
import numpy as np
import onnx
import pytest
from caffe_models_test import image_feed, read, right_answers, squeezenet
from netbuilder import Net
from real_models_test import NETWORKS, Network, feed, load_references

import magicmind
from conftest import NETWORKS as FILES

Array = np.ndarray[Any, np.dtype[Any]]
HALF = "force_float16"

SMALL = [
    networks.residual, networks.grouped, networks.mobile_inverted, networks.shuffle, networks.squeeze_excite,
]  # fmt: skip


def feeds_of(proto: onnx.ModelProto) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in proto.graph.input}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def close(got: Array, want: Array, tolerance: float) -> bool:
    return bool(np.abs(got - want).max() <= tolerance * np.abs(want).max())


def compare(proto: onnx.ModelProto, tolerance: float) -> magicmind.Model:
    """The float16 model, after a check: its ends are float32, its results near, on any number of threads the same."""
    feeds = feeds_of(proto)
    want = magicmind.build(magicmind.parse(proto)).session().run(feeds)
    model = magicmind.build(magicmind.parse(proto), HALF)
    got = [model.session(threads=threads).run(feeds) for threads in (1, 2)]
    for name, expected in want.items():
        assert got[0][name].dtype == np.float32
        assert close(got[0][name], expected, tolerance), name
        np.testing.assert_array_equal(got[0][name], got[1][name])
    return model


@pytest.mark.parametrize("network", SMALL, ids=lambda network: network.__name__)
def test_small_networks(network: Callable[[], onnx.ModelProto]) -> None:
    assert compare(network(), 2e-3).info()["precision"] == HALF


def test_results_do_not_depend_on_the_batch() -> None:
    graph, x = magicmind.parse(networks.mobile_inverted()), np.random.default_rng(0).standard_normal((3, 3, 32, 32))
    with magicmind.build(graph, HALF, shapes={"x": ("1..4", 3, 32, 32)}) as model:
        run = model.session(threads=2).run
        (whole,) = run({"x": x.astype(np.float32)}).values()
        for i in range(3):
            (one,) = run({"x": x[i : i + 1].astype(np.float32)}).values()
            np.testing.assert_array_equal(one[0], whole[i])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("hidden", [24, 130])
def test_recurrences_keep_their_states_in_float32(kind: str, hidden: int) -> None:
    """Between two products the sequence is float16, and so are the weights; the last states are outputs."""
    net, gates = Net(), {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    x = net.op("MatMul", net.input("x", (7, 2, 20)), net.floats(20, 33))
    weights = [net.floats(1, gates * hidden, n, low=-(n**-0.5), high=n**-0.5) for n in (33, hidden)]
    bias = net.floats(1, 2 * gates * hidden)
    y, last = net.ops(kind, 2, x, *weights, bias, hidden_size=hidden)
    y = net.op("MatMul", net.op("Squeeze", y, net.const(np.array([1]))), net.floats(hidden, 5))
    steps = compare(net.model(y, last), 4e-3).info()["steps"]
    assert [step["kernel"].partition("_")[0] for step in steps if step["op"] == kind] == ["f16", "f16"]


# --------------------------------------------------------------------------------------------------------- real models


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_detectors_and_a_segmenter(network: Network, data: Path) -> None:
    graph = magicmind.parse(data / FILES[network.name])
    with magicmind.build(graph, HALF) as model, model.session(threads=2) as session:
        for recorded in load_references(data, network):
            found = session.run({network.input: feed(recorded)})
            for name, key in network.outputs.items():
                assert np.linalg.norm(found[name] - recorded[key]) <= 1e-2 * np.linalg.norm(recorded[key]), name


@pytest.mark.slow
def test_squeezenet_is_right_as_often_as_in_float32(data: Path) -> None:
    """138 and 173 of 200 images in float32: one may be lost, net, among the first and among the five best classes."""
    folder = data / "classification/squeezenet_v1_0"
    run = magicmind.build(squeezenet(folder), HALF).session(threads=2).run
    right = right_answers(lambda x: run({"data": x})["pool_final"], data)
    assert (right >= [137, 172]).all(), right


@pytest.mark.slow
def test_digits_and_small_pictures(data: Path) -> None:
    folder = data / "classification/lenet_mnist_caffe"
    shapes = {"data": (1000, 1, 28, 28)}
    graph = magicmind.parse(
        folder / "lenet_iter_10000.caffemodel", prototxt=folder / "lenet.prototxt", input_shapes=shapes
    )
    digits = np.load(folder / "mnist_test_1000.npz")
    x = digits["images_u8"].astype(np.float32) * digits["scale"]
    with magicmind.build(graph, HALF) as model:
        prob = model.session().run({"data": x})["prob"]
        few = model.session(threads=1).run({"data": x})["prob"]
    assert close(prob, digits["prob"], 1e-2)
    assert (prob.argmax(1) == digits["labels"]).sum() == 990
    np.testing.assert_array_equal(prob, few)


@pytest.mark.slow
def test_a_detector_of_caffe(data: Path) -> None:
    folder = data / "detection/yolov3_nano_voc_caffe"
    run = magicmind.build(read(folder, "MobileNetV2-YOLOv3-Nano-voc"), HALF).session(threads=2).run
    for path in sorted((folder / "reference").glob("*.npz")):
        case = np.load(path)
        found = run({"data": image_feed(case)})
        assert close(found["layer69-conv"], case["layer69_conv"], 1e-2)
        assert close(found["layer79-conv"], case["layer79_conv"], 1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DS_CNN_S", "CNN_S", "LSTM_S"])
def test_keywords(name: str, data: Path) -> None:
    folder = data / "audio/kws_tf"
    graph = magicmind.parse(folder / f"{name}_from_mfcc.pb")
    session = magicmind.build(graph, HALF, shapes={"Mfcc": (1, 25 if name == "LSTM_S" else 49, 10)}).session()
    case = np.load(folder / f"reference/{name}.npz")
    for word in ("yes", "no", "noise", "silence"):
        found = session.run({"Mfcc": case[f"{word}_mfcc"]})["labels_softmax"]
        assert close(found.reshape(-1), case[f"{word}_prob"].reshape(-1), 1e-2)


@pytest.mark.slow
def test_a_transformer(data: Path) -> None:
    folder = data / "transformer/gpt_nano_sort"
    stored = np.load(folder / "reference/published_partials.npz")
    graph = magicmind.parse(folder / "gpt_nano_sort_opset17.onnx")
    logits = magicmind.build(graph, HALF).session().run({"idx": stored["idx"]})["logits"]
    assert close(logits, stored["logits"], 1e-2)
    np.testing.assert_array_equal(logits.argmax(-1)[:, 5:], stored["logits"].argmax(-1)[:, 5:])


@pytest.mark.slow
def test_speech_enhancement_over_forty_frames(data: Path) -> None:
    """Errors of a frame's caches go into the next one."""
    folder = data / "audio/gtcrn"
    stored = np.load(folder / "reference/stream40.npz")
    session = magicmind.build(magicmind.parse(folder / "gtcrn_simple.onnx"), HALF).session()
    names = ["conv_cache", "tra_cache", "inter_cache"]
    caches = {name: np.zeros(stored[f"{name}_after40"].shape, np.float32) for name in names}
    worst = 0.0
    for frame in range(40):
        enhanced, *new = session.run({"mix": stored["mix"][:, :, frame : frame + 1], **caches}).values()
        worst = max(worst, float(np.abs(enhanced - stored["enh"][:, :, frame : frame + 1]).max()))
        caches = dict(zip(names, new, strict=True))
    assert worst <= 1e-2 * np.abs(stored["enh"]).max()


@pytest.mark.slow
def test_a_segmenter_of_tensorflow(data: Path) -> None:
    folder = data / "segmentation/deeplab_dm05_tf"
    case = np.load(folder / "reference/two.npz")
    image = case["ImageTensor"]
    graph = magicmind.parse(
        folder / "frozen_inference_graph.pb",
        outputs=["SemanticPredictions", "SemanticProbabilities"],
        input_shapes={"ImageTensor": image.shape},
    )
    found = magicmind.build(graph, HALF).session(threads=2).run({"ImageTensor": image})
    assert (found["SemanticPredictions"] != case["SemanticPredictions"]).mean() < 1e-3
