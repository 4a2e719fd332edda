"""The building tools: four frameworks, every flag with its effect, calibration, and what wrong command lines get."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import magicmind
import magicmind.python.runtime as mm
from magicmind.facade import status
from magicmind.mmtools import arguments as grammar
from magicmind.mmtools import mm_build as tools
from magicmind.mmtools.build_flags import chosen, flags_of
from magicmind.testing.magicmind_api import run_model

DATA = Path(magicmind.__file__).parent / "data"
Array = np.ndarray[Any, np.dtype[Any]]
Build = Callable[..., mm.Model]

CAFFE = ["--prototxt", str(DATA / "digits.prototxt"), "--caffemodel", str(DATA / "digits.caffemodel")]
FRAMEWORKS: dict[str, list[str]] = {
    "caffe": CAFFE,
    "onnx": ["--onnx", str(DATA / "digits.onnx")],
    "pytorch": ["--pytorch_pt", str(DATA / "digits.pt"), "--pt_input_dtypes", "FLOAT", "--input_dims", "1,1,8,8"],
    "tensorflow": ["--tf_pb", str(DATA / "digits.pb"), "--input_names", "image", "--output_names", "probabilities"],
}
COLOURS = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 3, 8, 8] x) => (float[N, 4, 6, 6] y) { c = Conv(x, w) y = Relu(c) }"""
LAST = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 8, 8, 3] x) => (float[1, 4, 6, 6] y) { t = Transpose<perm = [0, 3, 1, 2]>(x) y = Conv(t, w) }"""
TWO = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 4] a, int32[N, 4] b) => (float[N, 4] sum, int64[N] best)
    <float[4, 4] one = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}>
    { c = Cast<to = 1>(b) s = Add(a, c) sum = MatMul(s, one) best = ArgMax<axis = 1, keepdims = 0>(sum) }"""
MEAN, VARIANCE = np.array([10.0, 20.0, 30.0]), np.array([4.0, 9.0, 16.0])


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Builds with these words, and opens what was written."""
    monkeypatch.setattr(status, "_said", set())

    def made(*words: str, tool: Callable[[list[str]], int] = tools.mm_build) -> mm.Model:
        path = tmp_path / "model"
        assert tool([*words, "--magicmind_model", str(path)]) == 0
        model = mm.Model()
        assert model.deserialize_from_file(path).ok()
        return model

    return made


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> str:
    model = onnx.parser.parse_model(COLOURS)
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return _saved(model, tmp_path_factory)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _saved(onnx.parser.parse_model(TWO), tmp_path_factory)


def _saved(model: onnx.ModelProto, factory: pytest.TempPathFactory) -> str:
    path = factory.mktemp("onnx") / "net.onnx"
    onnx.save(model, path)
    return str(path)


def images(count: int) -> Array:
    """float32 [count, 1, 8, 8], between 0 and 1."""
    with np.load(DATA / "digits_test.npz") as file:
        found: Array = (file["images"][:count, None] / 16.0).astype(np.float32)
        return found


def pixels(count: int = 2) -> Array:
    return np.random.default_rng(1).integers(0, 256, (count, 3, 8, 8)).astype(np.uint8)


# ------------------------------------------------------------------------------------------------------- frameworks


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_network_of_every_framework(framework: str, build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    words = FRAMEWORKS[framework]
    model = build(*words, tool=getattr(tools, f"{framework}_build"))
    printed = capsys.readouterr().out
    name = {"pytorch": "main/arg-0", "tensorflow": "image:0"}.get(framework, "image")
    assert printed.startswith(f"model input[0] name is : {name}\nmodel input[0] shape is : [-1, ")
    assert "model input[0] dtype is : FLOAT\nmodel output[0] name is : " in printed
    assert "model output[0] shape is : [-1, 10]\nmodel output[0] dtype is : FLOAT\n" in printed
    x = images(5)
    found = run_model(model, x.transpose(0, 2, 3, 1) if framework == "tensorflow" else x)[0]
    with magicmind.build(magicmind.parse(DATA / "digits.onnx")) as core, core.session() as session:
        expected = [session.run({"image": one[None]})["probabilities"][0] for one in x]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_one_tool_takes_all(framework: str) -> None:
    assert chosen(grammar.parse(flags_of(None), FRAMEWORKS[framework])) == framework


# ------------------------------------------------------------------------------------------------- shapes and types


def test_a_batch_goes_before_dims_and_may_be_all_there_is(build: Build) -> None:
    fixed = build(*CAFFE, "--input_dims", "2,1,8,8", "--batch_size", "4", "--dynamic_shape", "false")
    assert fixed.get_input_dimensions()[0].GetDims() == [4, 1, 8, 8]
    assert fixed.get_output_dimensions()[0].GetDims() == [4, 10]
    mutable = build(*CAFFE, "--batch_size", "4")
    assert run_model(mutable, images(3))[0].shape == (3, 10)


def test_flags_for_each_input_and_output(two: str, build: Build) -> None:
    words = ["--onnx", two, "--batch_size", "2", "3", "--dynamic_shape", "0"]
    assert tools.onnx_build([*words, "--magicmind_model", "/dev/null"]) == 1  # sizes that cannot be added
    model = build(
        "--onnx", two, "--batch_size", "2", "--dynamic_shape", "0", "--input_dtypes", "half", "INT64",
        "--output_dtypes", "FLOAT", "INT32",
    )  # fmt: skip
    assert [d.GetDims() for d in model.get_input_dimensions()] == [[2, 4], [2, 4]]
    assert model.get_input_data_types() == [mm.DataType.FLOAT16, mm.DataType.INT64]
    assert model.get_output_data_types() == [mm.DataType.FLOAT32, mm.DataType.INT32]
    a, b = np.array([[1, 2, 3, 4], [4, 3, 2, 1]], np.float16), np.arange(8).reshape(2, 4)
    found = run_model(model, a, b)
    np.testing.assert_array_equal(found[0], a + b)
    np.testing.assert_array_equal(found[1], (a + b).argmax(1))


def test_layouts(colours: str, build: Build) -> None:
    plain = build("--onnx", colours)
    x = pixels().astype(np.float32)
    expected = run_model(plain, x)[0]
    turned = build("--onnx", colours, "--input_layout", "NHWC", "--output_layout", "nhwc")
    np.testing.assert_allclose(
        run_model(turned, x.transpose(0, 2, 3, 1))[0], expected.transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-3
    )
    alone = build("--onnx", colours, "--input_layout", "NONE")
    assert alone.get_input_dimensions() == plain.get_input_dimensions()


@pytest.mark.parametrize("layout", [(), ("--input_layout", "NHWC")])
def test_normalisation_and_channels_in_reverse(layout: tuple[str, ...], colours: str, build: Build) -> None:
    x = pixels()
    expected = run_model(
        build("--onnx", colours), ((x - MEAN[:, None, None]) / np.sqrt(VARIANCE)[:, None, None]).astype(np.float32)
    )[0]
    norm = ["--means", ",".join(map(str, MEAN)), "--vars", ",".join(map(str, VARIANCE))]
    for reverse in (False, True):
        model = build("--onnx", colours, *norm, *layout, "--rgb2bgr", str(reverse))
        assert model.get_input_data_types() == [mm.DataType.UINT8]
        fed = x[:, ::-1] if reverse else x
        found = run_model(model, fed.transpose(0, 2, 3, 1) if layout else fed)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_channels_in_reverse_alone(colours: str, build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    x = pixels().astype(np.float32)
    expected = run_model(build("--onnx", colours), x)[0]
    reversed_ = build("--onnx", colours, "--rgb2bgr", "1")
    np.testing.assert_allclose(run_model(reversed_, x[:, ::-1])[0], expected, rtol=1e-5, atol=1e-3)
    assert tools.mm_build([*CAFFE, "--rgb2bgr", "true"]) == 1
    assert "no input is an image of three channels" in capsys.readouterr().err


@pytest.mark.parametrize("dynamic", ["true", "false"])
def test_channels_in_reverse_where_they_are_last(dynamic: str, tmp_path: Path, build: Build) -> None:
    model = onnx.parser.parse_model(LAST)
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, tmp_path / "net.onnx")
    words = ["--onnx", str(tmp_path / "net.onnx"), "--dynamic_shape", dynamic]
    x = pixels(1).transpose(0, 2, 3, 1).astype(np.float32)
    expected = run_model(build(*words), x)[0]
    np.testing.assert_allclose(run_model(build(*words, "--rgb2bgr", "1"), x[..., ::-1])[0], expected, atol=1e-2)


# ---------------------------------------------------------------------------------------------------- configuration


def test_the_file_is_merged_over_the_flags(tmp_path: Path, build: Build) -> None:
    file = tmp_path / "config.json"
    document = {
        "precision_config": {"precision_mode": "force_float16"},
        "dim_range": {"0": {"min": [1, 1, 8, 8], "max": [16, 1, 8, 8]}},
    }
    file.write_text(json.dumps(document))
    model = build(*CAFFE, "--precision", "forced_float32", "--input_layout", "NHWC", "--build_config", str(file))
    manifest = model.core.info()["magicmind"]["build_config"]
    assert manifest["precision_config"]["precision_mode"] == "force_float16"
    assert manifest["convert_input_layout"] == {"0": {"src": "NCHW", "dst": "NHWC"}}
    assert model.core.inputs[0].shape == ((1, 16), 8, 8, 1)


def test_what_is_about_cards_is_kept_and_said_once(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--mlu_arch", "mtp_372", "tp_322", "--cluster_num", "2,6,8", "1", "--toolchain_path", "/no/gcc"]
    model = build(*CAFFE, *words)
    manifest = model.core.info()["magicmind"]["build_config"]
    assert manifest["archs"] == [{"mtp_372": [2, 6, 8]}, {"tp_322": [1]}]
    assert manifest["cross_compile_toolchain_path"] == "/no/gcc"
    said = capsys.readouterr().err
    for text in ("--cluster_num: no effect", "cross_compile_toolchain_path has no effect", "names accelerator cards"):
        assert said.count(text) == 1
    assert build(*CAFFE, "--mlu_arch", "x86-64-v3").core.target == "x86-64-v3"


def test_a_plugin(tmp_path: Path, build: Build) -> None:
    plugin = tmp_path / "double.py"
    plugin.write_text(
        "from magicmind import plugin\n"
        "plugin.register('BuildDouble', types=lambda input: input, compute=lambda input: input * 2)\n"
    )
    node = onnx.helper.make_node("BuildDouble", ["x"], ["y"], domain="plugin")
    ends = [onnx.helper.make_tensor_value_info(name, 1, [2, 3]) for name in "xy"]
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("plugin", 1)]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "net.onnx")
    model = build("--onnx", str(tmp_path / "net.onnx"), "--plugin", str(plugin))
    np.testing.assert_array_equal(run_model(model, np.ones((2, 3)))[0], np.full((2, 3), 2.0))


# ------------------------------------------------------------------------------------------------------- calibration

QINT8 = ["--precision", "qint8_mixed_float32", "--calibration", "true"]


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "shaped"), [("linear", False), ("eqnm", True)])
def test_calibration_with_listed_files(algorithm: str, shaped: bool, tmp_path: Path, build: Build) -> None:
    folder, step = tmp_path / "samples", 4 if shaped else 1
    folder.mkdir()
    for i in range(0, 24, step):
        images(24)[i : i + step].tofile(folder / f"{i}.bin")
    lines = [f"{i}.bin{' shape[4,1,8,8]' if shaped else ''}\n" for i in range(0, 24, step)]
    (tmp_path / "list.txt").write_text("".join(lines))
    files = ["--calibration_data_path", str(folder), "--file_list", str(tmp_path / "list.txt")]
    model = build(*CAFFE, *QINT8, "--batch_size", "2", *files, "--calibration_algo", algorithm)
    expected = run_model(build(*CAFFE), images(64))[0]
    found = run_model(model, images(64))[0]
    assert 0 < np.abs(found - expected).max() < 0.2
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.95


@pytest.mark.slow
def test_calibration_with_a_folder_and_with_random_numbers(tmp_path: Path, build: Build) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    for i in range(8):
        images(8)[i].tofile(folder / f"{i}.bin")
    build(*CAFFE, *QINT8, "--calibration_data_path", str(folder))
    (folder / "9.bin").write_bytes(b"short")  # not looked at
    build(*CAFFE, *QINT8, "--calibration_data_path", str(folder), "--random_calib_range", "0,1")


def test_calibration_of_several_inputs(two: str, tmp_path: Path, build: Build) -> None:
    lists = []
    for name, dtype in (("a", np.float32), ("b", np.int32)):
        files = [tmp_path / f"{name}{i}" for i in range(3)]
        for file in files:
            np.arange(4).astype(dtype).tofile(file)
        lists.append(tmp_path / f"{name}.txt")
        lists[-1].write_text("".join(f"{file}\n" for file in files))
    build("--onnx", two, *QINT8, "--file_list", *map(str, lists))
    lists[1].write_text(lists[1].read_text().partition("\n")[0])
    assert tools.onnx_build(["--onnx", two, *QINT8, "--file_list", *map(str, lists)]) == 1


def test_calibration_on_a_server(tmp_path: Path, build: Build) -> None:
    pytest.importorskip("grpc", reason="needs the extra [remote]")
    from magicmind.testing.remote import serving

    words = [*CAFFE, *QINT8, "--dynamic_shape", "0", "--random_calib_range", "0,1"]
    with serving() as address:
        there = build(*words, "--rpc_server", address)
    here = build(*words)
    np.testing.assert_array_equal(run_model(there, images(1))[0], run_model(here, images(1))[0])
    assert tools.mm_build([*words, "--rpc_server", address]) == 1


@pytest.mark.slow
def test_calibration_without_data_is_for_speed(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    model = build(*CAFFE, *QINT8)
    assert "every range is [-1, 1]" in capsys.readouterr().err
    assert model.core.info()["magicmind"]["build_config"]["custom_ranges"] == {"": {"min": [-1], "max": [1]}}


# ----------------------------------------------------------------------------------------------- wrong command lines


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "no network is given"),
        ([*CAFFE, *FRAMEWORKS["onnx"]], 2, "different frameworks"),
        (CAFFE[:2], 2, "--caffemodel is missing"),
        ([*CAFFE, "--nosuch", "1"], 2, "unknown flag --nosuch"),
        ([*CAFFE, "--precision", "int4"], 2, "--precision int4: expected MODE"),
        ([*CAFFE, "--batch_size", "0"], 2, "expected N"),
        ([*CAFFE, "--batch_size", "1", "2", "3"], 1, "--batch_size has 3 values, the network has 1 inputs"),
        ([*CAFFE, "--input_dims", "1,8"], 1, "has 4 dims in the file"),
        ([*CAFFE, "--input_dims", "1,1,8,x"], 2, "expected 1,3,224,224"),
        ([*CAFFE, "--input_layout", "CHWN"], 2, "--input_layout CHWN"),
        ([*CAFFE, "--input_dtypes", "FLOAT7"], 2, "--input_dtypes FLOAT7"),
        ([*CAFFE, "--means", "1,2,3"], 2, "--vars is missing"),
        ([*CAFFE, "--vars", "1"], 2, "--means is missing"),
        ([*CAFFE, "--means", "1,2", "--vars", "1"], 2, "2 --means and 1 --vars"),
        ([*CAFFE, "--means", "1,2", "--vars", "1,2"], 1, "not one per channel"),
        ([*CAFFE, "--means", "1", "--vars", "0"], 2, "a variance is above zero"),
        ([*CAFFE, "--means", "nan", "--vars", "1"], 2, "--means nan"),
        ([*CAFFE, "--cluster_num", "1"], 2, "0 names of --mlu_arch"),
        ([*CAFFE, "--mlu_arch", "pdp11"], 1, "pdp11"),
        ([*CAFFE, "--build_config", "/nowhere/c.json"], 1, "/nowhere/c.json"),
        ([*CAFFE, "--build_config", str(DATA / "digits.prototxt")], 1, "is no JSON"),
        ([*CAFFE, "--precision", "qint8_mixed_float16"], 1, "--calibration true"),
        ([*CAFFE, *QINT8, "--random_calib_range", "1"], 2, "two numbers"),
        ([*CAFFE, *QINT8, "--calibration_data_path", "/nowhere"], 1, "no such folder"),
        ([*CAFFE, *QINT8, "--file_list", "/nowhere/list"], 1, "/nowhere/list"),
        ([*CAFFE, *QINT8, "--file_list", str(DATA / "digits.prototxt")], 1, "digits.prototxt"),
        ([*CAFFE, *QINT8, "--random_calib_range", "0,1", "--rpc_server", "localhost:1"], 1, "localhost:1"),
        ([*CAFFE, "--plugin", "/nowhere/p.py"], 1, "/nowhere/p.py"),
        ([*CAFFE, "--magicmind_model", "/nowhere/folder/model"], 1, "/nowhere/folder"),
        (["--onnx", "/nowhere/net.onnx"], 1, "/nowhere/net.onnx"),
        (["--onnx", str(DATA / "digits.prototxt")], 1, "digits.prototxt"),
        (["--pytorch_pt", str(DATA / "digits.pt"), "--pt_input_dtypes", "FLOAT", "FLOAT"], 1, "has 2 values"),
        (["--tf_pb", str(DATA / "digits.pb"), "--output_names", "nosuch"], 1, "no node 'nosuch'"),
        ([*CAFFE, "--output_layout", "NHWC"], 1, "the layout asked for has 4 axes"),
        (["--pytorch_pt", str(DATA / "digits.pt"), "--batch_size", "2"], 1, "--input_dims says it"),
        (["--pytorch_pt", str(DATA / "digits.pt"), "--dynamic_shape", "0"], 1, "--dynamic_shape is false"),
    ],
)
def test_wrong_command_lines(words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tools.mm_build([*words] or ["--precision", "force_float32"]) == code
    said = capsys.readouterr().err
    assert says in said and said.startswith("mm_build: ") and "Traceback" not in said


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert tools.caffe_build(["--help"]) == 0
    out = capsys.readouterr().out
    assert "usage: caffe_build" in out and "--caffemodel FILE" in out and "(required)" in out and "--onnx" not in out
    assert tools.onnx_build([]) == 2
