"""The run time on a model made by hand: results, checks, threads, fork, interrupts, memory."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magicmind import knobs
from magicmind.codegen.target import TARGETS
from magicmind.errors import Error, OfflineModelError, ShapeError, TargetError
from magicmind.modelfile.writer import serialize, write_model
from magicmind.runtime import Model, describe, from_bytes, load
from magicmind.runtime.profiler import profile
from magicmind.testing.handmade import ENDLESS, machine_target, model_parts

Array = np.ndarray[Any, np.dtype[Any]]
COUNTS = (1, 2)


@pytest.fixture(scope="module")
def data() -> bytes:
    return serialize(model_parts())


@pytest.fixture
def model(data: bytes) -> Iterator[Model]:
    with from_bytes(data) as model:
        yield model


@pytest.fixture
def path(data: bytes, tmp_path: Path) -> Path:
    (tmp_path / "m.mm").write_bytes(data)
    return tmp_path / "m.mm"


def expected(x: Array) -> Array:
    return np.float32(2) * (x + np.float32(3))[::-1]


def ramp(n: int, start: float = 0.0) -> Array:
    return np.arange(n, dtype=np.float32) + np.float32(start)


@pytest.mark.parametrize("threads", COUNTS)
def test_one_file_serves_all_sizes(model: Model, threads: int) -> None:
    with model.session(threads=threads) as session:
        for n in (0, 1, 2, 17, 1000, 100000, 3, *range(20, 40)):
            np.testing.assert_array_equal(session.run({"x": ramp(n)})["y"], expected(ramp(n)))


def test_a_fixed_plan() -> None:
    with from_bytes(serialize(model_parts(fixed=9))) as model, model.session() as session:
        np.testing.assert_array_equal(session.run({"x": ramp(9)})["y"], expected(ramp(9)))
        with pytest.raises(ShapeError, match=r"'x'.* dim 0 is 8.*built for 9"):
            session.run({"x": ramp(8)})
        assert session.inputs[0].shape == (9,)


def test_what_a_model_says(path: Path) -> None:
    with load(path, verify="full") as model:
        assert model.inputs[0].name == "x"
        assert model.inputs[0].shape == ((0, 100000),)
        assert model.outputs[0].dtype == np.float32
        info = model.info()
        assert info["target"] == model.target == machine_target().name
        assert info["bytes"] == path.stat().st_size
        assert describe(path)["section_bytes"]["weights"] == 64


def bad_feeds() -> list[tuple[dict[str, Any], str]]:
    return [
        ({}, "input 'x' is missing"),
        ({"x": ramp(3), "z": ramp(3)}, "unknown inputs: z"),
        ({"x": np.zeros(3)}, "dtype float64, expected float32"),
        ({"x": [1.0, 2.0]}, "dtype float64, expected float32"),
        ({"x": ramp(3).astype(">f4")}, "dtype >f4, expected float32"),
        ({"x": ramp(4).reshape(2, 2)}, "2 dims"),
        ({"x": ramp(100001)}, r"dim 0 \(N\) is 100001.*0\.\.100000"),
    ]


@pytest.mark.parametrize(("feeds", "message"), bad_feeds())
def test_bad_inputs_are_named(model: Model, feeds: dict[str, Any], message: str) -> None:
    with model.session() as session, pytest.raises(ShapeError, match=message):
        session.run(feeds)


def test_strided_and_unaligned_inputs_are_copied(model: Model) -> None:
    raw = np.zeros(4 * 10 + 1, np.uint8)
    unaligned = raw[1:].view(np.float32)
    unaligned[:] = ramp(10)
    readonly = ramp(10)
    readonly.flags.writeable = False
    with model.session() as session:
        for x in (ramp(20)[::2], ramp(10)[::-1], unaligned, readonly):
            np.testing.assert_array_equal(session.run({"x": x})["y"], expected(x))


def test_outputs_go_where_asked(model: Model) -> None:
    with model.session() as session:
        y = np.empty(5, np.float32)
        assert session.run({"x": ramp(5)}, out={"y": y})["y"] is y
        np.testing.assert_array_equal(y, expected(ramp(5)))
        both = ramp(6)  # in and out at once: the input is copied first
        session.run({"x": both}, out={"y": both})
        np.testing.assert_array_equal(both, expected(ramp(6)))


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ({"y": np.empty(4, np.float32)}, r"float32\[4\], expected float32\[5\]"),
        ({"y": np.empty(5)}, "float64"),
        ({"y": np.empty(10, np.float32)[::2]}, "contiguous"),
        ({"y": np.broadcast_to(np.float32(0), (5,))}, "contiguous"),
        ({"y": [0.0] * 5}, "a list"),
        ({"q": np.empty(5, np.float32)}, "unknown outputs: q"),
    ],
)
def test_bad_outputs_are_named(model: Model, out: dict[str, Any], message: str) -> None:
    with model.session() as session, pytest.raises(Error, match=message):
        session.run({"x": ramp(5)}, out=out)


def test_ten_thousand_calls_of_a_team_and_of_many_threads(model: Model) -> None:
    with model.session(threads=2) as session:
        wrong = []

        def work(start: int) -> None:
            for i in range(2500):
                x = ramp(1 + i % 7, start)
                if not np.array_equal(session.run({"x": x})["y"], expected(x)):
                    wrong.append((start, i))

        workers = [threading.Thread(target=work, args=(start,)) for start in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not wrong


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_an_idle_team_sleeps(model: Model) -> None:
    with model.session(threads=2) as session:
        session.run({"x": ramp(100)})
        assert session.engine.threads == 2
        time.sleep(0.01)
        before = time.process_time()
        time.sleep(0.2)
        assert time.process_time() - before < 0.02


def test_threads_are_bounded(model: Model) -> None:
    allowed = len(os.sched_getaffinity(0))
    assert model.engine(threads=100000).threads <= allowed
    with knobs.NUM_THREADS.set(1):
        assert model.engine().threads == model.engine(threads=8).threads == 1
    with knobs.OMP_NUM_THREADS.set("1,4"):
        assert model.engine().threads == 1
    for threads in (0, -1):
        with pytest.raises(Error, match="at least one thread"):
            model.engine(threads=threads)
    with knobs.NUM_THREADS.set("many"), pytest.raises(Error, match="MAGICMIND_NUM_THREADS='many'"):
        model.engine()


def test_queue_keeps_the_order_and_reports_errors(model: Model) -> None:
    with model.engine(threads=2) as engine, engine.context() as context:
        queue = context.queue()
        futures = [queue.submit({"x": ramp(n)}) for n in range(50)]
        for n, future in enumerate(futures):
            np.testing.assert_array_equal(future.result(timeout=10)["y"], expected(ramp(n)))
        with pytest.raises(ShapeError):
            queue.submit({}).result(timeout=10)
    with pytest.raises(Error, match="closed"):
        queue.submit({"x": ramp(1)})


def test_use_after_close(data: bytes) -> None:
    model = from_bytes(data)
    engine = model.engine()
    context, session = engine.context(), model.session()
    context.run({"x": ramp(3)})
    model.close()
    model.close()
    for call in (
        lambda: context.run({"x": ramp(3)}),
        lambda: session.run({"x": ramp(3)}),
        context.queue,
        engine.context,
        model.engine,
        model.info,
        lambda: model.save("x"),
    ):
        with pytest.raises(Error, match="closed"):
            call()


def resident() -> int:
    """Anonymous resident bytes of this process."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))


def test_close_gives_memory_and_mappings_back() -> None:
    parts = model_parts()
    parts.targets[0].plan["buffers"][0]["bytes"] = "4*N + 200000000"
    parts.targets[0].plan["slots"][3]["offset"] = "N % 1"
    model = from_bytes(serialize(parts))
    with open("/proc/self/maps") as file:
        mapped = file.read().count("memfd:magicmind-model")
    assert mapped >= 2
    context = model.engine(threads=1).context()
    context.run({"x": ramp(100000)})
    arena = context._arena
    assert arena is not None
    np.frombuffer(arena.words, np.int64)[:] = 1
    before = resident()
    descriptors = len(os.listdir("/proc/self/fd"))
    model.close()
    assert before - resident() > 150_000_000
    assert len(os.listdir("/proc/self/fd")) == descriptors - 3  # the file's, and one that each mapping keeps
    with open("/proc/self/maps") as file:
        assert file.read().count("memfd:magicmind-model") == mapped - 2


def test_a_dropped_model_leaves_nothing_behind(data: bytes) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        session = from_bytes(data).session()
        session.run({"x": ramp(3)})
        del session
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_pickling_by_path_and_by_value(path: Path, data: bytes) -> None:
    for model in (load(path), from_bytes(data)):
        text = pickle.dumps(model.session(threads=1))
        assert (len(text) < 1000) == (model.path is not None)
        with pickle.loads(text) as session:
            np.testing.assert_array_equal(session.run({"x": ramp(4)})["y"], expected(ramp(4)))
        model.close()


def test_a_pickle_notices_another_file(path: Path) -> None:
    text = pickle.dumps(load(path))
    write_model(path, model_parts(fixed=3))
    with pytest.raises(OfflineModelError, match="not the model that was pickled"):
        pickle.loads(text)


def test_save_writes_the_same_bytes(data: bytes, tmp_path: Path) -> None:
    with from_bytes(data) as model:
        model.save(tmp_path / "out.mm")
        assert (tmp_path / "out.mm").read_bytes() == data
        assert model.path == tmp_path / "out.mm"


def test_a_model_for_another_cpu_says_what_is_missing(path: Path) -> None:
    other = TARGETS["x86-64-v2" if machine_target().name == "aarch64" else "aarch64"]
    write_model(path, model_parts(targets=(other,)))
    with pytest.raises(TargetError, match=rf"(?s){other.name}: is for .*build the model again"):
        load(path)
    assert describe(path)["targets"][0]["name"] == other.name


@pytest.mark.skipif(machine_target().name == "aarch64", reason="caps x86-64")
def test_the_cap_on_instruction_sets(path: Path) -> None:
    write_model(path, model_parts(targets=(TARGETS["x86-64-v3"], TARGETS["x86-64-v2"])))
    with knobs.TARGET.set("x86-64-v2"), load(path) as model:
        assert model.target == "x86-64-v2"
    write_model(path, model_parts(targets=(TARGETS["x86-64-v3"],)))
    with knobs.TARGET.set("x86-64-v2"), pytest.raises(TargetError, match="MAGICMIND_TARGET=x86-64-v2 forbids"):
        load(path)
    with knobs.TARGET.set("pentium"), pytest.raises(TargetError, match="'pentium' is unknown"):
        load(path)


def test_profile_has_a_row_per_step(model: Model) -> None:
    with model.engine(threads=1) as engine, engine.context() as context:
        result = profile(context, {"x": ramp(10)}, runs=3)
        assert [row["node"] for row in result.rows()] == ["twice"]
        assert result.chrome_trace()["traceEvents"][0]["args"]["kernel"] == "twice"
        outputs, stamps = context.profile({"x": ramp(10)})
        assert len(stamps) == 2
        np.testing.assert_array_equal(outputs["y"], expected(ramp(10)))


def test_forked_children_start_their_own_team(model: Model) -> None:
    with model.session(threads=2) as session:
        session.run({"x": ramp(100)})
        stop = threading.Event()

        def busy() -> None:
            while not stop.is_set():
                session.run({"x": ramp(50)})

        worker = threading.Thread(target=busy)
        worker.start()
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                signal.alarm(10)
                good = all(np.array_equal(session.run({"x": ramp(n)})["y"], expected(ramp(n))) for n in range(100))
                session.close()
                os._exit(0 if good else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        stop.set()
        worker.join()


def run_python(code: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_run_time_imports_neither_compiler_nor_onnx(path: Path) -> None:
    code = """
        import sys, numpy as np
        import magicmind.runtime
        with magicmind.runtime.load(sys.argv[1]) as model:
            print(model.session(threads=2).run({"x": np.ones(3, np.float32)})["y"].tolist())
        print([m for m in sys.modules if m.partition(".")[0] in ("llvmlite", "onnx", "onnx_ir", "elftools")])
        print(sorted({m.partition(".")[2].partition(".")[0] for m in sys.modules if m.startswith("magicmind.")}))
    """
    out, err = run_python(code, str(path)).communicate(timeout=60)
    assert out.splitlines() == [
        "[8.0, 8.0, 8.0]",
        "[]",
        "['dtypes', 'errors', 'files', 'knobs', 'modelfile', 'runtime', 'tensorinfo']",
    ], err


@pytest.mark.parametrize("threads", COUNTS)
def test_ctrl_c_ends_a_long_call(threads: int, tmp_path: Path) -> None:
    write_model(tmp_path / "endless.mm", model_parts(ENDLESS))
    code = """
        import signal, sys, numpy as np
        from magicmind.runtime import load
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        session = load(sys.argv[1]).session(threads=int(sys.argv[2]))
        print("running", flush=True)
        try:
            session.run({"x": np.ones(3, np.float32)})
        except KeyboardInterrupt:
            print("interrupted")
            session.close()
    """
    process = run_python(code, str(tmp_path / "endless.mm"), str(threads))
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (out, process.returncode) == ("interrupted\n", 0), err


def test_leaving_while_the_team_still_spins(path: Path) -> None:
    code = """
        import sys, numpy as np
        from magicmind.runtime import load
        session = load(sys.argv[1]).session(threads=2)
        for _ in range(100):
            session.run({"x": np.ones(3, np.float32)})
    """
    for _ in range(3):
        process = run_python(code, str(path))
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 0
