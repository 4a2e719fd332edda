"""mm_run: its flags, what scripts read of its print-out, files in and out, and what it says of wrong command lines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

import magicmind
from magicmind.errors import Error
from magicmind.mmtools.measure import Load, Result, Times, Worker, measure
from magicmind.mmtools.mm_run import main
from magicmind.mmtools.summary import performance

DATA = Path(magicmind.__file__).parent / "data"
QUICK = ("--warmup", "1", "--duration", "20", "--iterations", "120")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mm_run") / "digits"
    magicmind.build(magicmind.parse(DATA / "digits.onnx"), shapes={"image": ("1..64", 1, 8, 8)}).save(path)
    return path


def test_the_lines_that_scripts_read(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--magicmind_model", str(digits), "--batch_size", "4", *QUICK, "--threads", "2"]) == 0
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if "Throughput (qps)" in line)
    assert float(line.partition(":")[2].partition(":")[0]) > 0  # the zoo's compare_perf
    assert line.startswith("Throughput (qps):" + 13 * " ") and float(line[19:].strip()) > 0
    assert line.split()[2] == line[30:]
    assert "\nbatch: 4\n" in out
    assert re.search(r"^Iterations: {19}(1[2-9]\d|[2-9]\d\d|\d{4,})$", out, re.M)
    assert re.search(
        r"MLU Compute Latency \(ms\):\nmin: \S+ +max: \S+ +mean: \S+ +median: \S+ +percentile: \(90%\)", out
    )
    assert "  Name: image\n  Datatype: FLOAT\n" in out and "  Dim: [4, 1, 8, 8]\n" in out
    assert "Trace averages of 100 runs:" in out


def test_the_lines_of_newer_versions(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.json"
    config.write_text('{"inputType": 0, "inputDims": [[[1, 1, 8, 8]], [[5, 1, 8, 8]]]}')
    words = ["--run_config", str(config), "--threads", "2", "--trace_time", "both", "--warmup", "1", "--duration", "20"]
    assert main(["--magicmind_model", str(digits), *words, "--iterations", "240"]) == 0
    out = capsys.readouterr().out
    assert out.count("Throughput (qps)") == 1  # scripts take the whole line, or the first number in it
    for flag, value in (("--threads<Int>", "2"), ("--devices<Vec<Int>>", "0"), ("--disable_data_copy<Bool>", "0")):
        assert re.search(rf"^{re.escape(flag)} +: {value}$", out, re.M), flag
    assert re.search(r"^MagicMind: \d.*\nCNRT: none\nCNAPI: none\nPID: \d+$", out, re.M)
    assert re.search(
        r"^Size: \d+\.\d+\(MB\)\nInput num: 1\nInput info \[\nimage : \[-1, 1, 8, 8\], FLOAT\n\]$", out, re.M
    )
    assert "Output info [\nprobabilities : [-1, 10], FLOAT\n]\n" in out
    stamp = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}: INFO: mm_run\] "
    for name in (
        "DeserializeModel",
        "CreateEngine 0",
        "CreateContext",
        "warmup_dev_0_thread_1",
        "infer_dev_0_thread_0",
    ):
        assert re.search(rf"{stamp}{name} time is \d+\.\d+ ms\.$", out, re.M), name
    assert re.search(rf"{stamp}Const data size: \d+\.\d+\(MB\)$", out, re.M)
    assert re.search(r"^Total iterations: +\d+\nHost wall time\(s\): +\S+$", out, re.M)
    assert "Total MLU compute time(host clock, s): " in out and "Total MLU compute time(dev clock, s): " in out
    assert re.search(r"^Total batch sizes: +5 and \S+ iterations/second$", out, re.M)
    groups = re.findall(r"^Input shape group (\d): \[image: (.*)\]$", out, re.M)
    assert groups == [("0", "[1, 1, 8, 8]"), ("1", "[5, 1, 8, 8]")]
    for title in ("H2D", "MLU Compute (Launch jobs)", "D2H"):
        assert out.count(f"{title} Summary:\n  Latency(host clock, ms): min: ") == 2
    assert out.count("Interface Duration(ms): min: ") == 6 and out.count("  Latency(dev clock, ms): ") == 8
    assert out.count("Total Latency Summary(H2D + Compute + D2H):") == 2
    assert re.search(r"^Trace average MLU Compute perf over \d+ runs \(\d+ per thread\):$", out, re.M)


def test_files_in_and_out(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = np.random.default_rng(0).random((2, 1, 8, 8)).astype(np.float32)
    image.tofile(tmp_path / "image.bin")
    command = [
        "--magicmind_model",
        str(digits),
        "--input_dims",
        "2,1,8,8",
        "--input_files",
        str(tmp_path / "image.bin"),
    ]
    assert main([*command, "--output_path", str(tmp_path / "out"), *QUICK, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["batch"] == 2
    found = np.fromfile(tmp_path / "out/output0", np.float32).reshape(2, 10)
    with magicmind.load(digits) as model, model.session() as session:
        np.testing.assert_array_equal(found, session.run({"image": image})["probabilities"])
    assert main([*command[:2], "--batch", "3", *command[4:]]) == 1
    assert "needs 768" in capsys.readouterr().err


def test_groups_of_shapes(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.json"
    config.write_text('{"inputType": 1, "inputDims": [{"image": [1, 1, 8, 8]}, {"image": [5, 1, 8, 8]}]}')
    assert main(["--magicmind_model", str(digits), "--run_config", str(config), *QUICK, "--json", "true"]) == 0
    assert json.loads(capsys.readouterr().out)["iterations"] >= 120
    for wrong in ("[[[1, 1, 8, 8], [1]]]", "[[[1.5, 1, 8, 8]]]", '[["1188"]]', "[]", "3"):
        config.write_text(f'{{"inputType": 0, "inputDims": {wrong}}}')
        assert main(["--magicmind_model", str(digits), "--run_config", str(config), *QUICK]) == 1
        assert f"mm_run: {config}" in capsys.readouterr().err
    config.write_text('{"inputType": 2, "inputDims": [[[1, 1, 8, 8]]]}')
    assert main(["--magicmind_model", str(digits), "--run_config", str(config), *QUICK]) == 1
    assert "is no run configuration" in capsys.readouterr().err


def test_several_inputs_and_a_scalar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 4] a, int32[N, 4] b, float s) => (float[N, 4] y)
        { c = Cast<to = 1>(b) d = Add(a, c) y = Mul(d, s) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    model = tmp_path / "net"
    magicmind.build(magicmind.parse(tmp_path / "net.onnx"), shapes={"a": ("1..8", 4), "b": ("1..8", 4)}).save(model)
    a, b = np.arange(8, dtype=np.float32).reshape(2, 4), np.full((2, 4), 5, np.int32)
    files = [tmp_path / name for name in ("a", "b", "s")]
    for file, array in zip(files, (a, b, np.float32(3)), strict=True):
        np.asarray(array).tofile(file)
    words = ["--magicmind_model", str(model), "--input_files", *map(str, files), "--output_path", str(tmp_path / "out")]
    for shapes in (["--input_dims", "2,4", "2,4", "_"], ["--batch_size", "2"], ["--batch_size", "2", "2", "1"]):
        assert main([*words, *shapes, *QUICK]) == 0
        assert f"input path: \n  {files[0]}\n  {files[1]}\n  {files[2]}\n" in capsys.readouterr().out
        np.testing.assert_array_equal(np.fromfile(tmp_path / "out/output0", np.float32), ((a + b) * 3).ravel())
        (tmp_path / "out/output0").unlink()
    assert main([*words, "--input_dims", "2,4", "3,4", "_", *QUICK]) == 1


def test_on_a_server(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("grpc", reason="needs the extra [remote]")
    from magicmind.testing.remote import serving

    image = np.random.default_rng(0).random((2, 1, 8, 8)).astype(np.float32)
    image.tofile(tmp_path / "image.bin")
    command = ["--magicmind_model", str(digits), "--batch", "2", "--input_files", str(tmp_path / "image.bin"), *QUICK]
    assert main([*command, "--output_path", str(tmp_path / "here"), "--json"]) == 0
    with serving() as address:
        there = [*command, "--output_path", str(tmp_path / "there"), "--rpc_server", address]
        assert main([*there, "--threads", "2"]) == 0
        out = capsys.readouterr().out
        assert "Throughput (qps):" in out and "ContextMaxworkspace Size: UNAVAILABLE" in out
    assert (tmp_path / "there/output0").read_bytes() == (tmp_path / "here/output0").read_bytes()
    assert main([*command, "--rpc_server", address]) == 1
    assert f"remote server {address}: UNAVAILABLE" in capsys.readouterr().err
    assert main([*command, "--rpc_server", "host:port"]) == 1
    assert "no address of a remote server" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--magicmind_model", "x", "--nosuch", "1"], 2, "unknown flag --nosuch"),
        (["--magicmind_model", "x", "--batch", "1", "--batch", "2"], 2, "given twice"),
        (["--batch", "1"], 2, "--magicmind_model is missing"),
        (["--magicmind_model", "x", "--threads", "none"], 2, "expected N"),
        (["--magicmind_model", "x", "--disable_data_copy", "perhaps"], 2, "expected BOOL"),
        (["stray"], 2, "before any flag"),
        (["--magicmind_model", "/nowhere/net"], 1, "/nowhere/net"),
        (["--magicmind_model", "x", "--warmup", "-1"], 2, "--warmup -1: expected MS"),
        (["--magicmind_model", "x", "--avg_runs", "100"], 2, "expected N,M"),
        (["--magicmind_model", "x", "--trace_time", "never"], 2, "expected none|host|dev|both"),
        (["--magicmind_model", "x", "--buffer_depth", "two"], 2, "expected N"),
        (["--magicmind_model", "x", "--output_path", "out"], 2, "needs --input_files"),
        (["--magicmind_model", "x", "--threads", "1000", "--devices", "0", "1"], 2, "1024 at most"),
        (["--magicmind_model", "x", "--plugin", "/nowhere/p.py"], 1, "/nowhere/p.py"),
        (["--magicmind_model", str(DATA / "digits.onnx")], 1, "not an offline model"),
    ],
)
def test_wrong_command_lines(words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--input_dims", "65,1,8,8"], "image has shape [1..64, 1, 8, 8]: [65, 1, 8, 8] does not fit"),
        (["--input_dims", "1,8,8"], "[1, 8, 8] does not fit"),
        (["--input_dims", "-1,1,8,8"], "it has to be told"),
        (["--input_dims", "1,1,8,8", "1"], "--input_dims has 2 shapes, the model has 1 inputs"),
        (["--batch_size", "1", "2"], "--batch_size has 2 values"),
        (["--batch", "1", "--input_files", "a", "b"], "--input_files has 2 files"),
        (["--batch", "1", "--input_files", "/nowhere/a"], "/nowhere/a"),
        (["--run_config", "/nowhere/c"], "/nowhere/c"),
        (["--run_config", str(DATA / "digits.prototxt")], "is no run configuration"),
    ],
)
def test_what_a_model_does_not_take(
    words: list[str], says: str, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--magicmind_model", str(digits), *words, *QUICK]) == 1
    assert says in capsys.readouterr().err


def test_a_mutable_dim_has_to_be_told(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--magicmind_model", str(digits), *QUICK]) == 1
    assert "--batch_size for its first dim" in capsys.readouterr().err


def test_flags_of_cards_are_read(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--bind_cluster", "1", "--host_async", "false", "--datatransfer_opt", "0", "--kernel_capture", "0",
        "--buffer_depth", "2", "--infer_depth", "2", "--trace_pmu", "0",
    ]  # fmt: skip
    assert main(["--magicmind_model", str(digits), "--batch", "1", *words, *QUICK]) == 0
    out, err = capsys.readouterr()
    assert err == f"mm_run: {', '.join(words[::2])}: no effect on a CPU\n"
    assert "bind_cluster: 1\n" in out and "datatransfer_opt: 0\n" in out
    assert main(["--h"]) == 0
    assert "--magicmind_model FILE" in capsys.readouterr().out


def test_blocks_of_every_device_and_thread(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--devices", "0", "2", "--threads", "2", "--disable_data_copy", "1", "--input_dims", "3,1,8,8"]
    assert main(["--magicmind_model", str(digits), *words, *QUICK]) == 0
    out = capsys.readouterr().out
    blocks = [line.strip("= ") for line in out.splitlines() if line.startswith("=====")]
    assert blocks == [
        "Parameter Information", "Device Information", "Model Information", "Device Utilization Summary",
        "Host Occupancy Summary", "Device 0 Utilization Summary", "Device 2 Utilization Summary", "Performance Summary",
    ]  # fmt: skip
    for device in (0, 2):
        assert f"Device ID:                    {device}\n" in out
        assert re.search(rf"^dev{device}_mem_info\(MB\): {{12}}min: \S+ +max: \S+ +mean: \S+ +median: \S+$", out, re.M)
        for thread in (0, 1):
            assert re.search(rf"^\[MMINFO\]  dev_{device}_thread_{thread}_warm_up time is \S+ ms$", out, re.M)
    assert "input 0:\n  input[0] dim: [3, 1, 8, 8]\n" in out and "devices: 0 2 \n" in out
    assert re.search(
        r"Constdata Size: \d+\.\d{6} \(MB\)\n\[MMINFO\]  ContextMaxworkspace Size: \d+\.\d{6} \(MB\)\n", out
    )
    assert re.search(
        r"  Layout: NONE\n  Dim: \[3, 10\]\n  Size: 120\n  Ptr Addr: 0x[0-9a-f]+\n  TensorLoc: kHost\n", out
    )


def test_files_of_times(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--trace_path", str(tmp_path / "t.json"), "--perf_path", str(tmp_path / "perf"), "--avg_runs", "50,1"]
    assert (
        main(["--magicmind_model", str(digits), "--batch", "2", *words, "--duration", "0", "--iterations", "120"]) == 0
    )
    out = capsys.readouterr().out
    assert out.count("Trace averages of 120 runs:") == 1 and len(out.partition("Trace averages")[2].splitlines()) == 4
    times = json.loads((tmp_path / "t.json").read_text())["milliseconds"]
    assert {name: len(values) for name, values in times.items()} == dict.fromkeys(
        ("enqueue", "copy_in", "compute", "copy_out"), 120
    )
    layers = json.loads((tmp_path / "perf/layers.json").read_text())["layers"]
    assert any("conv" in layer["op"].lower() for layer in layers)
    assert json.loads((tmp_path / "perf/trace.json").read_text())["traceEvents"]
    assert main(["--magicmind_model", str(digits), "--batch", "2", "--trace_time", "none", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "Trace average" not in out and "Latency(" not in out


def test_what_every_layer_makes(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = np.random.default_rng(0).random((2, 1, 8, 8)).astype(np.float32)
    image.tofile(tmp_path / "image.bin")
    words = ["--batch", "2", "--input_files", str(tmp_path / "image.bin"), "--debug_path", str(tmp_path / "debug")]
    assert main(["--magicmind_model", str(digits), *words, "--json", *QUICK]) == 0
    entries = json.loads((tmp_path / "debug/tensors.json").read_text())
    (last,) = (entry for entry in entries if entry["tensor"] == "probabilities")
    layers = {node.name for node in onnx.load(DATA / "digits.onnx").graph.node}
    assert len(entries) > 3 and {layer for entry in entries for layer in entry["layers"]} <= layers
    for entry in entries:
        array = np.load(tmp_path / "debug" / entry["file"])
        assert (list(array.shape), array.dtype.name) == (entry["shape"], entry["dtype"])
        assert entry["file"].startswith(entry["layers"][-1])
    with magicmind.load(digits) as model, model.session() as session:
        wanted = session.run({"image": image})["probabilities"]
    np.testing.assert_array_equal(np.load(tmp_path / "debug" / last["file"]), wanted)
    assert main(["--magicmind_model", str(digits), *words[:-1], "/dev/null/x", *QUICK]) == 1
    assert "/dev/null/x" in capsys.readouterr().err
    assert main(["--magicmind_model", str(digits), *words, "--rpc_server", "a:1"]) == 2
    assert "--debug_path and --rpc_server" in capsys.readouterr().err


def test_the_warm_up_is_part_of_the_duration(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--batch", "1", "--warmup", "200", "--duration", "500", "--iterations", "1", "--json"]
    assert main(["--magicmind_model", str(digits), *words]) == 0
    assert 0.05 < json.loads(capsys.readouterr().out)["host_wall_time_s"] < 0.48


def test_throughput_counts_what_each_group_holds() -> None:
    workers = [Worker(0, 0, {}, 0, Times([1.0], [1.0], [1.0], [1.0]), 2.0, runs) for runs in ([3, 2], [1, 1])]
    assert performance(Result(workers, 2.0), [1, 10])["throughput_qps"] == (4 * 1 + 3 * 10) / 2.0


def test_a_thread_that_fails_ends_all(digits: Path) -> None:
    wrong = {"image": np.zeros((1, 1, 9, 9), np.float32)}
    good = {"image": np.zeros((1, 1, 8, 8), np.float32)}
    with magicmind.load(digits) as model, model.engine() as engine, pytest.raises(Error, match="image"):
        measure(engine, [good, wrong], Load(1, 10_000, 1, threads=2))
