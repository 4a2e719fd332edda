"""Operators that users bring: how they are registered, and how models of all kinds call them."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import magicmind
from magicmind import plugin
from magicmind.cli import main
from magicmind.errors import ModelFormatError, OfflineModelError, UnsupportedOperatorError
from magicmind.plugin import PluginError, TensorSpec

EXAMPLES = Path(__file__).parents[1] / "examples"
Array = np.ndarray[Any, Any]
X = np.random.default_rng(0).standard_normal((3, 40)).astype(np.float32) * 6


@pytest.fixture(autouse=True)
def no_plugins() -> Iterator[None]:
    """Every test begins and ends without any."""
    yield
    for found in list(plugin.PLUGINS.values()):
        plugin.unregister(found.name, found.domain)


def model_of(text: str, domain: str = "plugin") -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21, "{domain}": 1]>\n{text}')


def run(proto: onnx.ModelProto, feeds: dict[str, Array], **options: Any) -> dict[str, Array]:
    with magicmind.build(magicmind.parse(proto), **options) as model, model.session(threads=1) as session:
        return session.run(feeds)


RELU = """g (float[N, 40] x) => (y) { a = Add(x, x)  b = DOMAIN.PluginReLU<FuncType=1>(a)  y = Sub(b, x) }"""
EXPECTED = np.clip(2 * X, 0, 6) - X


# ------------------------------------------------------------------------------------------------------------ examples


def test_the_numpy_example_is_a_step_between_native_code() -> None:
    plugin.load_plugins([EXAMPLES / "plugin_relu.py"])
    with magicmind.build(magicmind.parse(model_of(RELU.replace("DOMAIN", "plugin")))) as model:
        np.testing.assert_array_equal(model.session().run({"x": X})["y"], EXPECTED)
        np.testing.assert_array_equal(model.session().run({"x": X[:1]})["y"], EXPECTED[:1])
        assert model.info()["plugins"] == ["plugin.PluginReLU"]
        assert [text.partition(" ")[2] for text in model.info()["fallback"]] == ["(PluginReLU)"]


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
@pytest.mark.parametrize("rows", [1, 3, 900])
def test_the_kernel_example_is_native_code(target: str, rows: int, tmp_path: Path) -> None:
    plugin.load_plugins([EXAMPLES / "plugin_relu_kernel.py"])
    model = magicmind.build(magicmind.parse(model_of(RELU.replace("DOMAIN", "fast"), "fast")), targets=[target])
    model.save(tmp_path / "relu.mm")
    plugin.unregister("PluginReLU", "fast")
    x = np.resize(X, (rows, 40))
    x[0, :2] = np.nan, -0.0
    with magicmind.load(tmp_path / "relu.mm") as loaded:
        assert "plugins" not in loaded.info() and not loaded.info()["fallback"]
        np.testing.assert_array_equal(loaded.session(threads=2).run({"x": x})["y"], np.clip(2 * x, 0, 6) - x)


def test_what_the_kernel_declines_has_no_other_way() -> None:
    plugin.load_plugins([EXAMPLES / "plugin_relu_kernel.py"])
    proto = model_of("g (int64[N, 40] x) => (y) { y = fast.PluginReLU(x) }", "fast")
    with pytest.raises(UnsupportedOperatorError, match="takes float32"):
        magicmind.build(magicmind.parse(proto))


def test_a_model_names_the_plugins_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing but numpy is needed: in a process that compiles nothing."""
    onnx.save(model_of(RELU.replace("DOMAIN", "plugin")), tmp_path / "net.onnx")
    path = str(EXAMPLES / "plugin_relu.py")
    assert main(["build", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "net.mm"), "--plugin_path", path]) == 0
    plugin.unregister("PluginReLU")
    with pytest.raises(OfflineModelError, match=r"plugin\.PluginReLU") as caught:
        magicmind.load(tmp_path / "net.mm")
    assert "--plugin_path" in str(caught.value)
    assert main(["info", str(tmp_path / "net.mm")]) == 0
    assert "needs the plugins: plugin.PluginReLU" in capsys.readouterr().out
    code = (
        "import sys; from magicmind.cli import main; "
        f"code = main(['run', {str(tmp_path / 'net.mm')!r}, '--iterations', '1', '--plugin_path', {path!r}]); "
        "sys.exit(code or ('onnx_ir' in sys.modules) + ('llvmlite' in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# -------------------------------------------------------------------------------------------------------- registration


def same(x: TensorSpec, *, k: int = 1) -> TensorSpec:
    return x


def scaled(x: Array, *, k: int = 1) -> Array:
    return x * k


def test_the_same_source_may_register_again(tmp_path: Path) -> None:
    first = plugin.register("Scaled", types=same, compute=scaled)
    assert plugin.register("Scaled", types=same, compute=scaled) is first
    (loaded,) = plugin.load_plugins([EXAMPLES / "plugin_relu.py"])
    copy = tmp_path / "copy.py"
    copy.write_text((EXAMPLES / "plugin_relu.py").read_text())
    assert plugin.load_plugins([copy, EXAMPLES / "plugin_relu.py"]) == [loaded, loaded]
    runpy.run_path(str(copy))
    assert plugin.find("plugin.PluginReLU") is loaded


def test_another_source_of_the_name_is_refused(tmp_path: Path) -> None:
    plugin.load_plugins([EXAMPLES / "plugin_relu.py"])
    changed = tmp_path / "changed.py"
    changed.write_text((EXAMPLES / "plugin_relu.py").read_text().replace("np.minimum(found, 6)", "np.tanh(found)"))
    with pytest.raises(PluginError, match=r"registered already, from other code .*plugin_relu\.py:.*changed\.py:"):
        plugin.load_plugins([changed])
    plugin.unregister("PluginReLU")
    plugin.load_plugins([changed])
    proto = model_of("g (float[N, 40] x) => (y) { y = plugin.PluginReLU<FuncType=1>(x) }")
    np.testing.assert_array_equal(run(proto, {"x": X})["y"], np.tanh(np.maximum(X, 0)))


@pytest.mark.parametrize(
    "options, text",
    [
        ({"domain": "magicmind"}, "no name for a plugin"),
        ({"domain": ""}, "no name for a plugin"),
        ({"compute": None}, "neither compute nor kernel"),
        ({"compute": lambda x: x}, r"types takes \(x, k\), compute \(x\)"),
        ({"types": lambda *x: x}, "must be named"),
        ({"variadic": ["z"]}, "variadic names"),
    ],
)
def test_what_cannot_be_registered(options: dict[str, Any], text: str) -> None:
    with pytest.raises(PluginError, match=text):
        plugin.register("Scaled", **{"types": same, "compute": scaled, **options})
    assert not plugin.PLUGINS


def test_files_that_are_no_plugins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.py").write_text("x = 1")
    (tmp_path / "wrong.py").write_text("1 / 0")
    (tmp_path / "plugin.so").write_text("")
    for name, text in (
        ("empty.py", "registers no plugin"),
        ("wrong.py", "ZeroDivisionError"),
        ("none.py", "cannot be read"),
        ("plugin.so", "no Python file"),
    ):
        with pytest.raises(PluginError, match=text):
            plugin.load_plugins([tmp_path / name])
    assert main(["run", "net.mm", "--plugin_path", str(tmp_path / "none.py")]) == 1
    assert "none.py cannot be read" in capsys.readouterr().err


def test_plugins_are_found_by_name() -> None:
    with pytest.raises(PluginError, match=r"known: none(.|\n)*--plugin_path"):
        plugin.find("Scaled")
    first = plugin.register("Scaled", types=same, compute=scaled)
    assert plugin.find("Scaled") is plugin.find("plugin.Scaled") is first
    plugin.register("Scaled", types=same, compute=scaled, domain="other")
    with pytest.raises(PluginError, match=r"other\.Scaled, plugin\.Scaled"):
        plugin.find("Scaled")


# ------------------------------------------------------------------------------------------------- inputs and settings


def join_types(
    parts: list[TensorSpec], scale: TensorSpec, extra: list[TensorSpec], bias: TensorSpec | None = None, *, axis: int
) -> TensorSpec:
    whole = [*parts, *extra]
    shape = [sum(p.shape[i] for p in whole) if i == axis else d for i, d in enumerate(whole[0].shape)]
    return TensorSpec(whole[0].dtype, tuple(shape))


def join(parts: list[Array], scale: Array, extra: list[Array], bias: Array | None = None, *, axis: int) -> Array:
    found: Array = np.concatenate([*parts, *extra], axis=axis) * scale
    return found if bias is None else found + bias


def test_lists_of_tensors_and_optional_ones() -> None:
    found = plugin.register("Join", types=join_types, compute=join, variadic=["parts", "extra"])
    operands, groups = found.operands({"parts": ["a", "b"], "scale": "s", "extra": ["c"], "bias": "z"})
    assert (operands, groups) == (["a", "b", "s", "c", "z"], {"input_sizes": [2, 1, 1, 1]})
    assert found.operands({"parts": ["a"], "scale": ["s"]}) == (["a", "s", None], {"input_sizes": [1, 1, 0, 1]})
    for given, text in (({"parts": "a"}, "'scale' that is not given"), ({"scale": "s", "z": "z"}, "no input 'z'")):
        with pytest.raises(ModelFormatError, match=text):
            found.operands(given)
    with pytest.raises(ModelFormatError, match="one tensor; 2 are given"):
        found.operands({"scale": ["s", "t"]})
    text = "g (float[N, 2] a, float[N, 3] b, float s, float[N, 4] c, float z) => (y, w) {"
    text += "  y = plugin.Join<axis=1, input_sizes=[2, 1, 1, 1]>(a, b, s, c, z)"
    text += "  w = plugin.Join<axis=1, input_sizes=[1, 1, 0, 1]>(b, s) }"
    feeds = {
        "a": X[:, :2],
        "b": X[:, 2:5],
        "s": np.array(3, "f"),
        "c": X[:, 5:9],
        "z": np.array(1, "f"),
    }
    with magicmind.build(magicmind.parse(model_of(text))) as model:
        assert [info.shape for info in model.outputs] == [((1, None), 9), ((1, None), 3)]
        outputs = model.session(threads=1).run(feeds)
    np.testing.assert_array_equal(outputs["y"], X[:, :9] * np.float32(3) + 1)
    np.testing.assert_array_equal(outputs["w"], X[:, 2:5] * np.float32(3))


def positive_types(x: TensorSpec) -> list[TensorSpec]:
    return [TensorSpec(x.dtype, (None,)), TensorSpec(np.dtype(np.int64), (None, len(x.shape)))]


def positive(x: Array) -> tuple[Array, Array]:
    return x[x > 0], np.argwhere(x > 0)


def test_sizes_that_only_the_data_tells() -> None:
    plugin.register("Positive", types=positive_types, compute=positive, outputs=["values", "places"])
    proto = model_of("g (float[N, 40] x) => (y, p) { v, p = plugin.Positive(x)  y = Add(v, v) }")
    for x in (X, -np.abs(X)):
        found = run(proto, {"x": x})
        np.testing.assert_array_equal(found["y"], 2 * x[x > 0])
        np.testing.assert_array_equal(found["p"], np.argwhere(x > 0))


@pytest.mark.parametrize(
    "node, text",
    [
        ("plugin.Scaled<q=1>(x)", "has no attribute 'q'; it has k"),
        ("plugin.Scaled(x, x)", "2 inputs do not fit"),
        ("plugin.Scaled()", "input 'x' of plugin.Scaled is missing"),
        ("plugin.Join<axis=1>(x, x, x)", "takes several lists"),
        ("plugin.Join<input_sizes=[1, 1, 1, 0]>(x, x, x)", "attribute 'axis' of plugin.Join is missing"),
    ],
)
def test_nodes_that_do_not_fit(node: str, text: str) -> None:
    plugin.register("Scaled", types=same, compute=scaled)
    plugin.register("Join", types=join_types, compute=join, variadic=["parts", "extra"])
    with pytest.raises(ModelFormatError, match=text):
        magicmind.parse(model_of(f"g (float[N, 40] x) => (y) {{ y = {node} }}"))


def fails(x: Any, *, k: int = 1) -> Any:
    raise RuntimeError("no luck")


def wrong_dtype(x: Array, *, k: int = 1) -> Array:
    return x.astype(np.float64)


def test_what_users_functions_raise_is_an_error_of_ours() -> None:
    proto = model_of("g (float[N, 40] x) => (y) { y = plugin.Scaled(x) }")
    plugin.register("Scaled", types=fails, compute=scaled)
    with pytest.raises(magicmind.Error, match=r"Scaled_0.*(.|\n)*types of plugin.Scaled: RuntimeError: no luck"):
        magicmind.parse(proto)
    plugin.unregister("Scaled")
    plugin.register("Scaled", types=same, compute=fails)
    with pytest.raises(magicmind.Error, match=r"plugin plugin\.Scaled: RuntimeError: no luck"):
        run(proto, {"x": X})
    plugin.unregister("Scaled")
    plugin.register("Scaled", types=same, compute=wrong_dtype)
    with pytest.raises(magicmind.Error, match="gave float64, float32 was expected"):
        run(proto, {"x": X})


def test_an_unknown_operator_is_reported_as_before() -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"plugin\.Scaled"):
        magicmind.parse(model_of("g (float[N, 40] x) => (y) { y = plugin.Scaled(x) }"))


def test_a_graph_with_plugins_is_written_and_read(tmp_path: Path) -> None:
    plugin.load_plugins([EXAMPLES / "plugin_relu.py"])
    magicmind.parse(model_of(RELU.replace("DOMAIN", "plugin"))).save(tmp_path / "net.onnx")
    np.testing.assert_array_equal(run(onnx.load(tmp_path / "net.onnx"), {"x": X})["y"], EXPECTED)


DETECTOR = """g (float[N, 3, 16, 16] x) => (tables, counts) {
    a = Conv<pads=[1, 1, 1, 1]>(x, w1)
    b = plugin.PluginReLU(a)
    c = Conv<pads=[1, 1, 1, 1], strides=[4, 4]>(b, w2)
    d = Transpose<perm=[0, 2, 3, 1]>(c)
    tables, counts = magicmind.DetectionOutput<algo="YOLOV3", confidence_thresh=0.25, nms_thresh=0.45, num_class=3,
        num_anchor=2, num_box_limit=60, image_shape=[16, 16]>(anchors, d)
}"""


@pytest.mark.parametrize(
    "precision", ["force_float16", "qint8_mixed_float32", "qint8_mixed_float16", "qint16_mixed_float16"]
)
def test_steps_by_numpy_in_every_precision(precision: str) -> None:
    """Between and behind layers of float16 and whole numbers they get and give float32."""
    plugin.load_plugins([EXAMPLES / "plugin_relu.py"])
    rng = np.random.default_rng(3)
    proto = model_of(DETECTOR, 'magicmind": 1, "plugin')
    for name, shape in (("w1", (16, 3, 3, 3)), ("w2", (16, 16, 3, 3)), ("anchors", (2, 2))):
        array = np.abs(rng.standard_normal(shape)) * 8 if name == "anchors" else rng.standard_normal(shape) * 0.2
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    samples = [{"x": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(4)]
    exact = run(proto, samples[0])
    options = {"calibration": samples} if precision.startswith("qint") else {}
    found = run(proto, samples[0], precision=precision, **options)
    assert 5 < exact["counts"][0] < 60 and abs(int(found["counts"][0]) - int(exact["counts"][0])) <= 2
    np.testing.assert_allclose(found["tables"][0, :5, 2], exact["tables"][0, :5, 2], atol=0.02)


# -------------------------------------------------------------------------------------------------- Caffe and PyTorch


def caffe_files(folder: Path, layer: str, blobs: list[Array]) -> dict[str, Any]:
    from magicmind.testing.caffe import caffemodel

    shape = "input_param { shape { dim: 3 dim: 40 } }"
    text = f"layer {{ name: 'x' type: 'Input' top: 'x' {shape} }}\nlayer {{ name: 'y' bottom: 'x' top: 'y' {layer} }}"
    (folder / "net.prototxt").write_text(text)
    (folder / "net.caffemodel").write_bytes(caffemodel({"y": blobs}))
    return {"source": folder / "net.prototxt", "caffemodel": folder / "net.caffemodel"}


@pytest.mark.parametrize(
    "layer",
    [
        "type: 'PluginReLU' plugin_relu_param { Dim: 3 Dim: 40 FuncType: 1 }",
        "type: 'PluginReLU' plugin_relu_param < Dim: [3, 40], FuncType: 0x1 >  # a comment: { FuncType: 0 }\n",
        "type: 'PluginReLU' python_param { param_str: \"'FuncType': 1\" }",
        "type: 'Python' python_param { module: 'relu' layer: 'PluginReLU' param_str: '{\"FuncType\": 1}' }",
    ],
)
def test_caffe_layers(layer: str, tmp_path: Path) -> None:
    plugin.load_plugins([EXAMPLES / "plugin_relu.py"])
    with magicmind.build(magicmind.parse(**caffe_files(tmp_path, layer, []))) as model:
        np.testing.assert_array_equal(model.session(threads=1).run({"x": X})["y"], np.clip(X, 0, 6))


def dense_types(
    x: TensorSpec, w: TensorSpec, b: TensorSpec | None = None, *, gain: float = 1.0, mode: str = ""
) -> TensorSpec:
    return TensorSpec(x.dtype, (x.shape[0], w.shape[0]))


def dense(x: Array, w: Array, b: Array | None = None, *, gain: float = 1.0, mode: str = "") -> Array:
    assert isinstance(gain, float)
    found: Array = x @ w.T * np.float32(gain)
    return found if b is None or mode != "with bias" else found + b


def test_caffe_layers_with_parameters(tmp_path: Path) -> None:
    plugin.register("Dense", types=dense_types, compute=dense)
    w, b = (np.random.default_rng(1).standard_normal(s).astype(np.float32) for s in ((5, 40), (5,)))
    files = caffe_files(tmp_path, "type: 'Dense' dense_param { gain: 2 mode: 'with\\x20bias' }", [w, b])
    with magicmind.build(magicmind.parse(**files)) as model:
        np.testing.assert_allclose(model.session(threads=1).run({"x": X})["y"], 2 * X @ w.T + b, rtol=1e-4, atol=1e-4)
    files = caffe_files(tmp_path, "type: 'Dense' dense_param { gain: 2 colour: RED }", [w])
    with pytest.raises(ModelFormatError, match="no attribute 'colour'; it has gain, mode"):
        magicmind.parse(**files)
    with pytest.raises(ModelFormatError, match="4 bottoms and blobs"):
        magicmind.parse(**caffe_files(tmp_path, "type: 'Dense'", [w, b, b]))


@pytest.mark.slow
def test_torchscript_operators(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra [pytorch]")
    plugin.load_plugins([EXAMPLES / "plugin_relu.py"])
    code = f"""
import torch
library = torch.library.Library("plugin", "DEF")
library.define("PluginReLU(Tensor input, *, int[] Dim=[], int FuncType=0) -> Tensor")
library.impl("PluginReLU", lambda input, Dim=(), FuncType=0: input.clamp(0, 6) if FuncType else input.relu(), "CPU")
class Net(torch.nn.Module):
    def forward(self, x):
        return torch.ops.plugin.PluginReLU(x + x, Dim=[3, 40], FuncType=1) - x
torch.jit.trace(Net(), torch.zeros(3, 40)).save({str(tmp_path / "net.pt")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    graph = magicmind.parse(tmp_path / "net.pt", input_shapes=[("1..8", 40)])
    with magicmind.build(graph) as model:
        (found,) = model.session(threads=1).run({"x": X}).values()
        np.testing.assert_array_equal(found, EXPECTED)
    assert torch.ops.plugin.PluginReLU is not None  # which only the plugin has defined here
