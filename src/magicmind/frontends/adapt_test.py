"""Names, dtypes and layouts of a network's ends are the user's choice at parse time."""

from pathlib import Path

import numpy as np
import onnx
import pytest

import magicmind
from magicmind.errors import ModelFormatError, ShapeError

TEXT = """<ir_version: 8, opset_import: ["": 17]>
net (float[N, 3, 4, 5] image) => (float[N, 3] score) {
    halved = Relu(image)
    pooled = GlobalAveragePool(halved)
    score = Flatten(pooled)
}"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(onnx.parser.parse_model(TEXT), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def expected(images: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(images, 0).mean((1, 2)))


def test_an_image_fed_as_bytes_with_channels_last(path: Path) -> None:
    graph = magicmind.parse(
        path, input_layouts={"image": "NHWC"}, input_dtypes=["uint8"], input_names=["pixels"], output_names=["mean"]
    )
    (info,) = graph.inputs
    assert (info.name, info.dtype, info.shape) == ("pixels", np.dtype(np.uint8), ((1, None), 4, 5, 3))
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    with magicmind.build(graph).session() as session:
        np.testing.assert_allclose(session.run({"pixels": images})["mean"], expected(images.astype(np.float32)), 1e-5)


def test_shapes_are_given_in_the_chosen_layout(path: Path) -> None:
    graph = magicmind.parse(path, input_layouts=["NHWC"], input_shapes={"image": (2, 4, 5, 3)})
    assert graph.inputs[0].shape == (2, 4, 5, 3)
    assert graph.with_shapes({"image": ("1..8", 4, 5, 3)}).inputs[0].shape == ((1, 8), 4, 5, 3)


def test_the_networks_own_layout_changes_nothing(path: Path) -> None:
    graph = magicmind.parse(path, input_layouts={"image": "nchw"})
    assert [node.op_type for node in graph.model.graph] == ["Relu", "GlobalAveragePool", "Flatten"]


def test_wrong_wishes(path: Path) -> None:
    with pytest.raises(ModelFormatError, match="no input 'picture'"):
        magicmind.parse(path, input_layouts={"picture": "NHWC"})
    with pytest.raises(ModelFormatError, match="'CHWN' is no layout"):
        magicmind.parse(path, input_layouts=["CHWN"])
    with pytest.raises(ModelFormatError, match="'float' is no dtype"):
        magicmind.parse(path, input_dtypes=["float"])
    with pytest.raises(ShapeError, match="4 dimensions; the layout NWC has 3"):
        magicmind.parse(path, input_layouts=["NWC"])
