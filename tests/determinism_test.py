"""The same input gives the same bits: for every build, thread count, place in the batch, repetition and caller."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from netbuilder import Net

import magicmind

Array = np.ndarray[Any, np.dtype[Any]]


def network() -> onnx.ModelProto:
    """Every family of kernels with enough work that threads share it: Winograd and direct convolution, depthwise,
    pools, reductions, normalisation, matrix products, elementwise."""
    n = Net()
    x = n.block(n.input("x", ("N", 3, 40, 36)), 3, 32, strides=[2, 2])
    x = n.op("Add", n.block(x, 32, 32), x)
    x = n.block(n.block(x, 32, 48, 1), 48, 48, 5, group=48)
    x = n.op("InstanceNormalization", x, n.floats(48), n.floats(48))
    pooled = n.op("Sigmoid", n.conv(n.op("GlobalAveragePool", x), 48, 48, 1))
    x = n.op("MaxPool", n.op("Mul", x, pooled), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    up = n.op("Resize", x, "", n.const(np.array([1, 1, 2, 2], np.float32)), mode="linear")
    flat = n.op("Gemm", n.op("Flatten", x), n.floats(4320, 33, low=-0.05, high=0.05), n.floats(33))
    return n.model(n.op("Softmax", flat), n.op("ReduceMean", up, n.const(np.array([1])), keepdims=0))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("built") / "net.mm"
    with magicmind.build(magicmind.parse(network()), shapes={"x": ("1..8", 3, 40, 36)}) as model:
        model.save(file)
    return file


@pytest.fixture(scope="module")
def batch() -> Array:
    return np.random.default_rng(2).standard_normal((8, 3, 40, 36)).astype(np.float32)


def bits(outputs: dict[str, Array]) -> list[bytes]:
    return [array.tobytes() for array in outputs.values()]


@pytest.mark.slow
def test_built_twice_the_file_is_the_same(tmp_path: Path) -> None:
    """Also by another process, where hashes of strings are seeded otherwise, and with kernels compiled before."""
    onnx.save(network(), tmp_path / "net.onnx")
    code = """
        import sys, magicmind
        magicmind.build(magicmind.parse(sys.argv[1]), shapes={"x": ("1..8", 3, 40, 36)}).save(sys.argv[2])
    """
    for seed, kept in (("1", "0"), ("2", "256")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "MAGICMIND_CACHE_MB": kept}
        command = [
            sys.executable,
            "-c",
            textwrap.dedent(code),
            str(tmp_path / "net.onnx"),
            str(tmp_path / f"{seed}.mm"),
        ]
        subprocess.run(command, env=environment, check=True, timeout=120)
    assert (tmp_path / "1.mm").read_bytes() == (tmp_path / "2.mm").read_bytes()


def test_thread_counts_and_repetitions_agree(path: Path, batch: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    # More threads than CPUs are refused otherwise: the split of the work must not matter even so.
    monkeypatch.setattr("magicmind.runtime.team.thread_limit", lambda: 5)
    with magicmind.load(path) as model:
        expected = bits(model.session(threads=1).run({"x": batch}))
        for threads in (1, 2, 3, 5):
            with model.session(threads=threads) as session:
                assert session.engine.threads == threads
                for _ in range(3):
                    assert bits(session.run({"x": batch})) == expected


def test_the_place_in_the_batch_does_not_matter(path: Path, batch: Array) -> None:
    with magicmind.load(path) as model, model.session(threads=2) as session:
        together = session.run({"x": batch})
        for i in range(8):
            alone = session.run({"x": batch[i : i + 1]})
            for name, array in together.items():
                assert alone[name][0].tobytes() == array[i].tobytes()
        middle = session.run({"x": batch[2:7]})
        for name, array in together.items():
            assert middle[name].tobytes() == array[2:7].tobytes()


def test_a_fixed_model_agrees_with_the_mutable_one(path: Path, batch: Array) -> None:
    with magicmind.load(path) as mutable, magicmind.build(
        magicmind.parse(network()), shapes={"x": (1, 3, 40, 36)}
    ) as fixed:  # fmt: skip
        want = mutable.session(threads=1).run({"x": batch[:1]})
        got = fixed.session(threads=1).run({"x": batch[:1]})
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-6)


def test_results_do_not_change_when_shapes_alternate(path: Path, batch: Array) -> None:
    with magicmind.load(path) as model, model.session(threads=2) as session:
        first = {n: bits(session.run({"x": batch[:n]})) for n in range(1, 9)}
        for n in (8, 1, 5, 8, 2, 1, 7, 3):
            assert bits(session.run({"x": batch[:n]})) == first[n]


def test_many_contexts_in_many_threads_share_one_engine(path: Path, batch: Array) -> None:
    with magicmind.load(path) as model, model.engine(threads=2) as engine:
        with engine.context() as context:
            expected = [bits(context.run({"x": batch[i : i + 2]})) for i in range(6)]
        start = threading.Barrier(6)

        def work(i: int) -> bool:
            with engine.context() as context:
                start.wait()
                return all(bits(context.run({"x": batch[i : i + 2]})) == expected[i] for _ in range(20))

        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(work, range(6)))


def test_one_session_called_from_many_threads(path: Path, batch: Array) -> None:
    with magicmind.load(path) as model, model.session(threads=2) as session:
        expected = {n: bits(session.run({"x": batch[:n]})) for n in (1, 2, 3)}
        with ThreadPoolExecutor(4) as pool:
            sizes = [1, 2, 3, 2, 1, 3] * 10
            results = pool.map(lambda n: bits(session.run({"x": batch[:n]})), sizes)
            assert all(got == expected[n] for got, n in zip(results, sizes, strict=True))


def test_a_queue_gives_the_same_results(path: Path, batch: Array) -> None:
    with magicmind.load(path) as model, model.engine(threads=2) as engine, engine.context() as context:
        expected = [bits(context.run({"x": batch[i : i + 1]})) for i in range(8)]
        futures = [context.queue().submit({"x": batch[i : i + 1]}) for i in range(8)]
        assert [bits(future.result(timeout=60)) for future in futures] == expected


def test_outputs_given_and_inputs_that_are_views(path: Path, batch: Array) -> None:
    with magicmind.load(path) as model, model.session(threads=2) as session:
        want = session.run({"x": batch})
        out = {name: np.full_like(array, np.nan) for name, array in want.items()}
        assert session.run({"x": np.asfortranarray(batch)}, out=out).keys() == want.keys()
        assert bits(out) == bits(want)
        shifted = np.empty(batch.size + 1, np.float32)[1:].reshape(batch.shape)
        shifted[...] = batch
        assert bits(session.run({"x": shifted})) == bits(want)


def test_denormals_are_the_same_in_every_thread(path: Path, batch: Array) -> None:
    """Values so small that a thread that flushes denormals to zero would get others."""
    tiny = batch * np.float32(1e-38)
    with magicmind.load(path) as model, model.session(threads=1) as session:
        assert bits(session.run({"x": tiny})) == bits(model.session(threads=2).run({"x": tiny}))


def test_running_needs_numpy_only(path: Path, batch: Array, tmp_path: Path) -> None:
    """A process where the packages of the extra [build] cannot even be imported."""
    np.save(tmp_path / "x.npy", batch)
    code = """
        import sys
        barred = ("llvmlite", "onnx", "onnx_ir", "elftools", "rich", "google", "ml_dtypes")
        class Bar:
            def find_spec(self, name, *_):
                if name.partition(".")[0] in barred:
                    raise ImportError(name)
        sys.meta_path.insert(0, Bar())
        import numpy as np
        import magicmind.runtime
        with magicmind.runtime.load(sys.argv[1]) as model:
            outputs = model.session(threads=2).run({"x": np.load(sys.argv[2])})
        np.savez(sys.argv[3], *outputs.values())
        assert not [m for m in sys.modules if m.partition(".")[0] in barred], sys.modules
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(path), str(tmp_path / "x.npy"), str(tmp_path / "y.npz")]
    subprocess.run(command, check=True, timeout=60)
    with magicmind.load(path) as model:
        want = bits(model.session(threads=1).run({"x": batch}))
    assert bits(dict(np.load(tmp_path / "y.npz"))) == want
