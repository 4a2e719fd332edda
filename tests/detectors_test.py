"""A real detector from its picture to its score: boxes made by a node that is appended to the network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import magicmind
from magicmind.evaluation import voc

cv2 = pytest.importorskip("cv2", reason="needs the extra [zoo]")

pytestmark = pytest.mark.slow  # runs a real network on sixty pictures

Array = np.ndarray[Any, Any]
ANCHORS = [189, 126, 137, 236, 265, 259, 26, 48, 67, 84, 72, 175]


def appended(graph: magicmind.Graph, folder: Path, confidence: float) -> onnx.ModelProto:
    """YOLOv3-nano with DetectionOutput behind its maps, as MagicMind's graph API builds it."""
    graph.save(folder / "maps.onnx")
    proto = onnx.load(folder / "maps.onnx")
    maps = [output.name for output in proto.graph.output]
    for name in maps:
        proto.graph.node.append(helper.make_node("Transpose", [name], [f"{name}.nhwc"], perm=[0, 2, 3, 1]))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(ANCHORS, np.float32), "anchors"))
    proto.graph.node.append(
        helper.make_node(
            "DetectionOutput", ["anchors", *(f"{name}.nhwc" for name in maps)], ["tables", "counts"],
            domain="magicmind", algo="YOLOV4", confidence_thresh=confidence, nms_thresh=0.45, num_class=20,
            num_anchor=3, num_box_limit=200, image_shape=[320, 320], aspect_ratios=[1.1, 1.05], scale=1.0,
        )
    )  # fmt: skip
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("tables", "counts"))
    if all(opset.domain != "magicmind" for opset in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid("magicmind", 1))
    return proto


@pytest.fixture(scope="module")
def yolo(data: Path) -> magicmind.Graph:
    name = data / "detection/yolov3_nano_voc_caffe/MobileNetV2-YOLOv3-Nano-voc"
    shapes = {"data": ("1..8", 3, 320, 320)}
    return magicmind.parse(f"{name}.caffemodel", prototxt=f"{name}.prototxt", input_shapes=shapes)


def test_the_recorded_boxes(yolo: magicmind.Graph, data: Path, tmp_path: Path) -> None:
    files = sorted((data / "detection/yolov3_nano_voc_caffe/reference").glob("*.npz"))
    cases = [np.load(file) for file in files]
    x = np.stack([case["input_u8"].transpose(2, 0, 1) for case in cases]).astype(np.float32) / 255
    with magicmind.build(magicmind.parse(appended(yolo, tmp_path, 0.25))) as model:
        found = model.session(threads=2).run({"data": x})
    for image, case in enumerate(cases):
        recorded = case["detections"][np.argsort(-case["detections"][:, 4])]
        recorded = recorded[recorded[:, 4] > 0.25]
        rows = found["tables"][image, : found["counts"][image]]
        assert len(rows) == len(recorded) > 0
        height, width = cv2.imread(str(data / f"detection/voc_subset/images/{files[image].stem}.jpg")).shape[:2]
        np.testing.assert_allclose(rows[:, 2], recorded[:, 4], atol=1e-3)
        np.testing.assert_array_equal(rows[:, 1], recorded[:, 5])
        np.testing.assert_allclose(rows[:, 3:] * [width, height, width, height], recorded[:, :4], atol=0.01)


def test_the_published_score(
    yolo: magicmind.Graph, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data / "detection/voc_subset"
    names = (folder / "images.txt").read_text().split()
    rows: dict[str, list[tuple[str, float, list[float]]]] = {name: [] for name in voc.CLASSES}
    with magicmind.build(magicmind.parse(appended(yolo, tmp_path, 0.05))) as model, model.session() as session:
        for name in names:
            picture = cv2.imread(str(folder / "images" / f"{name}.jpg"))[..., ::-1]
            x = cv2.resize(picture, (320, 320)).astype(np.float32) / 255
            found = session.run({"data": np.ascontiguousarray(x.transpose(2, 0, 1)[None])})
            for _, label, score, *box in found["tables"][0, : found["counts"][0]]:
                corners = np.array(box) * [*picture.shape[1::-1], *picture.shape[1::-1]]
                rows[voc.CLASSES[int(label)]].append((name, float(score), corners.tolist()))
    for name, found_rows in rows.items():
        voc.write_detections(tmp_path, name, found_rows)
    root = tmp_path / "VOC2012"
    (root / "ImageSets" / "Main").mkdir(parents=True)
    shutil.copy(folder / "images.txt", root / "ImageSets" / "Main" / "test.txt")
    (root / "Annotations").symlink_to(folder / "annotations")
    assert voc.main(["--path", str(tmp_path), "--devkit_path", str(tmp_path), "--year", "2012"]) == 0
    mean = float(capsys.readouterr().out.rpartition("Mean AP = ")[2])
    assert abs(mean - 0.867) < 0.002
