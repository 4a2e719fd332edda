"""What a model makes of its weights when it is loaded: once, shared, and gone when the model is closed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir
import pytest
from netbuilder import Net

import magicmind
from magicmind.kernels.elementwise import Elementwise, Operand
from magicmind.lower.lowering import Lowering
from magicmind.modelfile.reader import open_bytes
from magicmind.ops.fused import elementwise, program_of
from magicmind.runtime.model import from_bytes

N = 100_000


@pytest.fixture(autouse=True)
def _additions_prepare(monkeypatch: pytest.MonkeyPatch) -> None:
    """`x + c` keeps c in float16 and makes it float32 at load."""

    def lower(low: Lowering, node: onnx_ir.Node) -> None:
        program, (x, c) = program_of(node, "program"), node.inputs
        array = low.const(c)
        assert program is not None and x is not None and array is not None
        operands = (Operand("f32", (True,)), Operand("f32", (True,)))
        refs = [low.ref(x), low.widened(node, array), low.ref(node.outputs[0])]
        low.call(node, Elementwise(program, operands, "f32", (array.size,)), refs, low.params())

    monkeypatch.setattr(elementwise, "lower_rule", lower)


def network() -> tuple[Any, list[np.ndarray[Any, Any]]]:
    """((x + a) + b) + a with the sums as outputs, so that they stay apart."""
    net = Net()
    constants = [np.random.default_rng(i).normal(size=N).astype(np.float16).astype(np.float32) for i in range(2)]
    a, b = map(net.const, constants)
    x = net.op("Add", net.input("x", [N]), a)
    y = net.op("Add", x, b)
    z = net.op("Add", y, a)
    return net.model(x, y, z), constants


@pytest.fixture
def built() -> Iterator[magicmind.Model]:
    with magicmind.build(magicmind.parse(network()[0])) as model:
        yield model


def outputs(model: magicmind.Model, threads: int = 2) -> list[np.ndarray[Any, Any]]:
    return list(model.session(threads=threads).run({"x": np.zeros(N, np.float32)}).values())


def expected() -> list[np.ndarray[Any, Any]]:
    a, b = network()[1]
    return [a, a + b, (a + b) + a]


def test_weights_are_made_at_load_and_equal_ones_once(built: magicmind.Model) -> None:
    file = bytes(built._file.bytes())
    assert open_bytes(file).sections["weights"].size == 2 * N + 2 * N + 2 * N % 64
    for threads in (1, 2):
        with from_bytes(file) as model:
            assert (before := model.info()["prepared"])["ns"] is None
            for got, want in zip(outputs(model, threads), expected(), strict=True):
                np.testing.assert_array_equal(got, want)
            info = model.info()["prepared"]
            assert info["ns"] > 0 and info["bytes"] >= 8 * N
            assert [step["op"] for step in info["steps"]] == ["Elementwise"] * 2 == [s["op"] for s in before["steps"]]


def test_all_engines_share_what_is_made(built: magicmind.Model) -> None:
    prepared = built._program.prepared
    assert prepared is not None
    errors: list[BaseException] = []

    def use() -> None:
        try:
            for got, want in zip(outputs(built), expected(), strict=True):
                np.testing.assert_array_equal(got, want)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    took = prepared.ns
    built.engine()
    assert prepared.ns == took


def test_a_forked_child_has_what_its_parent_made_and_can_make_it_itself(built: magicmind.Model) -> None:
    for ready in (False, True):
        if ready:
            outputs(built)
        if (child := os.fork()) == 0:
            same = all(np.array_equal(g, w) for g, w in zip(outputs(built, 1), expected(), strict=True))
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_memory_is_given_back(built: magicmind.Model) -> None:
    outputs(built)
    prepared = built._program.prepared
    assert prepared is not None
    built.close()
    with pytest.raises(ValueError):
        prepared._memory.words[0]


def test_a_damaged_preparation_is_an_error(built: magicmind.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    file = bytes(built._file.bytes())
    from magicmind.modelfile.reader import OfflineFile

    read = OfflineFile.json

    def damaged(self: OfflineFile, name: str) -> Any:
        found = read(self, name)
        if name.startswith("plan:"):
            found["prepare"]["slots"][0]["offset"] = 1 << 40
        return found

    monkeypatch.setattr(OfflineFile, "json", damaged)
    with pytest.raises(magicmind.OfflineModelError, match="lacks or garbles the offset of a weight slot"):
        from_bytes(file)
