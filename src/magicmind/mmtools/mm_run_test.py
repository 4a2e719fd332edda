"""mm_run: its flags, what scripts read of its print-out, files in and out, and what it says of wrong command lines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import magicmind
from magicmind.mmtools.mm_run import main

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
    assert re.search(r"^Iterations: {19}(1[2-9]\d|[2-9]\d\d|\d{4,})$", out, re.M)
    assert re.search(
        r"MLU Compute Latency \(ms\):\nmin: \S+ +max: \S+ +mean: \S+ +median: \S+ +percentile: \(90%\)", out
    )
    assert "  Name: image\n  Datatype: FLOAT\n" in out and "  Dim: [4, 1, 8, 8]\n" in out
    assert "Trace averages of 100 runs:" in out


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
    config.write_text('{"inputType": 0, "inputDims": [[[1, 1, 8, 8], [1]]]}')
    assert main(["--magicmind_model", str(digits), "--run_config", str(config), *QUICK]) == 1
    assert "is no run configuration" in capsys.readouterr().err


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
        assert "Throughput (qps):" in capsys.readouterr().out
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
    ],
)
def test_wrong_command_lines(words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    assert says in capsys.readouterr().err


def test_a_mutable_dim_has_to_be_told(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--magicmind_model", str(digits), *QUICK]) == 1
    assert "--batch_size for its first dim" in capsys.readouterr().err


def test_flags_of_cards_are_read(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["--magicmind_model", str(digits), "--batch", "1", "--bind_cluster", "1", "--trace_time", "both", *QUICK])
        == 0
    )
    assert "--bind_cluster, --trace_time: no effect on a CPU" in capsys.readouterr().err
    assert main(["--h"]) == 0
    assert "--magicmind_model FILE" in capsys.readouterr().out
