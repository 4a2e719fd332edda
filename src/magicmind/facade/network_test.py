"""Networks: what parsers leave in them, the names programs search for, editing, building."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import magicmind
import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import build, config, run, run_model

DATA = Path(magicmind.__file__).parent / "data"
FIXED = '{"graph_shape_mutable": false}'


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """x [1, 3, 8, 8] -> Conv -> Mul by 2 -> ReduceMax, an int64 ArgMax beside it; only some nodes are named."""
    rng = np.random.default_rng(0)
    weights = helper.make_tensor("w", 1, [4, 3, 3, 3], rng.standard_normal(108).astype(np.float32))
    two = helper.make_tensor("two", 1, [], [2.0])
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv/first"),
        helper.make_node("Mul", ["c", "two"], ["m"]),
        helper.make_node("GlobalMaxPool", ["m"], ["pooled"], name="GlobalMaxPool_7"),
        helper.make_node("ArgMax", ["pooled"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(n, t, None) for n, t in (("pooled", 1), ("label", 7))],
        [weights, two],
    )
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two convolutions, one of them depthwise, and a fully connected layer."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, groups=8)
            self.norm, self.fc = nn.BatchNorm2d(8), nn.Linear(8, 5)

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.norm(self.a(x)))
            z = torch.relu(self.b(y))
            return self.fc(z.mean((2, 3))), torch.sigmoid(z)

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("torch") / "net.pt"
    torch.jit.trace(Net().eval(), torch.zeros(1, 3, 8, 8)).save(str(path))
    return str(path)


def parsed(kind: mm.ModelKind, *files: Any, **parameters: Any) -> mm.Network:
    network, parser = mm.Network(), mm.parser.Parser(kind)
    for key, value in parameters.items():
        status = parser.set_model_param(key.replace("_", "-"), value)
        assert status.ok(), status
    status = parser.parse(network, *map(str, files))
    assert status.ok(), status
    return network


def from_onnx(path: str) -> mm.Network:
    return parsed(mm.ModelKind.kOnnx, path)


def from_torch(path: str) -> mm.Network:
    return parsed(mm.ModelKind.kPytorch, path, pytorch_input_dtypes=[mm.DataType.FLOAT32])


def caffe() -> mm.Network:
    return parsed(mm.ModelKind.kCaffe, DATA / "digits.caffemodel", DATA / "digits.prototxt")


def tensorflow(**parameters: Any) -> mm.Network:
    return parsed(
        mm.ModelKind.kTensorflow,
        DATA / "digits.pb",
        tf_model_type="tf-graphdef-file",
        tf_infer_shape=True,
        **parameters,
    )


def names(network: mm.Network) -> tuple[list[str], list[str]]:
    inputs = [network.get_input(i).get_tensor_name() for i in range(network.get_input_count())]  # type: ignore[union-attr]
    outputs = [network.get_output(i).get_tensor_name() for i in range(network.get_output_count())]  # type: ignore[union-attr]
    return inputs, outputs


# --------------------------------------------------------------------------------------------------------------- names


def test_names_of_onnx(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    assert names(network) == (["x"], ["pooled", "label"])
    nodes: Any = network.get_all_nodes_in_network()
    assert [n.get_node_type() for n in nodes] == ["IConvNode", "IElementwiseNode", "IGlobalMaxPoolNode", "IArgMaxNode"]
    assert [f"{op}_" in n.get_node_name() for op, n in zip(("Conv", "Mul", "GlobalMaxPool"), nodes, strict=False)]
    assert nodes[2].get_node_name() == "GlobalMaxPool_7"
    assert network.find_node_by_name(nodes[0].get_node_name()) is nodes[0]
    assert network.find_node_by_name("nothing") is None


def test_names_of_caffe() -> None:
    assert names(caffe()) == (["image"], ["probabilities"])


def test_names_of_tensorflow() -> None:
    inputs, outputs = names(tensorflow())
    assert all(name.endswith(":0") for name in inputs + outputs)


@pytest.mark.parametrize("suffix", ["", ":0"])
def test_tensorflow_names_with_and_without_index(suffix: str) -> None:
    inputs, outputs = names(tensorflow())
    plain = [[n.removesuffix(":0") + suffix for n in part] for part in (inputs, outputs)]
    assert names(tensorflow(tf_graphdef_inputs=plain[0], tf_graphdef_outputs=plain[1])) == (inputs, outputs)


def test_names_of_pytorch(torch_file: str) -> None:
    network = from_torch(torch_file)
    assert names(network) == (["main/arg-0"], ["main/mm.matmul:0", "main/mm.sigmoid:0"])
    found = [n.get_node_name() for n in network.get_all_nodes_in_network()]
    assert found == [
        "main/mm.conv2d", "main/mm.fused_batch_norm", "main/mm.relu", "main/mm.conv_depthwise2d", "main/mm.relu-1",
        "main/mm.mean", "main/mm.matmul", "main/mm.sigmoid",
    ]  # fmt: skip


def test_pytorch_types_are_known_before_shapes(torch_file: str) -> None:
    network = from_torch(torch_file)
    assert network.get_input(0).get_dimension().GetDims() == []  # type: ignore[union-attr]
    for node in network.get_all_nodes_in_network():
        reads = [node.get_input(i).get_data_type() for i in range(node.get_input_count())]  # type: ignore[union-attr]
        makes = [node.get_output(i).get_data_type() for i in range(node.get_output_count())]  # type: ignore[union-attr]
        assert set(reads + makes) == {mm.DataType.FLOAT32}


def test_producers_and_consumers(torch_file: str) -> None:
    network = from_torch(torch_file)
    first = network.get_all_nodes_in_network()[0]
    x = network.get_input(0)
    assert x is not None and x.get_producer() is None and x.get_consumers() == [first]
    assert first.get_input(0) is x
    after = first.get_output(0).get_consumers()  # type: ignore[union-attr]
    assert [n.get_node_name() for n in after or ()] == ["main/mm.fused_batch_norm"]
    assert network.get_output(1).get_producer().get_node_name() == "main/mm.sigmoid"  # type: ignore[union-attr]


# -------------------------------------------------------------------------------------------------------------- shapes


def test_every_shape_follows_the_inputs(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    x, pooled = network.get_input(0), network.get_output(0)
    assert x is not None and pooled is not None
    assert x.get_dimension().GetDims() == [1, 3, 8, 8] and pooled.get_dimension().GetDims() == [1, 4, 1, 1]
    dims = x.get_dimension().GetDims()
    dims[0] = 5
    assert x.set_dimension(mm.Dims(dims)).ok()
    assert pooled.get_dimension().GetDims() == [5, 4, 1, 1]
    assert network.get_output(1).get_data_type() is mm.DataType.INT64  # type: ignore[union-attr]
    assert x.set_dimension(mm.Dims([-1, 3, 8, 8])).ok()
    assert pooled.get_dimension().GetDims() == [-1, 4, 1, 1]


WORD: Any = "abc"


@pytest.mark.parametrize("dims", [mm.Dims([1, 3]), mm.Dims(WORD), WORD, None, mm.Dims([1, 3, 8, -7])])
def test_dims_that_do_not_fit(dims: Any, onnx_file: str) -> None:
    x = from_onnx(onnx_file).get_input(0)
    assert x is not None and not x.set_dimension(dims).ok()


def test_only_inputs_have_dims_to_set(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    assert not network.get_output(0).set_dimension(mm.Dims([1])).ok()  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------------------------ building a file


def test_an_input_of_bytes_is_converted_inside(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    x = network.get_input(0)
    assert x is not None and x.set_data_type(mm.DataType.UINT8).ok() and x.get_data_type() is mm.DataType.UINT8
    model = build(network, FIXED)
    assert model.get_input_data_types() == [mm.DataType.UINT8]
    pixels = np.random.default_rng(1).integers(0, 256, (1, 3, 8, 8))
    expected = run(from_onnx(onnx_file), pixels.astype(np.float32), config=FIXED)
    np.testing.assert_allclose(run_model(model, pixels)[0], expected[0], rtol=1e-5)


def test_types_of_outputs(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    assert network.get_output(0).set_data_type(mm.DataType.FLOAT16).ok()  # type: ignore[union-attr]
    model = build(network, FIXED, '{"opt_config": {"type64to32_conversion": true}}')
    assert model.get_output_data_types() == [mm.DataType.FLOAT16, mm.DataType.INT32]


LAYOUT = '{"convert_input_layout": {"0": {"src": "NCHW", "dst": "NHWC"}}}'
NORM = '{"insert_bn_before_firstnode": {"0": {"mean": [10.5, 20, 30], "var": [4, 9.0, 16]}}}'
MEAN, STD = np.array([10.5, 20, 30]).reshape(1, 3, 1, 1), np.array([2.0, 3, 4]).reshape(1, 3, 1, 1)
PIXELS = np.random.default_rng(2).integers(0, 256, (2, 3, 8, 8)).astype(np.uint8)


@pytest.mark.parametrize("load", ["onnx", "torch"])
@pytest.mark.parametrize("layout", [True, False])
def test_normalisation_makes_an_input_of_bytes(load: str, layout: bool, onnx_file: str, torch_file: str) -> None:
    """Without padding the convolution takes the normalisation in; with padding the border stays zero."""
    make: Callable[[], mm.Network] = lambda: from_onnx(onnx_file) if load == "onnx" else from_torch(torch_file)  # noqa: E731

    def shaped() -> mm.Network:
        network = make()
        assert network.get_input(0).set_dimension(mm.Dims([2, 3, 8, 8])).ok()  # type: ignore[union-attr]
        return network

    network = shaped()
    network.get_input(0).set_data_type(mm.DataType.FLOAT32)  # type: ignore[union-attr]  # has no say here
    model = build(network, FIXED, NORM, *([LAYOUT] if layout else []))
    assert model.get_input_data_types() == [mm.DataType.UINT8]
    assert model.get_input_dimensions()[0].GetDims() == ([2, 8, 8, 3] if layout else [2, 3, 8, 8])
    expected = run(shaped(), ((PIXELS - MEAN) / STD).astype(np.float32), config=FIXED)
    found = run_model(model, PIXELS.transpose(0, 2, 3, 1) if layout else PIXELS)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_channels_in_reverse(onnx_file: str) -> None:
    network, plain = from_onnx(onnx_file), from_onnx(onnx_file)
    found = run(network, PIXELS[:1, ::-1], config='{"graph_shape_mutable": false, "rgb2bgr": true}')
    np.testing.assert_allclose(found[0], run(plain, PIXELS[:1], config=FIXED)[0], rtol=1e-5)


def test_channels_in_reverse_with_normalisation(onnx_file: str) -> None:
    network, plain = from_onnx(onnx_file), from_onnx(onnx_file)
    reverse = '{"graph_shape_mutable": false, "rgb2bgr": true, ' + NORM[1:]
    found = run(network, PIXELS[:1, ::-1], config=reverse)
    expected = run(plain, PIXELS[:1], config='{"graph_shape_mutable": false, ' + NORM[1:])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-3)


def test_an_output_in_another_layout(torch_file: str) -> None:
    def shaped() -> mm.Network:
        network = from_torch(torch_file)
        assert network.get_input(0).set_dimension(mm.Dims([1, 3, 8, 8])).ok()  # type: ignore[union-attr]
        return network

    x = PIXELS[:1].astype(np.float32)
    convert = '{"graph_shape_mutable": false, "convert_output_layout": {"1": {"src": "NCHW", "dst": "NHWC"}}}'
    found, expected = run(shaped(), x, config=convert), run(shaped(), x, config=FIXED)
    np.testing.assert_allclose(found[1], expected[1].transpose(0, 2, 3, 1), rtol=1e-5)


def test_ranges_are_in_the_order_of_the_file(onnx_file: str) -> None:
    ranges = '{"dim_range": {"0": {"min": [1, 3, 8, 8], "max": [4, 3, 16, 8]}}}'
    model = build(from_onnx(onnx_file), ranges, LAYOUT)
    assert model.get_input_dimensions()[0].GetDims() == [-1, -1, 8, 3]
    assert run_model(model, np.ones((3, 12, 8, 3)))[0].shape == (3, 4, 1, 1)


def test_a_range_that_contradicts_the_present_size(onnx_file: str, caplog: pytest.LogCaptureFixture) -> None:
    ranges = '{"dim_range": {"0": {"min": [1, 8, 8, 3], "max": [4, 8, 8, 3]}}}'  # as if the network were NHWC
    model = build(from_onnx(onnx_file), ranges)
    assert model.get_input_dimensions()[0].GetDims() == [-1, 3, 8, 8]
    assert "outside 8..8" in caplog.text


def test_a_mutable_network_without_range_takes_any_size(onnx_file: str) -> None:
    model = build(from_onnx(onnx_file))
    assert model.get_input_dimensions()[0].GetDims() == [-1, 3, -1, -1]  # the weights fix the channels
    assert run_model(model, np.ones((2, 3, 9, 10)))[0].shape == (2, 4, 1, 1)


def test_the_configuration_is_in_the_manifest(onnx_file: str, tmp_path: Path) -> None:
    model = build(from_onnx(onnx_file), '{"archs": [{"mtp_372": [6, 8]}], "enable_refit": true}', LAYOUT)
    assert model.serialize_to_file(tmp_path / "m").ok()
    info = magicmind.load(tmp_path / "m").info()["magicmind"]
    assert info["build_config"]["archs"] == [{"mtp_372": [6, 8]}] and info["build_config"]["enable_refit"] is True
    assert info["layouts"]["inputs"] == ["NHWC"]


@pytest.mark.parametrize(
    "text",
    [
        '{"archs": ["mtp_372"]}', '{"archs": [{"mtp_592": [2]}, "tp_322"]}', '{"archs": ["x86-64-v2", "native"]}',
        '{"debug_config": {"fusion_enable": false}}', '{"opt_config": {"conv_scale_fold": false}}',
        '{"computation_preference": "fast"}', '{"cross_compile_toolchain_path": "/none"}', '{"dim_range": {}}',
    ],
)  # fmt: skip
def test_configurations_that_build_the_same_network(text: str, onnx_file: str) -> None:
    x = PIXELS[:1].astype(np.float32)
    found, expected = run(from_onnx(onnx_file), x, config=text), run(from_onnx(onnx_file), x)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)


def test_fusion_can_be_switched_off(onnx_file: str, tmp_path: Path) -> None:
    steps = {}
    for flag in ("true", "false"):
        path = tmp_path / flag
        model = build(from_onnx(onnx_file), FIXED, f'{{"debug_config": {{"fusion_enable": {flag}}}, '
                      '"opt_config": {"conv_scale_fold": false}}')  # fmt: skip
        assert model.serialize_to_file(path).ok()
        steps[flag] = len(magicmind.load(path).info()["steps"])
    assert steps["false"] > steps["true"]


BAD_BUILDS = {
    "an input that is not there": '{"dim_range": {"3": {"min": [1], "max": [2]}}}',
    "a range of another rank": '{"dim_range": {"0": {"min": [1], "max": [2]}}}',
    "a range upside down": '{"dim_range": {"0": {"min": [4, 3, 8, 8], "max": [1, 3, 8, 8]}}}',
    "a target nobody knows": '{"archs": ["z80"]}',
    "means of other channels": '{"insert_bn_before_firstnode": {"0": {"mean": [1, 2], "var": [1, 2]}}}',
    "a layout of another rank": '{"convert_input_layout": {"0": {"src": "NCT", "dst": "NTC"}}}',
    "a layout of an output that is not there": '{"convert_output_layout": {"5": {"src": "NCHW", "dst": "NHWC"}}}',
    "integers without ranges": '{"precision_config": {"precision_mode": "qint8_mixed_float32"}}',
}


@pytest.mark.parametrize("what", BAD_BUILDS)
def test_builds_that_fail(what: str, onnx_file: str, caplog: pytest.LogCaptureFixture) -> None:
    builder = mm.Builder()
    assert builder.build_model("n", from_onnx(onnx_file), config(BAD_BUILDS[what])) is None
    assert not builder.status.ok() and builder.status.error_message in caplog.text


def test_what_is_built_of(onnx_file: str) -> None:
    builder = mm.Builder()
    assert builder.build_model("n", "network", mm.BuilderConfig()) is None  # type: ignore[arg-type]
    assert builder.build_model("n", from_onnx(onnx_file), {}) is None  # type: ignore[arg-type]
    assert builder.build_model("n", mm.Network(), mm.BuilderConfig()) is None
    assert builder.build_model("n", from_onnx(onnx_file)) is not None  # without configuration


def test_a_network_that_was_built_is_closed(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    x = network.get_input(0)
    node = network.get_all_nodes_in_network()[0]
    assert x is not None and build(network, FIXED) is not None
    for status in (
        x.set_dimension(mm.Dims([1, 3, 8, 8])),
        x.set_data_type(mm.DataType.UINT8),
        network.mark_output(x),
        network.unmark_output(network.get_output(0)),  # type: ignore[arg-type]
        node.set_precision(0, mm.DataType.FLOAT32),
        node.update_input(0, x),
        mm.Parser(mm.ModelKind.kOnnx).parse(network, onnx_file),
    ):
        assert not status.ok() and "built" in str(status)
    assert network.add_input(mm.DataType.FLOAT32) is None
    assert mm.Builder().build_model("n", network, config(FIXED)) is None
    assert names(network) == (["x"], ["pooled", "label"])  # looking is still possible


# ------------------------------------------------------------------------------------------------------------- editing


def test_outputs_are_unmarked_and_marked(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    pooled = network.get_output(0)
    assert pooled is not None
    for _ in range(network.get_output_count()):
        assert network.unmark_output(network.get_output(0)).ok()  # type: ignore[arg-type]
    assert network.get_output_count() == 0
    assert not network.unmark_output(pooled).ok()
    axes = network.add_i_const_node(mm.DataType.INT32, mm.Dims([4]), [0, 2, 3, 1])
    turned = network.add_i_permute_node(pooled, axes.get_output(0))
    assert network.mark_output(turned.get_output(0)).ok() and not network.mark_output(turned).ok()
    found = run(network, PIXELS[:1], config=FIXED)
    assert len(found) == 1
    np.testing.assert_allclose(found[0], run(from_onnx(onnx_file), PIXELS[:1], config=FIXED)[0].transpose(0, 2, 3, 1))


def test_added_nodes_are_numbered_and_named(torch_file: str) -> None:
    network = from_torch(torch_file)
    kind = mm.IActivation.RELU
    first = network.add_i_activation_node(network.get_output(1), kind)
    second = network.add_i_activation_node(first, activation_type=kind)
    assert first.get_node_type() == "IActivationNode"
    assert (first.get_node_name(), second.get_node_name()) == ("main/mm.activation", "main/mm.activation-1")
    assert first.set_node_name("mine").ok() and network.find_node_by_name("mine") is first
    assert network.find_node_by_name("main/mine") is first
    assert not network.get_all_nodes_in_network()[0].set_node_name("x").ok()


def test_a_node_reads_something_else(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    pool = network.get_all_nodes_in_network()[2]
    half = network.add_i_square_node(pool.get_input(0))
    assert pool.update_input(0, half).ok()
    found = run(network, PIXELS[:1], config=FIXED)[0]
    plain = from_onnx(onnx_file)
    squared = plain.add_i_square_node(plain.get_all_nodes_in_network()[1].get_output(0))
    axes = plain.add_i_const_node(mm.DataType.INT32, mm.Dims([2]), [2, 3])
    most = plain.add_i_reduce_node(squared, axes, mm.IReduce.MAX, True)
    assert plain.mark_output(most).ok()
    np.testing.assert_allclose(found, run(plain, PIXELS[:1], config=FIXED)[2], rtol=1e-5)


def test_a_graph_by_hand_with_sizes_that_the_run_tells() -> None:
    """A mask of the first `length` of `limit` positions, as one speech program makes it."""
    network = mm.Network()
    limit, length = (network.add_input(mm.DataType.INT32, mm.Dims([1])) for _ in range(2))
    zero, one = (network.add_i_const_node(mm.DataType.INT32, mm.Dims([]), [v]).get_output(0) for v in (0, 1))
    zero = network.add_i_const_node(dtype=mm.DataType.INT32, dimensions=mm.Dims([1]), value=[0]).get_output(0)
    ids = network.add_i_range_node(zero, limit, one)
    mask = network.add_i_logic_node(ids.get_output(0), length, mm.enums.ILogic.LT)
    assert network.mark_output(mask.get_output(0)).ok()
    model = mm.Builder().build_model("mask", network, mm.BuilderConfig())
    assert model is not None
    np.testing.assert_array_equal(run_model(model, np.array([5]), np.array([3]))[0], [1, 1, 1, 0, 0])


def test_a_slice_whose_size_is_an_input() -> None:
    network = mm.Network()
    mel = network.add_input(mm.DataType.FLOAT32)  # unranked: the lowest rank that its nodes allow
    size = network.add_input(mm.DataType.INT32, mm.Dims([]))
    begin, axis = (network.add_i_const_node(mm.DataType.INT32, mm.Dims([1]), [v]).get_output(0) for v in (0, 2))
    part = network.add_i_slice_node(mel, begin, size, axis)
    assert network.mark_output(part.get_output(0)).ok()
    model = mm.Builder().build_model("crop", network, mm.BuilderConfig())
    assert model is not None
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 6)
    np.testing.assert_array_equal(run_model(model, x, np.array(4))[0], x[:, :, :4])


WRONG_NODES: dict[str, Callable[[Any, Any], Any]] = {
    "no operands": lambda n, x: n.add_i_permute_node(),
    "a number for a tensor": lambda n, x: n.add_i_square_node(3),
    "a tensor for a list": lambda n, x: n.add_i_concat_node(0, x),
    "another network's tensor": lambda n, x: n.add_i_square_node(mm.Network().add_input(mm.DataType.FLOAT32)),
    "too many": lambda n, x: n.add_i_square_node(x, x),
    "an unknown name": lambda n, x: n.add_i_square_node(tensor=x),
    "no parts": lambda n, x: n.add_i_split_node(x, 0, 0),
}


@pytest.mark.parametrize("what", WRONG_NODES)
def test_nodes_that_cannot_be_added(what: str) -> None:
    network = mm.Network()
    assert WRONG_NODES[what](network, network.add_input(mm.DataType.FLOAT32, mm.Dims([2]))) is None


def test_getters_without_such_a_thing(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    node = network.get_all_nodes_in_network()[0]
    assert network.get_input(9) is None and network.get_output(-1) is None
    assert node.get_input(9) is None and node.get_output("0") is None  # type: ignore[arg-type]
    assert not node.set_precision(9, mm.DataType.FLOAT32).ok()
    assert not node.set_output_type(0, "FLOAT32").ok()  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------- parsers


def test_parameters_of_parsers() -> None:
    parser = mm.parser.Parser(mm.ModelKind.kTensorflow)
    for key, value in (
        ("tf-model-type", "tf-graphdef-file"), ("tf-model-type", "tf-savedmodel-v1-dir"), ("tf-infer-shape", False),
        ("tf-graphdef-inputs", ["a:0"]), ("tf-graphdef-outputs", ["b"]), ("tf-savedmodel-tags", "serve"),
        ("tf-savedmodel-exported-names", "serving_default"), ("tf-savedmodel-main-func", "main"),
    ):  # fmt: skip
        assert parser.set_model_param(key, value).ok()
    wrong: tuple[tuple[str, Any], ...] = (
        ("tf-model-type", "h5"), ("pytorch-input-dtypes", []), ("nothing", 1), ("tf-infer-shape", "yes"),
    )  # fmt: skip
    for key, value in wrong:
        assert not parser.set_model_param(key, value).ok()


def test_types_that_the_parser_is_told(onnx_file: str) -> None:
    network = parsed(mm.ModelKind.kOnnx, onnx_file, onnx_input_dtypes=[mm.DataType.UINT8])
    assert network.get_input(0).get_data_type() is mm.DataType.UINT8  # type: ignore[union-attr]


PARSES: dict[str, Callable[[str], Any]] = {
    "a kind that is none": lambda f: mm.Parser("onnx").parse(mm.Network(), f),  # type: ignore[arg-type]
    "no network": lambda f: mm.Parser(mm.ModelKind.kOnnx).parse(None, f),  # type: ignore[arg-type]
    "no file": lambda f: mm.Parser(mm.ModelKind.kOnnx).parse(mm.Network(), "/none.onnx"),
    "no path": lambda f: mm.Parser(mm.ModelKind.kOnnx).parse(mm.Network(), 3),  # type: ignore[arg-type]
    "another framework's file": lambda f: mm.Parser(mm.ModelKind.kTensorflow).parse(mm.Network(), f),
    "one file of Caffe's two": lambda f: mm.Parser(mm.ModelKind.kCaffe).parse(mm.Network(), f),
    "two files of one": lambda f: mm.Parser(mm.ModelKind.kOnnx).parse(mm.Network(), f, f),
    "nothing": lambda f: mm.Parser(mm.ModelKind.kOnnx).parse(),  # type: ignore[call-arg]
}


@pytest.mark.parametrize("what", PARSES)
def test_what_cannot_be_parsed(what: str, onnx_file: str) -> None:
    status = PARSES[what](onnx_file)
    assert not status.ok() and status.error_message


def test_a_network_is_filled_once(onnx_file: str) -> None:
    status = mm.Parser(mm.ModelKind.kOnnx).parse(from_onnx(onnx_file), onnx_file)
    assert not status.ok() and "not empty" in str(status)


@pytest.mark.parametrize("load", [caffe, tensorflow])
def test_the_demos_networks_run(load: Callable[[], mm.Network]) -> None:
    network = load()
    x = network.get_input(0)
    assert x is not None
    dims = x.get_dimension().GetDims()
    dims[0] = 2
    assert x.set_dimension(mm.Dims(dims)).ok()
    found = run(network, np.zeros(dims), config=FIXED)
    assert found[0].shape[0] == 2


# ---------------------------------------------------------------------------------------------------- while it is built


def test_shapes_behind_a_node_of_the_file_that_reads_something_else(onnx_file: str) -> None:
    network = from_onnx(onnx_file)
    pool = network.get_all_nodes_in_network()[2]
    assert pool.update_input(0, network.get_input(0)).ok()  # type: ignore[arg-type]
    assert network.get_output(0).get_dimension().GetDims() == [1, 3, 1, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_weights_of_the_file_are_edited(kind: str, onnx_file: str, torch_file: str) -> None:
    """As one converter exchanges red and blue: the first convolution's filter is split, and joined in reverse."""

    def load() -> Any:
        network = from_onnx(onnx_file) if kind == "onnx" else from_torch(torch_file)
        assert network.get_input(0).set_dimension(mm.Dims([1, 3, 8, 8])).ok()  # type: ignore[union-attr]
        return network

    network = load()
    (first,) = network.get_input(0).get_consumers()
    assert first.get_node_type() == "IConvNode"
    weight = first.get_input(1)
    assert weight.get_dimension().GetDims()[1:] == [3, 3, 3]
    axis = network.add_i_const_node(mm.DataType.INT32, mm.Dims([1]), 1)
    parts = network.add_i_split_node(weight, axis.get_output(0), 3)
    joined = network.add_i_concat_node(axis.get_output(0), [parts.get_output(i) for i in (2, 1, 0)])
    assert first.update_input(1, joined.get_output(0)).ok()
    x = PIXELS[:1].astype(np.float32)
    found, expected = run(network, x[:, ::-1], config=FIXED), run(load(), x, config=FIXED)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
