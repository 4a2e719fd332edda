"""The networks are the published ones: operators, parameters, names and shapes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind
from magicmind.frontends.caffe.prototxt import State, read_prototxt
from magicmind.frontends.caffe.schema import WeightsNet
from magicmind.frontends.tensorflow import schema
from magicmind.zoo.networks.deeplab import deeplab
from magicmind.zoo.networks.mobilenet_v2 import mobilenet_v2


def test_mobilenet_has_the_layers_and_parameters_of_the_published_one(tmp_path: Path) -> None:
    text, weights = mobilenet_v2()
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    layers = read_prototxt(path, State("TEST", 0, ())).layers
    assert len(layers) == 208
    counts = {"Convolution": 54, "BatchNorm": 53, "Scale": 53, "ReLU": 36, "Eltwise": 10, "Pooling": 1, "Softmax": 1}
    assert Counter(layer.type for layer in layers) == counts
    found = WeightsNet()
    found.ParseFromString(weights)
    sizes = {layer.name: [int(np.prod(blob.shape.dim)) for blob in layer.blobs] for layer in found.layer}
    statistics = sum(sum(s) for name, s in sizes.items() if name.endswith("/bn"))
    assert (sum(map(sum, sizes.values())) - statistics, statistics) == (3_505_960, 34_229)
    (tmp_path / "net.caffemodel").write_bytes(weights)
    graph = magicmind.parse(tmp_path / "net.caffemodel", prototxt=path, input_shapes={"data": ("1..64", 3, 224, 224)})
    assert graph.outputs[0].name == "prob"
    assert graph.outputs[0].shape == ((1, 64), 1000, 1, 1)


def test_deeplab_has_the_nodes_of_the_published_one(tmp_path: Path) -> None:
    message = schema.GraphDef()
    message.ParseFromString(deeplab())
    counts = Counter(node.op for node in message.node)
    expected = {
        "Conv2D": 38, "DepthwiseConv2dNative": 17, "FusedBatchNorm": 54, "Relu6": 34, "Relu": 3, "SpaceToBatchND": 10,
        "BatchToSpaceND": 10, "AvgPool": 1, "ConcatV2": 1, "BiasAdd": 1, "ResizeBilinear": 3, "ArgMax": 1, "Pad": 1,
        "ResizeNearestNeighbor": 1,
    }  # fmt: skip
    assert {op: counts[op] for op in expected} == expected
    path = tmp_path / "graph.pb"
    path.write_bytes(deeplab())
    graph = magicmind.parse(path, outputs=["SemanticPredictions"], input_shapes={"ImageTensor": (1, 375, 500, 3)})
    assert graph.inputs[0].dtype == np.uint8
    assert graph.outputs[0].shape == (1, 375, 500)
    parameters = sum(
        value.const_value.size
        for value in graph.model.graph.initializers.values()
        if value.const_value is not None and value.const_value.size > 20
    )
    assert 2.10e6 < parameters < 2.17e6


torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")

from magicmind.zoo.networks.centernet import centernet  # noqa: E402
from magicmind.zoo.networks.tracing import load_checkpoint, randomise, trace  # noqa: E402
from magicmind.zoo.networks.volo import volo_d2  # noqa: E402


def test_centernet_has_the_published_parameters_and_four_outputs() -> None:
    net: Any = randomise(centernet, 0, (1, 3, 64, 64))
    assert sum(p.numel() for p in net.parameters()) == 18_474_476
    assert sum(p.numel() for p in net.base.fc.parameters()) == 513_000
    with torch.no_grad():
        hm_max, heatmap, wh, reg = net(torch.randn(2, 3, 64, 96))
    assert heatmap.shape == hm_max.shape == (2, 80, 16, 24)
    assert wh.shape == reg.shape == (2, 2, 16, 24)
    assert 0.01 < float(heatmap.mean()) < 0.5
    assert float(heatmap.std()) > 0.01
    names = net.state_dict().keys()
    for name in (
        "base.base_layer.0.weight", "base.level2.project.1.running_var", "base.level2.root.bn.weight",
        "base.level3.project.0.weight", "base.level4.tree1.project.0.weight", "base.level4.tree2.tree1.bn1.bias",
        "base.level5.root.conv.weight", "dla_up.ida_2.proj_3.1.bias", "dla_up.ida_1.up_2.weight",
        "dla_up.ida_0.node_1.0.weight", "hm.2.bias", "wh.0.weight", "reg.2.weight",
    ):  # fmt: skip
        assert name in names
    assert not [name for name in names if name.startswith("dla_up.ida_0.proj_0")]


def test_volo_has_the_published_parameters() -> None:
    net: Any = volo_d2()
    assert sum(p.numel() for p in net.parameters()) == 58_678_336
    assert len(net.state_dict()) == 330

    def count(part: Any) -> int:
        return sum(p.numel() for p in part.parameters())

    assert count(net.patch_embed) == 345_920
    assert [count(part) for part in net.network] == [4_158_768, 524_800, 10_504_192, 26_260_480, 10_504_192]
    assert count(net.post_network) == 5_252_096


def small() -> Any:
    """A network that takes no time."""
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU())


def test_random_weights_keep_the_scale_and_repeat() -> None:
    found: list[Any] = [randomise(small, seed, (1, 3, 32, 32)).requires_grad_(False) for seed in (1, 1, 2)]
    one, same, other = found
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(one(x), same(x))
    assert not torch.equal(one(x), other(x))
    assert 0.3 < float((one[1](one[0](x)) ** 2).mean()) < 3


def test_checkpoints_load_by_key_whatever_they_are_wrapped_in(tmp_path: Path) -> None:
    source = randomise(small, 3, (1, 3, 16, 16))
    state = {f"module.{name}": value for name, value in source.state_dict().items()}
    path = tmp_path / "net.pth"
    x = torch.randn(1, 3, 8, 8)
    for found in (source.state_dict(), {"epoch": 7, "state_dict": state}):
        torch.save(found, path)
        net = small().eval()
        load_checkpoint(net, path)
        assert torch.equal(net(x), source(x))
    wrong = dict(source.state_dict())
    wrong["0.weight"] = torch.zeros(4, 3, 5, 5)
    wrong["extra"] = wrong.pop("1.bias")
    torch.save(wrong, path)
    with pytest.raises(magicmind.ModelFormatError, match=r"1 missing: 1.bias; 1 unexpected: extra; 1 misshapen: 0.we"):
        load_checkpoint(small(), path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(magicmind.ModelFormatError, match="no checkpoint of PyTorch"):
        load_checkpoint(small(), path)


def test_a_traced_network_takes_other_batches(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    net = randomise(small, 0, (1, 3, 16, 16))
    trace(net, (1, 3, 16, 16), path)
    x = torch.randn(3, 3, 16, 16)
    assert torch.equal(torch.jit.load(str(path))(x), net(x))


@pytest.mark.slow
def test_built_centernet_agrees_with_pytorch_and_peaks_are_exact(tmp_path: Path) -> None:
    net = randomise(centernet, 0, (1, 3, 128, 128))
    trace(net, (1, 3, 128, 128), tmp_path / "net.pt")
    graph = magicmind.parse(tmp_path / "net.pt", input_shapes=[(1, 3, 128, 128)])
    x = np.random.default_rng(0).standard_normal((1, 3, 128, 128)).astype(np.float32)
    found = list(magicmind.build(graph).session(threads=2).run({graph.inputs[0].name: x}).values())
    with torch.no_grad():
        expected = [t.numpy() for t in net.double()(torch.from_numpy(x).double())]
    for ours, theirs in zip(found, expected, strict=True):
        assert np.linalg.norm(ours - theirs) < 1e-4 * np.linalg.norm(theirs)
    hm_max, heatmap = found[:2]
    padded = np.pad(heatmap, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    neighbours = [padded[:, :, y : y + 32, x : x + 32] for y in range(3) for x in range(3)]
    assert np.array_equal(hm_max, np.max(neighbours, 0))
    assert 0 < (hm_max == heatmap).sum() < heatmap.size / 4
