"""Networks that other tools quantised: they run on whole numbers, and agree with onnxruntime.

onnxruntime is asked without optimisations where its answers are computed here: its fused kernels saturate sums of two
products on CPUs without VNNI.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, np.dtype[Any]]

RFB, SQUEEZENET = "quantised/rfb320_int8", "quantised/squeezenet_v1_0_int8"


def build(path: Path) -> magicmind.Model:
    """The network, whose products are all of bytes."""
    model = magicmind.build(magicmind.parse(path))
    products = Counter(s["kernel"].split("_")[0] for s in model.info()["steps"] if s["op"] in ("Conv", "MatMul"))
    assert set(products) == {"u8"}, products
    return model


def picture(recorded: Any) -> Array:
    pixels = (recorded["input_u8"].astype(np.float32) - recorded["mean"]) * recorded["scale"]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


@pytest.mark.parametrize(("kind", "worst"), [("qoperator", 1e-5), ("qdq", 0.1)])
def test_face_detector(data: Path, kind: str, worst: float) -> None:
    """QLinearConv is exact; of Q/DQ pairs the recorded result is of sums in float, which may fall on either side of the
    border between two integers."""
    recorded = np.load(data / RFB / "reference/9.npz")
    with build(data / RFB / f"version-RFB-320_{kind}.onnx") as model, model.session() as session:
        outputs = session.run({"input": picture(recorded)})
    for name in ("scores", "boxes"):
        difference = np.abs(outputs[name] - recorded[f"{kind}_{name}"])
        assert difference.mean() <= 1e-3 and difference.max() <= worst


def test_pairs_as_onnxruntime_runs_them_unfused(data: Path) -> None:
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = data / RFB / "version-RFB-320_qdq.onnx"
    feeds = {"input": picture(np.load(data / RFB / "reference/13.npz"))}
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, feeds)
    with build(path) as model, model.session() as session:
        found = session.run(feeds)
    for (name, array), want in zip(found.items(), wanted, strict=True):
        assert np.abs(array - want).mean() <= 1e-3, name  # its sums are floats: a few numbers fall one step beside


def test_classifier_on_all_images(data: Path) -> None:
    """Top-1 as onnxruntime on at least 98 % of 200 images; right at least as often as recorded, but for one image."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV 4 is not installed")
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path, images = data / SQUEEZENET / "squeezenet_v1_0_qdq.onnx", data / "classification/imagenet_samples"
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    peer = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    lines = [line.rsplit(" ", 1) for line in (images / "val.txt").read_text().splitlines() if line]
    same = right = 0
    with build(path) as model, model.session() as session:
        for name, label in lines:
            pixels = cv2.resize(cv2.imread(str(images / name)), (227, 227)).astype(np.float32)
            x = np.ascontiguousarray((pixels - np.array([104, 117, 123], np.float32)).transpose(2, 0, 1)[None])
            found = int(session.run({"data": x})["scores"].argmax())
            same += found == int(peer.run(None, {"data": x})[0].argmax())
            right += found == int(label)
    assert len(lines) == 200
    assert same >= 196, f"{same} of 200 as onnxruntime"
    assert right >= 137, f"{right} of 200 right"
