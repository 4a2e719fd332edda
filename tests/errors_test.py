"""Whatever is wrong with what the user gives ends in an error of ours that says what, where and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from netbuilder import Net
from onnx import helper

import magicmind
from magicmind.cli import main
from magicmind.modelfile.reader import open_bytes
from magicmind.ops.registry import lookup
from magicmind.runtime.model import from_bytes


def small() -> onnx.ModelProto:
    """Convolution, pooling, matrix product; a mutable batch; weights of several pages."""
    n = Net()
    x = n.block(n.input("x", ("N", 3, 8, 8)), 3, 16)
    return n.model(n.op("Softmax", n.op("Gemm", n.op("Flatten", x), n.floats(1024, 5), n.floats(5))))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An offline model of `small` for batches of 1 to 4."""
    file = tmp_path_factory.mktemp("built") / "small.mm"
    with magicmind.build(magicmind.parse(small()), shapes={"x": ("1..4", 3, 8, 8)}) as model:
        model.save(file)
    return file


# ---------------------------------------------------------------------------------------------------- source models


RANDOM = np.random.default_rng(0).bytes(4096)
BROKEN = {
    "empty": b"",
    "random": RANDOM,
    "text": b"this is no network",
    "cut in half": small().SerializeToString()[:2000],
    "without its end": small().SerializeToString()[:-1],
    "garbled end": small().SerializeToString()[:-500] + RANDOM[:500],
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_files_that_are_no_network(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(data)
    with pytest.raises(magicmind.ModelFormatError, match=r"broken\.onnx"):
        magicmind.parse(file)


def test_unknown_operators_are_all_listed_at_once() -> None:
    n = Net()
    x = n.op("Relu", n.input("x", (1, 3, 8, 8)))
    x = n.op("FrobnicatePlus", x, name="stage1/frob")
    x = n.op("Relu", x)
    y = n.op("Quux", x, n.input("k", (2,), np.int64), name="stage2/quux", domain="com.example")
    model = n.model(y)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(magicmind.UnsupportedOperatorError) as caught:
        magicmind.parse(model)
    text = str(caught.value)
    assert "stage1/frob" in text and "FrobnicatePlus" in text and "float32[1, 3, 8, 8]" in text
    assert "stage2/quux" in text and "com.example" in text and "int64[2]" in text


def test_operators_without_a_kernel_are_all_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup("", "Softmax"), "lower_rule", None)
    n = Net()
    x = n.op("Softmax", n.input("x", (1, 3, 8, 8)), name="first")
    x = n.op("Softmax", n.op("Relu", x), name="second")
    with pytest.raises(magicmind.UnsupportedOperatorError) as caught:
        magicmind.build(magicmind.parse(n.model(x)))
    text = str(caught.value)
    assert "first (Softmax)" in text and "second (Softmax)" in text
    assert "[1,3,8,8]" in text


def test_forms_without_a_kernel_are_all_listed_at_once() -> None:
    n = Net()
    x = n.input("x", (1, 2, 4, 4, 4, 4))
    x = n.conv(n.op("Relu", n.conv(x, 2, 3, (3, 3, 3, 3))), 3, 2, (1, 1, 1, 1))
    first, second = (node.name for node in n.nodes if node.op_type == "Conv")
    with pytest.raises(magicmind.UnsupportedOperatorError) as caught:
        magicmind.build(magicmind.parse(n.model(x)))
    assert first in str(caught.value) and second in str(caught.value)


def test_a_path_is_no_graph() -> None:
    with pytest.raises(magicmind.ModelFormatError, match=r"build takes a graph, not 'net.onnx'") as caught:
        magicmind.build("net.onnx")  # type: ignore[arg-type]
    assert caught.value.hint is not None and "magicmind.parse" in caught.value.hint


def test_a_model_needs_a_target() -> None:
    with pytest.raises(magicmind.TargetError, match="no targets"):
        magicmind.build(magicmind.parse(small()), targets=[])


def test_a_cyclic_graph() -> None:
    n = Net()
    n.input("x", (2,))
    n.nodes += [
        helper.make_node("Add", ["x", "b"], ["a"], name="one"),
        helper.make_node("Relu", ["a"], ["b"], name="two"),
    ]
    with pytest.raises(magicmind.ModelFormatError, match=r"cycl.*one|one.*cycl"):
        magicmind.parse(n.model("b"))


def outside(folder: Path) -> dict[str, str]:
    """Locations of external data that must be refused."""
    secret = folder.parent / "secret.bin"
    secret.write_bytes(bytes(64))
    (folder / "link.bin").symlink_to(secret)
    (folder / "linked").symlink_to(folder.parent)
    return {
        "absolute": str(secret),
        "parent": "../secret.bin",
        "hidden parent": "sub/../../secret.bin",
        "link": "link.bin",
        "linked folder": "linked/secret.bin",
        "missing": "nowhere.bin",
    }


@pytest.mark.parametrize("kind", ["absolute", "parent", "hidden parent", "link", "linked folder", "missing"])
def test_external_data_outside_the_folder(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    location = outside(folder)[kind]
    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[16], data_location=1)
    weight.external_data.add(key="location", value=location)
    n = Net()
    n.constants.append(weight)
    onnx.save(n.model(n.op("Add", n.input("x", (16,)), "w")), folder / "net.onnx")
    with pytest.raises(magicmind.ModelFormatError, match="'w'"):
        magicmind.parse(folder / "net.onnx")


# ------------------------------------------------------------------------------------------------- building, running


def test_unknown_targets_precisions_and_inputs() -> None:
    graph = magicmind.parse(small())
    with pytest.raises(magicmind.TargetError, match=r"unknown target 'pdp11'(?s:.*)known targets: native"):
        magicmind.build(graph, targets=["pdp11"])
    with pytest.raises(magicmind.PrecisionError, match=r"'float12' is not supported(?s:.*)force_float32"):
        magicmind.build(graph, precision="float12")
    with pytest.raises(magicmind.ShapeError, match="'nope'"):
        magicmind.build(graph, shapes={"nope": (1, 2)})
    with pytest.raises(magicmind.ShapeError, match="'x'"):
        magicmind.build(graph, shapes={"x": (1, 3, 8)})
    with pytest.raises(magicmind.ShapeError, match=r"node_conv_\d+"):
        magicmind.build(graph, shapes={"x": (1, 4, 8, 8)})


FEEDS: list[tuple[Any, str]] = [
    ({"x": np.zeros((0, 3, 8, 8), np.float32)}, r"input 'x': dim 0 \(N\) is 0, the model was built for 1\.\.4"),
    ({"x": np.zeros((5, 3, 8, 8), np.float32)}, r"input 'x': dim 0 \(N\) is 5, the model was built for 1\.\.4"),
    ({"x": np.zeros((1, 3, 8, 9), np.float32)}, r"input 'x': dim 3 is 9, the model was built for 8"),
    ({"x": np.zeros((3, 8, 8), np.float32)}, r"input 'x': 3 dims"),
    ({"x": np.zeros((1, 3, 8, 8))}, r"input 'x': dtype float64, expected float32"),
    ({"x": np.zeros((1, 3, 8, 8), np.int32)}, r"input 'x': dtype int32"),
    ({}, r"input 'x' is missing"),
    ({"y": np.zeros(1, np.float32)}, r"input 'x' is missing; given: \['y'\]"),
    ({"x": np.zeros((1, 3, 8, 8), np.float32), "y": np.zeros(1)}, r"unknown inputs: y"),
    ({"x": "a picture"}, r"input 'x': dtype"),
    (np.zeros((1, 3, 8, 8), np.float32), r"inputs are given by name, not as ndarray"),
    (None, r"inputs are given by name, not as NoneType"),
    ({"x": None}, r"input 'x': dtype object"),
]


@pytest.mark.parametrize(("feeds", "text"), FEEDS)
def test_feeds_that_do_not_fit(path: Path, feeds: Any, text: str) -> None:
    with magicmind.load(path) as model, model.session() as session:
        with pytest.raises(magicmind.ShapeError, match=text):
            session.run(feeds)
        (y,) = session.run({"x": np.zeros((4, 3, 8, 8), np.float32)}).values()  # and it still works
        assert y.shape == (4, 5)


# --------------------------------------------------------------------------------------------------- offline models


def test_every_section_flipped_in_turn(path: Path) -> None:
    data = path.read_bytes()
    file = open_bytes(data)
    sections = {name: (section.offset, section.size) for name, section in file.sections.items()}
    file.close()
    assert len(sections) >= 6
    for name, (offset, size) in sections.items():
        for at in {offset, offset + size // 2, offset + size - 1}:
            damaged = bytearray(data)
            damaged[at] ^= 0x10
            with pytest.raises(magicmind.OfflineModelError, match=name):
                from_bytes(bytes(damaged))


@pytest.mark.parametrize("at", [0, 8, 12, 20, 40, 64, 96, 130, 256, 300, 320])
def test_a_flipped_header(path: Path, at: int) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 0x01
    with pytest.raises(magicmind.OfflineModelError):
        from_bytes(bytes(damaged))


@pytest.mark.parametrize("data", [b"", b"\x7fELF" + bytes(9000), small().SerializeToString(), RANDOM])
def test_foreign_files(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "foreign.mm"
    file.write_bytes(data)
    with pytest.raises(magicmind.OfflineModelError, match=r"foreign\.mm"):
        magicmind.load(file)


def test_a_truncated_model(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    for size in (100, 4096, len(data) // 2, len(data) - 1):
        with pytest.raises(magicmind.OfflineModelError):
            from_bytes(data[:size])


def test_missing_files_and_folders(path: Path, tmp_path: Path) -> None:
    with pytest.raises(magicmind.OfflineModelError, match="No such file"):
        magicmind.load(tmp_path / "none.mm")
    with pytest.raises(magicmind.OfflineModelError, match=r"not a file|directory"):
        magicmind.load(tmp_path)
    with magicmind.load(path) as model, pytest.raises(magicmind.OfflineModelError, match="No such file"):
        model.save(tmp_path / "none" / "net.mm")


def test_a_model_for_another_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, file = tmp_path / "net.onnx", tmp_path / "net.mm"
    onnx.save(small(), source)
    foreign = "x86-64-v2" if os.uname().machine == "aarch64" else "aarch64"
    with pytest.raises(magicmind.TargetError, match="no code for this CPU"):
        magicmind.build(magicmind.parse(source), targets=[foreign])
    assert main(["build", str(source), "-o", str(file), "--target", foreign]) == 0
    with pytest.raises(magicmind.TargetError, match=rf"net\.mm: no code for this CPU(?s:.*){foreign}: is for"):
        magicmind.load(file)
    capsys.readouterr()
    assert main(["run", str(file)]) == 1
    assert "no code for this CPU" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------- disks


def in_child(code: str, *arguments: str) -> str:
    """Runs Python code in a process of its own and returns what it printed."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


SAVE = """
    import os, resource, sys
    import magicmind
    model = magicmind.load(sys.argv[1])
    {before}
    try:
        model.save(sys.argv[2])
    except magicmind.OfflineModelError as error:
        print(error)
"""


def test_a_folder_that_is_read_only(path: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    # Rights do not bind root: in that case the child becomes nobody once everything is loaded.
    before = "os.getuid() or os.setuid(65534)"
    try:
        out = in_child(SAVE.format(before=before), str(path), str(tmp_path / "net.mm"))
    finally:
        tmp_path.chmod(0o755)
    assert "cannot write" in out and "Permission denied" in out and "hint" in out
    assert not list(tmp_path.iterdir())


def test_a_full_disk(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "net.mm"
    file.write_bytes(b"an older model")
    before = "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))"
    out = in_child(SAVE.format(before=before), str(path), str(file))
    assert "cannot write" in out and "File too large" in out
    assert [f.name for f in tmp_path.iterdir()] == ["net.mm"] and file.read_bytes() == b"an older model"


# ------------------------------------------------------------------------------------------------------ command line


def commands(folder: Path) -> dict[str, tuple[list[str], str]]:
    """Command lines that fail, with a part of what they say."""
    net, broken = str(folder / "net.onnx"), str(folder / "broken.onnx")
    onnx.save(small(), net)
    Path(broken).write_bytes(RANDOM)
    return {
        "missing source": (["build", str(folder / "none.onnx")], "No such file"),
        "broken source": (["parse", broken, "-o", str(folder / "out.onnx")], "broken.onnx"),
        "unknown target": (["build", net, "--target", "pdp11"], "unknown target 'pdp11'"),
        "unknown precision": (["build", net, "--precision", "float12"], "'float12'"),
        "wrong shape": (["build", net, "--shape", "x=1,4,8,8"], "node_conv"),
        "no folder": (["build", net, "-o", str(folder / "none" / "net.mm")], "No such file"),
        "not offline": (["run", net], "not an offline model"),
        "no offline file": (["info", str(folder / "none.mm")], "No such file"),
    }


KINDS = [
    "missing source", "broken source", "unknown target", "unknown precision", "wrong shape", "no folder",
    "not offline", "no offline file",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_commands_that_fail_exit_with_one(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, text = commands(tmp_path)[kind]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert text in err and "Traceback" not in err and not out


USAGE: list[Callable[[], list[str]]] = [
    list,
    lambda: ["frobnicate"],
    lambda: ["build"],
    lambda: ["run", "x.mm", "--nope"],
]


@pytest.mark.parametrize("arguments", USAGE)
def test_usage_errors_exit_with_two(arguments: Callable[[], list[str]]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments())
    assert caught.value.code == 2
