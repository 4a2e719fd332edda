"""A sample that takes no time, for tests of what is common to all samples."""

from __future__ import annotations

from pathlib import Path

from magicmind.zoo import files
from magicmind.zoo.fetch import Download
from magicmind.zoo.geometry import Stretch, opencv
from magicmind.zoo.networks.onnx_layers import start
from magicmind.zoo.pictures import picture
from magicmind.zoo.preparation import Preparation
from magicmind.zoo.recipe import Sample
from magicmind.zoo.sources import Onnx
from magicmind.zoo.tasks.classification import Classification

CLASSES = 10

SAMPLE = Sample(
    name="tiny",
    title="one convolution",
    licence="none",
    source=Onnx(Download("tiny.onnx", ("http://nowhere.invalid/tiny.onnx",))),
    task=Classification(probabilities=False, says_image=True),
    dataset="imagenet",
    shape=(8, 8),
    preparation=Preparation(Stretch(8, 8), "bgr", (100, 110, 120), (50, 60, 70)),
    model_file="models/tiny_{precision}_{mutable}_{batch}",
    output_folder="output/{precision}_{mutable}_{batch}",
    batches=(1, 16),
    defaults={"precision": "force_float32", "mutable": True, "batch": 1, "image_num": -1},
)  # fmt: skip


def write_network(path: Path) -> None:
    """data [N, 3, 8, 8] -> logits [N, 10]."""
    net = start("data", 3)
    x = net.relu(net.conv("data", "conv", CLASSES, 3, bias=True), "relu")
    x = net.node("GlobalAveragePool", [x], "pool", channels=CLASSES, moment=0.2)
    net.node("Flatten", [x], "logits", channels=CLASSES, moment=0.2, axis=1)
    model = net.model(input_shape=("N", 3, 8, 8), output_shape=("N", CLASSES), opset=13, ir=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def write_data(folder: Path, count: int = 12, broken: tuple[int, ...] = ()) -> None:
    """A labelled data set of made pictures; the JPEG files of `broken` are cut off in the middle."""
    lines = []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for i in range(count):
        data = opencv().imencode(".jpg", picture(i, 60, 80))[1].tobytes()
        name = f"ILSVRC2012_val_{i + 1:08}.JPEG"
        files.write(folder / "images" / name, data[: len(data) // 2] if i in broken else data)
        lines.append(f"{name} {i % CLASSES}\n")
    (folder / "val.txt").write_text("".join(lines))
    (folder / "names.txt").write_text("".join(f"{i} class {i}, of ten\n" for i in range(CLASSES)))
