"""Programs in the style of MagicMind's users (`magicmind_scripts/`) on small networks made here, against references."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parent / "magicmind_scripts"
RNG = np.random.default_rng(4)
Array = np.ndarray[Any, np.dtype[Any]]


class Program:
    """Runs programs in this process, where what they import is there already."""

    def __init__(self, patch: pytest.MonkeyPatch, printed: pytest.CaptureFixture[str]) -> None:
        self._patch, self._printed = patch, printed

    def __call__(self, name: str, **flags: Any) -> str:
        """What the program prints."""
        path = SCRIPTS / f"{name}.py"
        words = [w for flag, value in flags.items() for w in (f"--{flag}", str(value))]
        self._patch.setattr(sys, "argv", [str(path), *words])
        self._patch.syspath_prepend(SCRIPTS)
        self._printed.readouterr()
        runpy.run_path(str(path), run_name="__main__")
        return self._printed.readouterr().out


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    return Program(monkeypatch, capsys)


def traced(net: Any, path: Path, *examples: Any) -> Any:
    torch = pytest.importorskip("torch")
    net = net.eval()
    torch.jit.trace(net, examples).save(str(path))
    return net


def computed(net: Any, *arrays: Array) -> Any:
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return net(*map(torch.from_numpy, arrays))


def onnx_file(path: Path, text: str, **weights: Array) -> Any:
    """A file of a graph as text, and a function that runs it."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in weights.items())
    onnx.save(model, path)
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda **feeds: session.run(None, feeds)[0]


def f(*shape: int, scale: float = 1.0) -> Array:
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


@pytest.mark.parametrize("mode", ["force_float32", "qint8_mixed_float16"])
def test_a_classifier_without_normalisation(mode: str, tmp_path: Path, program: Program) -> None:
    run = onnx_file(
        tmp_path / "net.onnx",
        """g (float[N, 3, 16, 16] data) => (float[N, 5] scores) {
            a = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (data, w)
            b = Relu (a)
            c = GlobalAveragePool (b)
            d = Flatten (c)
            scores = Gemm (d, k)
        }""",
        w=f(8, 3, 3, 3), k=f(8, 5),
    )  # fmt: skip
    images = f(6, 3, 16, 16)
    np.save(tmp_path / "images.npy", images)
    program(
        "onnx_classifier", onnx_model=tmp_path / "net.onnx", output_model=tmp_path / "m", quant_mode=mode, batch_size=4,
        images=tmp_path / "images.npy", results=tmp_path / "r.npy",
    )  # fmt: skip
    close = 1e-4 if mode == "force_float32" else 0.1
    np.testing.assert_allclose(np.load(tmp_path / "r.npy"), run(data=images), atol=close)


@pytest.mark.parametrize("mode", ["force_float16", "qint8_mixed_float32"])
def test_clips(mode: str, tmp_path: Path, program: Program) -> None:
    nn = pytest.importorskip("torch").nn
    pytest.importorskip("torch").manual_seed(0)
    clips = f(4, 3, 4, 12, 12)
    layers = nn.Conv3d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool3d((1, 2, 2)), nn.Conv3d(8, 4, 3, padding=1)
    example = pytest.importorskip("torch").zeros(1, 3, 4, 12, 12)
    net = traced(nn.Sequential(*layers), tmp_path / "net.pt", example)
    np.save(tmp_path / "clips.npy", clips)
    printed = program(
        "video_classifier", pt_model=tmp_path / "net.pt", clips=tmp_path / "clips.npy", precision=mode,
        mm_model=tmp_path / "m", results=tmp_path / "r.npy",
    )  # fmt: skip
    assert json.loads(printed) == [[1, 4, 12, 12, 3], [1, 4, 6, 6, 4]]
    expected = computed(net, clips).numpy().transpose(0, 2, 3, 4, 1)
    np.testing.assert_allclose(np.load(tmp_path / "r.npy"), expected, atol=5e-3 if "float16" in mode else 0.1)


@pytest.mark.parametrize("mode", ["force_float32", "force_float16"])
def test_sentences(mode: str, tmp_path: Path, program: Program) -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.words, self.kinds = nn.Embedding(30, 16), nn.Embedding(2, 16)
            self.norm, self.q, self.k, self.v = nn.LayerNorm(16), *(nn.Linear(16, 16) for _ in range(3))
            self.out = nn.Linear(16, 3)

        def forward(self, ids: Any, mask: Any, kinds: Any) -> Any:
            x = self.norm(self.words(ids) + self.kinds(kinds))
            scores = self.q(x) @ self.k(x).transpose(1, 2) / 4.0
            scores = scores + (1.0 - mask[:, None, :].to(x.dtype)) * -1e4
            return self.out((torch.softmax(scores, -1) @ self.v(x))[:, 0])

    torch.manual_seed(0)
    example = torch.zeros(1, 16, dtype=torch.int32)
    net = traced(Net(), tmp_path / "net.pt", example, torch.ones_like(example), example)
    tokens = [RNG.integers(0, 30, shape).astype(np.int32) for shape in ((1, 16), (8, 5), (3, 1))]
    np.savez(tmp_path / "tokens.npz", *tokens)
    program(
        "sentence_pairs", pt_model=tmp_path / "net.pt", mm_model=tmp_path / "m", precision=mode,
        tokens=tmp_path / "tokens.npz", results=tmp_path / "r.npz",
    )  # fmt: skip
    found = np.load(tmp_path / "r.npz")
    for number, ids in enumerate(tokens):
        expected = computed(net, ids, np.ones_like(ids), np.zeros_like(ids)).numpy()
        np.testing.assert_allclose(found[str(number)], expected, atol=1e-4 if mode == "force_float32" else 1e-2)


@pytest.mark.parametrize("mode", ["force_float32", "force_float16", "qint8_mixed_float32"])
def test_two_towers(mode: str, tmp_path: Path, program: Program) -> None:
    run = onnx_file(
        tmp_path / "net.onnx",
        """g (float[N, 3, 16, 16] image, int32[4, 6] text) => (float[N, 4] similarity) {
            a = Conv <strides = [4, 4]> (image, w)
            b = GlobalAveragePool (a)
            c = Flatten (b)
            words = Gather (table, text)
            sums = ReduceMean <axes = [1], keepdims = 0> (words)
            d = MatMul (sums, k)
            squares = Mul (d, d)
            total = ReduceSum <keepdims = 1> (squares, one)
            length = Sqrt (total)
            e = Div (d, length)
            t = Transpose (e)
            similarity = MatMul (c, t)
        }""",
        w=f(8, 3, 4, 4), table=f(20, 8), k=f(8, 8), one=np.array([1], np.int64),
    )  # fmt: skip
    data = {"images": f(5, 3, 16, 16), "text": RNG.integers(0, 20, (4, 6)).astype(np.int32)}
    np.savez(tmp_path / "data.npz", images=data["images"], text=data["text"])
    program(
        "two_towers", onnx=tmp_path / "net.onnx", data=tmp_path / "data.npz", precision=mode, mm_model=tmp_path / "m",
        results=tmp_path / "r.npy",
    )  # fmt: skip
    expected = run(image=data["images"], text=data["text"])
    close = {"force_float32": 1e-4, "force_float16": 2e-2}.get(mode, 0.3)
    np.testing.assert_allclose(np.load(tmp_path / "r.npy"), expected, atol=close)


def test_graphs_of_speech(tmp_path: Path, program: Program) -> None:
    program("speech_graphs", results=tmp_path / "r.npz")
    found = np.load(tmp_path / "r.npz")
    np.testing.assert_array_equal(found["mask"], np.arange(6)[None] >= np.array([3, 6, 5])[:, None])
    np.testing.assert_array_equal(found["zeros"], np.zeros(4, np.float32))
    np.testing.assert_array_equal(found["cropped"], (np.arange(32).reshape(1, 4, 8) + 100)[..., :6])


def test_a_converter(tmp_path: Path, program: Program) -> None:
    nn = pytest.importorskip("torch").nn
    torch = pytest.importorskip("torch")

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.down = nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, 8, 3, 2, 1)
            self.large, self.small = nn.Conv2d(8, 21, 1), nn.Conv2d(8, 21, 1)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.stem(x))
            return self.small(torch.relu(self.down(x))), self.large(x)

    torch.manual_seed(0)
    np.save(tmp_path / "image.npy", f(1, 3, 32, 32))
    traced(Net(), tmp_path / "net.pt", torch.zeros(1, 3, 32, 32))
    program(
        "converter", model=tmp_path / "net.pt", output_model=tmp_path / "m", image=tmp_path / "image.npy",
        results=tmp_path / "r.npz", logdir=tmp_path / "log",
    )  # fmt: skip
    assert len(json.loads((tmp_path / "log" / "steps.json").read_text())) == 3
    found = np.load(tmp_path / "r.npz")
    rows, counts = found["rows0"], found["counts0"]
    assert rows.shape == (1, 50, 7) and counts.shape == (1,) and 0 < counts[0] <= 50
    np.testing.assert_array_equal(counts, found["counts1"])
    np.testing.assert_allclose(rows[0, : counts[0]], found["rows1"][0, : counts[0]], rtol=1e-4, atol=1e-3)
