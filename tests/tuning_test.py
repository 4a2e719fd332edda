"""`build(..., tune=seconds)` on a small network: results, the log, the manifest, the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from netbuilder import Net

import magicmind
from magicmind import knobs
from magicmind.cli import main
from magicmind.codegen.target import find_target
from magicmind.errors import TargetError
from magicmind.kernels.conv import candidates
from magicmind.runtime.cpu import cpu_features
from magicmind.tune import tuner
from magicmind.tune.picks import Picks
from magicmind.tune.sizes import random_feeds, usual_sizes


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAGICMIND_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(tuner, "_LAYER_SECONDS", 0.01)
    monkeypatch.setattr(tuner, "_WHOLE_SECONDS", 0.01)
    monkeypatch.setattr(candidates, "LIMIT", 3)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3x3, depthwise + pointwise, product; a batch of any size up to 4."""
    net = Net()
    x = net.input("x", ["N", 16, 12, 12])
    y = net.op("Relu", net.conv(x, 16, 32))
    y = net.op("Relu", net.conv(net.conv(y, 32, 32, group=32), 32, 48, 1))
    y = net.op("Flatten", net.op("GlobalAveragePool", y))
    y = net.op("MatMul", y, net.floats(48, 10))
    path = tmp_path_factory.mktemp("tuning") / "net.onnx"
    path.write_bytes(net.model(y).SerializeToString())
    return path


def build(path: Path, **options: Any) -> Any:
    return magicmind.build(magicmind.parse(path), shapes={"x": ("1..4", 16, 12, 12)}, **options)


def log_lines(cache: Path) -> list[str]:
    (path,) = (cache / "tune").glob("*.jsonl")
    return path.read_text().splitlines()


def always_faster(rounds: tuner.Rounds) -> bool:
    return True


@pytest.mark.slow
def test_tuned_models_compute_the_same(network: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with the worst luck: every measured candidate passes for a gain."""
    monkeypatch.setattr(tuner, "_GAIN", 1e9)
    monkeypatch.setattr(tuner, "clearly_faster", always_faster)
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 16, 12, 12)).astype(np.float32)}
    usual, tuned = build(network), build(network, tune=600.0)
    (want,), (got,) = (list(model.session().run(feeds).values()) for model in (usual, tuned))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    (alone,) = tuned.session(threads=1).run(feeds).values()
    np.testing.assert_array_equal(alone, got)
    assert tuned.info()["tuned"] is True and "tuned" not in usual.info()
    # A second build takes what is known, and nothing else.
    known = log_lines(cache)
    again = build(network, tune=600.0)
    assert log_lines(cache) == known
    assert again.info()["sections"] == tuned.info()["sections"]
    assert again.info()["picks"] == tuned.info()["picks"]


def test_picks_are_honoured(network: Path, cache: Path) -> None:
    """A log that says so makes the build take the last candidate of every layer."""
    first = build(network, tune=0.001)
    (target,) = first.info()["picks"]
    (path,) = (cache / "tune").glob("*.jsonl")
    verdict = json.loads(log_lines(cache)[-1])
    assert verdict["picks"] == {} and verdict["complete"] is False
    wanted: dict[str, str] = {}
    usual = Picks.pick

    def last(self: Picks, key: str, candidates: Any) -> Any:
        usual(self, key, candidates)
        wanted[key + self._at] = repr(candidates[-1])
        return candidates[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Picks, "pick", last)
        forced = build(network, tune=0.001)
    with open(path, "a") as file:
        file.write(json.dumps({**verdict, "picks": wanted, "complete": True}) + "\n")
    picked = build(network, tune=0.001)
    assert picked.info()["picks"] == {target: wanted}
    assert picked.info()["sections"] == forced.info()["sections"]
    assert picked.info()["sections"] != first.info()["sections"]


def test_foreign_targets_cannot_be_tuned(network: Path) -> None:
    with pytest.raises(TargetError, match="cannot be tuned here"):
        build(network, tune=1.0, targets=["native", "aarch64" if "sse3" in cpu_features() else "x86-64-v3"])


def test_impossible_requests_are_refused(network: Path) -> None:
    with pytest.raises(TargetError, match="512 threads cannot be measured"):
        build(network, tune=1.0, threads=512)
    with pytest.raises(TargetError, match="measuring takes time"):
        build(network, tune=0.0)
    with knobs.TARGET.set("x86-64-v2" if find_target("native").is_x86 else "native"):
        if find_target("native").is_x86 and "avx2" in cpu_features():
            with pytest.raises(TargetError, match="MAGICMIND_TARGET"):
                build(network, tune=1.0, targets=["x86-64-v3"])


def test_sizes_to_measure_with_stay_within_their_ranges(network: Path) -> None:
    graph = magicmind.parse(network).with_shapes({"x": ("N=2..4", 16, "H=6..40", "W=300..")})
    sizes = usual_sizes(graph.model)
    assert sizes == [{"N": 2, "H": 40, "W": 300}, {"N": 4, "H": 40, "W": 300}]
    feeds = random_feeds(graph.model, sizes[1])
    assert feeds["x"].shape == (4, 16, 40, 300) and feeds["x"].dtype == np.float32
    assert usual_sizes(magicmind.parse(network).with_shapes({"x": (1, 16, 12, 12)}).model) == [{}]


def test_the_command_line_tells(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "net.mm"
    assert main(["build", str(network), "-o", str(output), "--tune", "0.001"]) == 0
    said = capsys.readouterr()
    assert "the cost model's choices stand" in said.out and said.err == ""
    assert main(["info", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tuned"] is True
    with pytest.raises(SystemExit, match="2"):
        main(["build", "--tune", str(network)])
    assert "write the network before --tune" in capsys.readouterr().err
