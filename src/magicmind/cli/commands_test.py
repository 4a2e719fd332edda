"""`run` and `info` on a model made by hand (y = 2 * reversed(x + 3)), here and in a process without the compiler."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import magicmind
from magicmind.cli import main
from magicmind.modelfile.writer import write_model
from magicmind.testing import handmade

DATA = Path(magicmind.__file__).parent / "data"
BARE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("onnx", "onnx_ir", "llvmlite", "elftools", "rich", "matplotlib", "google"):
            raise ModuleNotFoundError(f"refused: {name}", name=name)
sys.meta_path.insert(0, Refuse())
from magicmind.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "twice.mm"
    write_model(path, handmade.model_parts())
    return path


def result_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a command prints as JSON."""
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_run_measures(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = result_of(capsys, "run", str(built), "--batch", "64", "--iterations", "7", "--threads", "1")
    assert (found["batch"], found["iterations"], found["threads"]) == (64, 7, 1)
    times = found["latency_ms"]
    assert 0 < times["min"] <= times["median"] <= times["p90"] <= times["p99"] <= times["max"]
    np.testing.assert_allclose(found["throughput"], 64e3 / times["mean"])


def test_run_reads_and_writes_arrays(built: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(5, dtype=np.float32))
    given = [
        "--input",
        f"x={tmp_path / 'x.npy'}",
        "--output",
        str(tmp_path / "out"),
        "--warmup",
        "0",
        "--iterations",
        "1",
    ]
    assert main(["run", str(built), *given]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "y.npy"), [14, 12, 10, 8, 6])


def test_run_for_a_duration(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert result_of(capsys, "run", str(built), "--shape", "x=8", "--duration", "0.05")["iterations"] > 1


def test_run_profiles(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.json"
    assert main(["run", str(built), "--shape", "x=8", "--profile", "--trace", str(trace)]) == 0
    printed = capsys.readouterr().out
    assert "GFLOP/s" in printed and "twice" in printed and "peak, measured now" in printed
    assert [event["name"] for event in json.loads(trace.read_text())["traceEvents"]] == ["twice"]


def test_run_dumps_what_layers_make(tmp_path: Path) -> None:
    path = tmp_path / "digits.mm"
    magicmind.build(magicmind.parse(DATA / "digits.onnx"), shapes={"image": ("1..8", 1, 8, 8)}).save(path)
    assert main(["run", str(path), "--batch", "2", "--iterations", "1", "--dump", str(tmp_path / "layers")]) == 0
    entries = json.loads((tmp_path / "layers" / "tensors.json").read_text())
    assert len(entries) > 3
    for entry in entries:
        assert list(np.load(tmp_path / "layers" / entry["file"]).shape) == entry["shape"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "z=3"], "no input 'z'"),
        (["--batch", "100001"], "100001"),
        (["--input", "x=missing.npy"], "missing.npy"),
        (["--input", "x={built}"], "not a .npy array"),
    ],
)
def test_run_refuses(built: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(built), *(a.replace("{built}", str(built)) for a in arguments)]) == 1
    assert message in capsys.readouterr().err


def test_info(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = result_of(capsys, "info", str(built))
    assert found["bytes"] == built.stat().st_size
    assert found["inputs"] == [{"name": "x", "dtype": "float32", "shape": [[0, 100000]]}]
    assert [step["node"] for step in found["targets"][0]["steps"]] == ["twice"]
    assert {"manifest", "graph", "weights"} < found["sections"].keys()
    assert main(["info", str(built), "--steps"]) == 0
    printed = capsys.readouterr().out
    assert "x float32 [0..100000]" in printed and "1 Mul" in printed


def test_info_refuses_what_is_no_offline_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x08\x08" * 300)
    assert main(["info", str(tmp_path / "net.onnx")]) == 1
    assert "not an offline model" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["info", "run"])
def test_numpy_is_enough(built: Path, command: str) -> None:
    extra = ["--iterations", "3", "--profile"] if command == "run" else []
    done = subprocess.run([sys.executable, "-c", BARE, command, str(built), *extra], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert command == "info" or "no share of peak" in done.stdout


def test_a_size_written_into_the_network_can_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What n, h and w have to be cannot be told from 4*n*h*w == 256 alone."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[n, 4, h, w] x) => (y) <int64[4] s = {1, 4, 8, 8}> { a = Relu(x)  y = Reshape(a, s) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    assert main(["build", str(tmp_path / "net.onnx")]) == 1
    assert "--shape" in capsys.readouterr().err
    assert main(["build", str(tmp_path / "net.onnx"), "--shape", "x=1,4,8,8"]) == 0
