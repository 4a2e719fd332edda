"""What a watched run sees inside networks: the values that onnxruntime finds under the same names."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from netbuilder import Net, reference

import magicmind
from magicmind.errors import Error, OfflineModelError
from magicmind.modelfile.writer import serialize
from magicmind.runtime import from_bytes
from magicmind.runtime.watched import InnerTensor
from magicmind.testing.handmade import model_parts

Array = np.ndarray[Any, np.dtype[Any]]


def plain_network() -> onnx.ModelProto:
    """Convolutions in blocks of channels, a concatenation in place, a product: 20 channels are no whole blocks."""
    net = Net()
    x = net.input("x", ["N", 3, 12, 12])
    s = net.op("Sigmoid", net.op("Relu", net.conv(x, 3, 20)))
    a = net.op("AveragePool", net.conv(s, 20, 20), kernel_shape=[2, 2], strides=[2, 2])
    k = net.op("Concat", a, net.op("MaxPool", s, kernel_shape=[2, 2], strides=[2, 2]), axis=1)
    p = net.op("MatMul", net.op("Flatten", a), net.floats(720, 10))
    return net.model(net.op("Softmax", p), net.conv(k, 40, 5))


def wide_network() -> onnx.ModelProto:
    """Tensors so wide that pictures go through the first layers one by one."""
    net = Net()
    x = net.input("x", [3, 3, 96, 96])
    s = net.op("Relu", net.conv(x, 3, 20))
    d = net.op("Add", net.conv(s, 20, 20), s)
    p = net.op("MaxPool", d, kernel_shape=[4, 4], strides=[4, 4])
    return net.model(net.op("Softmax", net.op("Flatten", net.op("GlobalAveragePool", p))), d)


def network_with_host_steps() -> onnx.ModelProto:
    """A size that only the data tells, and kernels before and after."""
    net = Net()
    x = net.input("x", ["N", 8])
    before = net.op("Tanh", net.op("MatMul", x, net.floats(8, 8)))
    places = net.op("NonZero", net.op("Greater", before, net.const(np.float32(0))))
    chosen = net.op("GatherND", before, net.op("Transpose", places, perm=[1, 0]))
    return net.model(net.op("ReduceSum", net.op("Exp", chosen), net.const(np.array([0])), keepdims=0))


def watched(proto: onnx.ModelProto, feeds: dict[str, Array], **options: Any) -> dict[str, tuple[InnerTensor, Array]]:
    """The inner tensors; a watched run gives the results of others, and leaves the context as it was."""
    found: dict[str, tuple[InnerTensor, Array]] = {}
    with (
        magicmind.build(magicmind.parse(proto), **options) as model,
        model.engine(threads=2) as engine,
        engine.context() as context,
    ):
        plain = context.run(feeds)
        outputs = context.watch(feeds, lambda inner, array: found.__setitem__(inner.name, (inner, array)))
        again = context.run(feeds)
    for name, array in plain.items():
        np.testing.assert_array_equal(outputs[name], array)
        np.testing.assert_array_equal(again[name], array)
    return found


def with_outputs(proto: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy


@pytest.mark.parametrize(("make", "shape"), [
    (plain_network, (1, 3, 12, 12)), (plain_network, (3, 3, 12, 12)), (wide_network, (3, 3, 96, 96)),
    (network_with_host_steps, (5, 8)),
])  # fmt: skip
def test_inner_tensors_are_those_of_the_reference(make: Any, shape: tuple[int, ...]) -> None:
    proto = make()
    feeds = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    found = watched(proto, feeds)
    assert len(found) > 3
    wanted = reference(with_outputs(proto, list(found)), feeds)
    for name, (_, array) in found.items():
        np.testing.assert_allclose(array, wanted[name], rtol=1e-4, atol=1e-5, err_msg=name)
    steps = [inner.step for inner, _ in found.values()]
    assert steps == sorted(steps)


def test_half_precision_shows_what_is_computed() -> None:
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 3, 12, 12)).astype(np.float32)}
    found = watched(plain_network(), feeds, precision="force_float16")
    assert np.dtype(np.float16) in {array.dtype for _, array in found.values()}


def test_chosen_tensors_and_layers() -> None:
    proto = plain_network()
    feeds = {"x": np.zeros((1, 3, 12, 12), np.float32)}
    found: dict[str, InnerTensor] = {}
    with magicmind.build(magicmind.parse(proto)) as model, model.engine() as engine, engine.context() as context:
        context.watch(feeds, lambda inner, array: found.__setitem__(inner.name, inner), only=["sigmoid_5"])
        assert list(found) == ["sigmoid_5"]
        assert found["sigmoid_5"].layers[-1] == "node_sigmoid_5"
        with pytest.raises(Error, match=r"no step makes 'nothing'.*\n.*sigmoid_5"):
            context.watch(feeds, lambda *_: None, only=["nothing"])


def test_errors_of_the_watcher_get_through_and_leave_the_context_usable() -> None:
    proto = plain_network()
    feeds = {"x": np.ones((1, 3, 12, 12), np.float32)}

    def fail(inner: InnerTensor, array: Array) -> None:
        raise ValueError(inner.name)

    with magicmind.build(magicmind.parse(proto)) as model, model.engine() as engine, engine.context() as context:
        wanted = context.run(feeds)
        with pytest.raises(ValueError, match=r"\w+"):
            context.watch(feeds, fail)
        for name, array in context.run(feeds).items():
            np.testing.assert_array_equal(array, wanted[name])


def test_a_file_without_the_list_says_so() -> None:
    data = serialize(model_parts())
    with from_bytes(data) as model, model.engine() as engine, engine.context() as context:
        context.watch({"x": np.zeros(4, np.float32)}, lambda *_: None)  # an empty list is one
        model._program.file.sections = {
            name: section for name, section in model._program.file.sections.items() if not name.startswith("tensors")
        }
        with pytest.raises(OfflineModelError, match="where its inner tensors lie"):
            context.watch({"x": np.zeros(4, np.float32)}, lambda *_: None)
