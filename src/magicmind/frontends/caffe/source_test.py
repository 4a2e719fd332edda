"""What of a training net stays at inference, and layers that are applied to several bottoms."""

from __future__ import annotations

import numpy as np
import pytest

from magicmind.errors import ModelFormatError
from magicmind.frontends.caffe.layers.layers_test import close, layer_text, net_text, random_feeds, run
from magicmind.frontends.caffe.prototxt import parse_prototxt
from magicmind.frontends.caffe.source import CaffeSource
from magicmind.graph import SourceGraph
from magicmind.testing.caffe import RandomWeights

INPUTS = net_text("", {"data": (2, 3, 6, 6), "label": (2, 1, 1, 1)})
CONV = (
    "layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv' "
    "convolution_param { num_output: 4 kernel_size: 3 } }\n"
)


def ends(text: str) -> tuple[list[str], list[str]]:
    """Names of a network's inputs and outputs."""
    graph = SourceGraph.of(CaffeSource(parse_prototxt(text, "net"), RandomWeights()))
    return [info.name for info in graph.inputs], [info.name for info in graph.outputs]


@pytest.mark.parametrize(
    "loss",
    [
        "type: 'CenterLoss' bottom: 'conv' bottom: 'label' top: 'l'",
        "type: 'WarpCTC' bottom: 'conv' bottom: 'label' top: 'l'",
        "type: 'MultiLabelAccuracy' bottom: 'conv' bottom: 'label' top: 'l'",
        "type: 'DiceCoefficient' loss_weight: 1 bottom: 'conv' bottom: 'label' top: 'l'",
        "type: 'Python' python_param { layer: 'HuberLoss' } bottom: 'conv' bottom: 'label' top: 'l'",
    ],
)
def test_what_an_unknown_loss_judges_is_the_output(loss: str) -> None:
    assert ends(f"{INPUTS}{CONV}layer {{ name: 'l' {loss} }}") == (["data"], ["conv"])


def test_what_prepares_labels_goes_with_them() -> None:
    prepare = (
        "layer { name: 'flat' type: 'Flatten' bottom: 'label' top: 'flat' }"
        "layer { name: 'flat' type: 'TargetMaker' bottom: 'flat' top: 'target' }"
        "layer { name: 'loss' type: 'MyLoss' bottom: 'conv' bottom: 'target' }"
    )
    assert ends(INPUTS + CONV + prepare) == (["data"], ["conv"])


def test_all_that_a_loss_compares_and_the_network_computes_is_output() -> None:
    twin = CONV.replace("'conv'", "'twin'").replace("bottom: 'data'", "bottom: 'data2'")
    inputs = net_text("", {"data": (2, 3, 6, 6), "data2": (2, 3, 6, 6), "sim": (2, 1)})
    loss = "layer { name: 'loss' type: 'ContrastiveLoss' bottom: 'conv' bottom: 'twin' bottom: 'sim' top: 'loss' }"
    assert ends(inputs + CONV + twin + loss) == (["data", "data2"], ["conv", "twin"])


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }"),
        ("InnerProduct", "inner_product_param { num_output: 5 }"),
        ("Pooling", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"),
        ("ReLU", ""),
    ],
)
def test_a_layer_on_several_bottoms_is_applied_to_each(kind: str, params: str) -> None:
    feeds = random_feeds({"a": (1, 3, 6, 6), "b": (2, 3, 6, 6)})
    shapes = {name: array.shape for name, array in feeds.items()}
    weights = RandomWeights()
    both = run(net_text(layer_text(kind, params, ["a", "b"], ["p", "q"]), shapes), feeds, weights)
    for name, top in (("a", "p"), ("b", "q")):
        alone = net_text(layer_text(kind, params, [name]), {name: shapes[name]})
        close(both[top], run(alone, {name: feeds[name]}, weights)["y"])
    assert not np.array_equal(both["p"][0], both["q"][0])


def test_a_layer_on_several_bottoms_has_as_many_tops() -> None:
    text = net_text(layer_text("ReLU", "", ["a", "b"]), {"a": (1, 2), "b": (1, 2)})
    with pytest.raises(ModelFormatError, match=r"y \(Caffe ReLU\): lists 2 bottoms and 1 tops"):
        ends(text)
