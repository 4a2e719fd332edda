"""Files: formats old and new, phases, shared weights, what is cut away, and what is wrong with bad ones."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import magicmind
from magicmind.cli import main
from magicmind.errors import Error, ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.frontends.caffe import schema
from magicmind.frontends.caffe.prototxt import State, parse_prototxt
from magicmind.frontends.caffe.source import CaffeSource
from magicmind.frontends.caffe.weights import Array, read_weights
from magicmind.graph import SourceGraph
from magicmind.testing.caffe import RandomWeights, caffemodel

INPUT = "input: 'data' input_shape { dim: 2 dim: 3 dim: 6 dim: 6 }\n"
CONV = (
    "layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv' "
    "convolution_param { num_output: 4 kernel_size: 3 } }\n"
)
RELU = "layer { name: 'relu' type: 'ReLU' bottom: 'conv' top: 'conv' }\n"


def graph_of(text: str, outputs: list[str] | None = None, state: State | None = None) -> SourceGraph:
    return SourceGraph.of(CaffeSource(parse_prototxt(text, "net.prototxt", state), RandomWeights(), outputs))


def operators(graph: SourceGraph) -> list[tuple[str | None, str]]:
    return [(node.name, node.op_type) for node in graph.model.graph]


def signature(graph: magicmind.Graph) -> tuple[dict[str, object], dict[str, object]]:
    return {i.name: i.shape for i in graph.inputs}, {o.name: o.shape for o in graph.outputs}


def conv_blobs() -> dict[str, list[Array]]:
    rng = np.random.default_rng(0)
    return {"conv": [rng.standard_normal((4, 3, 3, 3), np.float32), np.arange(4, dtype=np.float32)]}


# ------------------------------------------------------------------------------------------------------------ networks


def test_layers_in_place_keep_the_name() -> None:
    graph = graph_of(INPUT + CONV + RELU)
    assert operators(graph) == [("conv", "Conv"), ("relu", "Relu")]
    assert signature(graph) == ({"data": (2, 3, 6, 6)}, {"conv": (2, 4, 4, 4)})


@pytest.mark.parametrize(
    "declaration",
    [
        "input: 'data' input_dim: 2 input_dim: 3 input_dim: 6 input_dim: 6",
        INPUT,
        "layer { name: 'i' type: 'Input' top: 'data' input_param { shape { dim: [2, 3, 6, 6] } } }",
        "layer { name: 'i' type: 'MemoryData' top: 'data' top: 'label' memory_data_param { batch_size: 2 channels: 3 "
        "height: 6 width: 6 } }",
        "layer { name: 'i' type: 'ImageData' top: 'data' top: 'label' transform_param { crop_size: 6 } "
        "image_data_param { batch_size: 2 source: 'list.txt' } }",
        "layer { name: 'i' type: 'Data' top: 'data' top: 'label' data_param { batch_size: 2 backend: LMDB } "
        "transform_param { crop_size: 6 mean_value: 1 mean_value: 2 mean_value: 3 } }",
    ],
)
def test_every_way_to_declare_an_input(declaration: str) -> None:
    assert signature(graph_of(f"{declaration}\n{CONV}"))[0] == {"data": (2, 3, 6, 6)}


@pytest.mark.parametrize("kind", ["Data", "BboxData", "Python"])
def test_an_input_without_a_shape_waits_for_one(kind: str) -> None:
    """From a data base, or from whatever code of the network's author reads."""
    graph = graph_of(f"layer {{ name: 'i' type: '{kind}' top: 'data' top: 'label' }}" + CONV)
    with pytest.raises(ShapeError, match="shape of input 'data' is not known"):
        _ = graph.model
    assert signature(graph.with_shapes({"data": ("1..8", 3, 9, 9)}))[1] == {"conv": ((1, 8), 4, 7, 7)}


def test_other_shapes_convert_anew_with_the_same_weights() -> None:
    pool = "layer { name: 'pool' type: 'Pooling' bottom: 'conv' top: 'p' pooling_param { kernel_size: 3 stride: 2 } }"
    graph = graph_of(INPUT + CONV + pool)
    assert signature(graph)[1] == {"p": (2, 4, 2, 2)}  # (4 - 3) / 2 rounds up
    assert signature(graph.with_shapes({"data": (1, 3, 7, 8)}))[1] == {"p": (1, 4, 2, 3)}


TRAIN_VAL = (
    "layer { name: 'd' type: 'Data' top: 'data' top: 'label' include { phase: TRAIN } "
    "data_param { batch_size: 64 } transform_param { crop_size: 9 force_color: true } }\n"
    "layer { name: 'd' type: 'Data' top: 'data' top: 'label' include { phase: TEST } "
    "data_param { batch_size: 2 } transform_param { crop_size: 6 force_color: true } }\n"
    + CONV
    + RELU
    + "layer { name: 'drop' type: 'Dropout' bottom: 'conv' top: 'conv' exclude { phase: TEST } }\n"
    "layer { name: 'ip' type: 'InnerProduct' bottom: 'conv' top: 'ip' inner_product_param { num_output: 5 } }\n"
    "layer { name: 'acc' type: 'Accuracy' bottom: 'ip' bottom: 'label' top: 'acc' include { phase: TEST } }\n"
    "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' top: 'loss' }\n"
)


def test_a_training_net_loses_labels_and_accuracy_and_its_loss_becomes_softmax() -> None:
    graph = graph_of(TRAIN_VAL)
    assert [name for name, _ in operators(graph)] == ["conv", "relu", "ip", "ip.Gemm3", "loss"]
    assert signature(graph) == ({"data": (2, 3, 6, 6)}, {"loss": (2, 5)})


def test_rules_know_phase_level_and_stages() -> None:
    rules = ("phase: TRAIN", "min_level: 2", "max_level: 1", "stage: 'deploy'", "not_stage: 'deploy'")
    layers = [
        f"layer {{ name: '{i}' type: 'ReLU' bottom: 'data' top: '{i}' include {{ {rule} }} }}"
        for i, rule in enumerate(rules)
    ]

    def kept(state: State) -> list[str]:
        return [str(layer.name) for layer in parse_prototxt(INPUT + "\n".join(layers), "net", state).layers]

    assert kept(State()) == ["2", "4"]
    assert kept(State("TRAIN", 2)) == ["0", "1", "4"]
    assert kept(State(stages=("deploy",))) == ["2", "3"]


def test_outputs_can_be_chosen_and_what_they_do_not_need_goes() -> None:
    assert operators(graph_of(TRAIN_VAL, ["conv"])) == [("conv", "Conv"), ("relu", "Relu")]
    with pytest.raises(ModelFormatError, match=r"no blob 'nowhere'[^$]*it has conv, data, ip"):
        graph_of(TRAIN_VAL, ["nowhere"])


def test_silenced_blobs_are_no_outputs() -> None:
    slices = (
        "layer { name: 's' type: 'Slice' bottom: 'conv' top: 'a' top: 'b' }"
        "layer { name: 'q' type: 'Silence' bottom: 'b' }"
    )
    assert list(signature(graph_of(INPUT + CONV + slices))[1]) == ["a"]


V1 = INPUT + (
    "layers { name: 'conv' type: CONVOLUTION bottom: 'data' top: 'conv' blobs_lr: 1 blobs_lr: 2 "
    "convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: 'gaussian' std: 0.01 } } }\n"
    "layers { name: 'relu' type: RELU bottom: 'conv' top: 'conv' }\n"
    "layers { name: 'loss' type: SOFTMAX_LOSS bottom: 'conv' bottom: 'label' top: 'loss' }"
)
V0 = INPUT + (
    "layers { layer { name: 'pad' type: 'padding' pad: 1 } bottom: 'data' top: 'pad' }\n"
    "layers { layer { name: 'conv' type: 'conv' num_output: 4 kernelsize: 3 stride: 2 biasterm: false } "
    "bottom: 'pad' top: 'conv' }\n"
    "layers { layer { name: 'pool' type: 'pool' pool: AVE kernelsize: 2 stride: 1 } bottom: 'conv' top: 'pool' }\n"
    "layers { layer { name: 'norm' type: 'lrn' local_size: 3 alpha: 0.5 } bottom: 'pool' top: 'norm' }"
)


def test_old_layers_are_upgraded() -> None:
    assert operators(graph_of(V1)) == [("conv", "Conv"), ("relu", "Relu"), ("loss", "Softmax")]
    graph = graph_of(V0)
    assert operators(graph) == [("conv", "Conv"), ("pool", "AveragePool"), ("norm", "LRN")]
    assert signature(graph)[1] == {"norm": (2, 4, 2, 2)}
    conv = next(iter(graph.model.graph))
    assert conv.attributes["pads"].as_ints() == (1, 1, 1, 1)
    assert len(conv.inputs) == 2 or conv.inputs[2] is None


# ------------------------------------------------------------------------------------------------------------- weights


def written(folder: Path, text: str, data: bytes) -> dict[str, str]:
    (folder / "net.prototxt").write_text(text)
    (folder / "net.caffemodel").write_bytes(data)
    return {"source": str(folder / "net.caffemodel"), "prototxt": str(folder / "net.prototxt")}


def conv_weights(graph: magicmind.Graph) -> Array:
    (kernel,) = (v for v in graph.model.graph.initializers.values() if v.shape is not None and v.shape.rank() == 4)
    assert kernel.const_value is not None
    return kernel.const_value.numpy()


def test_either_file_can_come_first(tmp_path: Path) -> None:
    files = written(tmp_path, INPUT + CONV, caffemodel(conv_blobs()))
    first = magicmind.parse(**files)
    second = magicmind.parse(files["prototxt"], caffemodel=files["source"], input_shapes=[(1, 3, 6, 6)])
    np.testing.assert_array_equal(conv_weights(first), conv_blobs()["conv"][0])
    np.testing.assert_array_equal(conv_weights(second), conv_blobs()["conv"][0])
    with pytest.raises(ModelFormatError, match="prototxt="):
        magicmind.parse(files["source"])
    with pytest.raises(ModelFormatError, match="caffemodel="):
        magicmind.parse(files["prototxt"])


def test_the_command_line_takes_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = written(tmp_path, INPUT + CONV, caffemodel(conv_blobs()))
    target = str(tmp_path / "net.onnx")
    assert main(["parse", files["source"], "--prototxt", files["prototxt"], "-o", target]) == 0
    assert "conv" in capsys.readouterr().out
    assert signature(magicmind.parse(target)) == ({"data": (2, 3, 6, 6)}, {"conv": (2, 4, 4, 4)})
    offline = str(tmp_path / "net.mm")
    assert main(["build", files["prototxt"], "--caffemodel", files["source"], "-o", offline]) == 0
    x = np.ones((2, 3, 6, 6), np.float32)
    with magicmind.load(offline) as model:
        found = model.session(threads=1).run({"data": x})["conv"]
    kernel, bias = conv_blobs()["conv"]
    np.testing.assert_allclose(found[0, :, 0, 0], kernel.sum((1, 2, 3)) + bias, rtol=1e-4, atol=1e-5)
    assert main(["parse", files["source"], "-o", target]) == 1
    assert "a caffemodel holds weights only" in capsys.readouterr().err


def test_weights_as_text_packed_unpacked_and_in_old_layers(tmp_path: Path) -> None:
    kernel, bias = conv_blobs()["conv"]
    net = schema.Net()
    layer = net.layer.add(name="conv")
    for array in (kernel, bias):
        blob = layer.blobs.add()
        blob.shape.dim.extend(array.shape)
        blob.data.extend(array.reshape(-1).tolist())
    old = schema.UnpackedNet()
    v1 = old.layers.add(name="conv").blobs
    v0 = schema.UnpackedNet()
    v0_blobs = v0.layers.add().layer
    v0_blobs.name = "conv"
    for blobs in (v1, v0_blobs.blobs):
        for array in (kernel, bias):
            sizes = (1,) * (4 - array.ndim) + array.shape
            blob = blobs.add(num=sizes[0], channels=sizes[1], height=sizes[2], width=sizes[3])
            blob.data.extend(array.reshape(-1).tolist())
    doubles = schema.WeightsNet()
    layer = doubles.layer.add(name="conv")
    for array in (kernel, bias):
        blob = layer.blobs.add()
        blob.shape.dim.extend(array.shape)
        blob.double_data.append(array.astype(np.float64).tobytes())
    for data in (str(net).encode(), old.SerializeToString(), v0.SerializeToString(), doubles.SerializeToString()):
        graph = magicmind.parse(**written(tmp_path, INPUT + CONV, data))
        np.testing.assert_array_equal(conv_weights(graph), kernel)


def test_weights_shared_by_name(tmp_path: Path) -> None:
    text = "input: 'a' input_dim: [1, 3, 6, 6] input: 'b' input_dim: [1, 3, 6, 6]\n" + "".join(
        f"layer {{ name: 'conv_{x}' type: 'Convolution' bottom: '{x}' top: 'y_{x}' param {{ name: 'w' }} "
        "param { name: 'bias' } convolution_param { num_output: 4 kernel_size: 3 } }\n"
        for x in "ab"
    )
    (tmp_path / "net.caffemodel").write_bytes(caffemodel({"conv_a": conv_blobs()["conv"]}))
    weights = read_weights(tmp_path / "net.caffemodel")
    model = SourceGraph.of(CaffeSource(parse_prototxt(text, "net"), weights)).model
    kernels = [node.inputs[1] for node in model.graph if node.op_type == "Conv"]
    assert len(kernels) == 2
    for kernel in kernels:
        assert kernel is not None and kernel.const_value is not None
        np.testing.assert_array_equal(kernel.const_value.numpy(), conv_blobs()["conv"][0])


def test_blobs_of_c3d_have_a_length_beside_the_four_sizes(tmp_path: Path) -> None:
    text = "input: 'data' input_shape { dim: [1, 2, 4, 6, 6] }\n" + (
        "layers { name: 'conv' type: CONVOLUTION3D bottom: 'data' top: 'conv' "
        "convolution_param { num_output: 3 kernel_size: 3 kernel_depth: 2 pad: 1 temporal_pad: 1 } }\n"
        "layers { name: 'pool' type: POOLING3D bottom: 'conv' top: 'pool' "
        "pooling_param { pool: MAX kernel_size: 2 kernel_depth: 1 stride: 2 temporal_stride: 1 } }"
    )
    rng = np.random.default_rng(0)
    kernel, bias = rng.standard_normal((3, 2, 2, 3, 3), np.float32), np.ones(3, np.float32)
    net = schema.WeightsNet()
    blobs = net.layers.add(name="conv").blobs
    blobs.add(num=3, channels=2, height=3, width=3).data.append(kernel.tobytes())
    blobs.add(num=1, channels=1, height=1, width=3).data.append(bias.tobytes())
    (tmp_path / "c3d.caffemodel").write_bytes(net.SerializeToString())
    weights = read_weights(tmp_path / "c3d.caffemodel")
    graph = SourceGraph.of(CaffeSource(parse_prototxt(text, "net"), weights))
    assert signature(graph)[1] == {"pool": (1, 3, 5, 3, 3)}
    held = [v.const_value.numpy() for v in graph.model.graph.initializers.values() if v.const_value is not None]
    assert any(array.shape == kernel.shape and (array == kernel).all() for array in held)


# ----------------------------------------------------------------------------------------------------------- bad files


def test_a_misfit_names_layer_blob_and_both_shapes(tmp_path: Path) -> None:
    blobs = conv_blobs()
    blobs["conv"][0] = blobs["conv"][0][:, :2]
    with pytest.raises(ModelFormatError, match=r"'conv' \(Convolution\): blob 0 \(weights\) has shape 4 x 2 x 3 x 3"):
        magicmind.parse(**written(tmp_path, INPUT + CONV, caffemodel(blobs)))
    with pytest.raises(ModelFormatError, match="the prototxt asks for 4 x 3 x 3 x 3"):
        magicmind.parse(**written(tmp_path, INPUT + CONV, caffemodel(blobs)))


def test_missing_weights_say_what_the_file_has(tmp_path: Path) -> None:
    text = INPUT + CONV
    with pytest.raises(
        ModelFormatError, match=r"'conv' \(Convolution\) asks for blob 0 [^$]*weights in the file: other"
    ):
        magicmind.parse(**written(tmp_path, text, caffemodel({"other": conv_blobs()["conv"]})))
    with pytest.raises(ModelFormatError, match=r"blob 1 \(bias, 4\)[^$]*1 blobs there"):
        magicmind.parse(**written(tmp_path, text, caffemodel({"conv": conv_blobs()["conv"][:1]})))


def test_truncated_and_random_bytes_are_errors(tmp_path: Path) -> None:
    data = caffemodel(conv_blobs())
    rng = np.random.default_rng(0)
    for size in range(0, len(data) - 1, 7):
        with pytest.raises(Error):
            magicmind.parse(**written(tmp_path, INPUT + CONV, data[:size]))
    for size in range(60):
        noise = rng.integers(0, 256, size * 3, np.uint8).tobytes()
        with pytest.raises(ModelFormatError):
            magicmind.parse(**written(tmp_path, INPUT + CONV, noise))
    for _ in range(60):
        broken = bytearray(data)
        broken[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        with suppress(Error):  # a flipped bit in a number is no error, elsewhere it may be
            magicmind.parse(**written(tmp_path, INPUT + CONV, bytes(broken)))


def test_truncated_and_random_prototxts_are_errors(tmp_path: Path) -> None:
    data, text = caffemodel(conv_blobs()), INPUT + CONV
    for size in range(0, len(text) - 2, 3):
        with pytest.raises(Error):
            magicmind.parse(**written(tmp_path, text[:size], data))
    noise = np.random.default_rng(0).integers(0, 256, 500, np.uint8).tobytes()
    (tmp_path / "noise.prototxt").write_bytes(noise)
    with pytest.raises(ModelFormatError, match="it is not text"):
        magicmind.parse(tmp_path / "noise.prototxt", caffemodel=tmp_path / "net.caffemodel")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (INPUT + "\nlayer { name: 'a' type: 5 }", r"net\.prototxt: line 3:25"),
        (INPUT + "\nlayer { name: 'a'", r"net\.prototxt: line 3"),
        ("net: 'train_val.prototxt' base_lr: 0.1", "holds no layers"),
        ("input: 'data' input_dim: 2 " + CONV, "declares 1 inputs"),
        (INPUT + CONV.replace("'data'", "'date'"), "'conv' .Convolution. reads 'date', which no layer before makes"),
        (
            INPUT + CONV.replace("num_output: 4", "num_output: 4 group: 2"),
            r"conv \(Caffe Convolution\): group=2 does not",
        ),
        (INPUT + CONV.replace("kernel_size: 3", "kernel_size: 30"), "conv"),
        (INPUT + CONV + CONV.replace("layer {", "layers {").replace("'Convolution'", "CONVOLUTION"), "both"),
        (INPUT + "layer { name: 'r' type: 'Flatten' bottom: 'data' top: 'r' flatten_param { axis: 7 } }", "axis 7"),
        (INPUT + "layer { name: 'e' type: 'Axpy' bottom: 'data' top: 'e' }", "needs a bottom 1"),
    ],
)
def test_bad_prototxts_say_where(text: str, message: str) -> None:
    with pytest.raises(Error, match=message):
        graph_of(text.replace("net.prototxt", "net"))


@pytest.mark.parametrize(
    "layer",
    [
        "type: 'DummyData' top: 'y' dummy_data_param { shape { dim: 4000000000000 } }",
        "type: 'Im2col' bottom: 'data' top: 'y' convolution_param { kernel_size: 100000 pad: 100000 }",
        "type: 'SPP' bottom: 'data' top: 'y' spp_param { pyramid_height: 4000000000 }",
        "type: 'ReLU' bottom: 'data' top: 'a' top: 'b'",
        "type: 'Tile' bottom: 'data' top: 'y' tile_param { tiles: -7 }",
        "type: 'Pooling' bottom: 'data' top: 'y' pooling_param { stride: 0 kernel_size: 2 }",
        "type: 'Slice' bottom: 'data' top: 'a' top: 'b' slice_param { slice_point: 9 }",
        "type: 'Permute' bottom: 'data' top: 'y' permute_param { order: 0 order: 0 }",
        "type: 'Transpose' bottom: 'data' top: 'y' transpose_param { dim: 0 dim: 4 dim: 1 dim: 2 }",
        "type: 'Reverse' bottom: 'data' top: 'y' reverse_param { axis: 4 }",
        "type: 'Pooling' bottom: 'data' top: 'y' pooling_param { kernel_size: [2, 2, 2] }",
        "type: 'Reorg' bottom: 'data' top: 'y' reorg_param { stride: 0 }",
        "type: 'Log' bottom: 'data' top: 'y' log_param { base: -3 }",
        "type: 'PriorBox' bottom: 'data' bottom: 'data' top: 'y' prior_box_param { }",
        "type: 'InnerProduct' top: 'y' inner_product_param { num_output: 3 }",
    ],
)
def test_senseless_settings_are_errors_that_name_the_layer(layer: str) -> None:
    with pytest.raises(Error, match="bad"):
        graph_of(f"{INPUT} layer {{ name: 'bad' {layer} }}")


def test_sizes_that_must_agree_name_the_layer() -> None:
    text = INPUT + "".join(
        f"layer {{ name: 'p{k}' type: 'Pooling' bottom: 'data' top: 'p{k}' pooling_param {{ kernel_size: {k} }} }}"
        for k in (1, 2)
    )
    text += "layer { name: 'sum' type: 'Eltwise' bottom: 'p1' bottom: 'p2' top: 'sum' }"
    with pytest.raises(ShapeError, match="sum"):
        SourceGraph.of(CaffeSource(parse_prototxt(text, "net"), RandomWeights()), [(1, 3, "4..", 6)])


def test_all_unsupported_layers_are_listed_at_once() -> None:
    text = (
        INPUT
        + CONV
        + (
            "layer { name: 'one' type: 'Mystery' bottom: 'conv' top: 'one' }"
            "layer { name: 'relu' type: 'ReLU' bottom: 'one' top: 'relu' }"
            "layer { name: 'two' type: 'Python' bottom: 'relu' top: 'two' python_param { module: 'm' layer: 'L' } }"
            "layer { name: 'three' type: 'Python' bottom: 'conv' top: 'three' python_param { module: 'm' layer: 'L' } }"
            "layer { name: 'four' type: 'Riddle' bottom: 'two' top: 'four' }"
        )
    )
    with pytest.raises(UnsupportedOperatorError) as caught:
        graph_of(text)
    for part in ("3 layers", "one (Caffe Mystery)", "three (Caffe Python): Python layer m.L", "four (Caffe Riddle)"):
        assert part in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="cannot be read"):
        magicmind.parse(tmp_path / "no.caffemodel", prototxt=tmp_path / "no.prototxt")
    (tmp_path / "net.prototxt").write_text(INPUT + CONV)
    with pytest.raises(ModelFormatError, match=r"no\.caffemodel cannot be read"):
        magicmind.parse(tmp_path / "no.caffemodel", prototxt=tmp_path / "net.prototxt")
    with pytest.raises(ModelFormatError, match="phase 'BOTH'"):
        magicmind.parse(tmp_path / "no.caffemodel", prototxt=tmp_path / "net.prototxt", phase="BOTH")
