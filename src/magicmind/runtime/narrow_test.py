"""Models whose inputs, outputs and values in between have 2 to 8 bits, from ONNX text to numpy arrays."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

import magicmind
from magicmind.dtypes import numpy_dtype
from magicmind.errors import ModelFormatError, ShapeError, UnsupportedOperatorError

RNG = np.random.default_rng(0)
F8, I4, E8 = ml_dtypes.float8_e4m3fn, ml_dtypes.int4, ml_dtypes.float8_e8m0fnu
FLOATS = ["float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz", "float8e8m0", "float4e2m1"]
TYPES = [*FLOATS, "int4", "uint4", "int2", "uint2"]


def build(text: str, opset: int = 25) -> magicmind.OfflineModel:
    model = onnx.parser.parse_model(f'<ir_version: 13, opset_import: ["" : {opset}]> {text}')
    return magicmind.build(magicmind.parse(model))


def run(text: str, **feeds: Any) -> list[Any]:
    with build(text) as model, model.session(threads=1) as session:
        return list(session.run(feeds).values())


def random(kind: str, *shape: int) -> Any:
    """Random elements of a type of ONNX."""
    of = onnx.TensorProto.DataType.Value(kind.upper())
    bits = next(b for b in (8, 4, 2) if str(b) in kind)
    return RNG.integers(0, 1 << bits, shape).astype(np.uint8).view(onnx.helper.tensor_dtype_to_np_dtype(of))


def equal(got: Any, want: Any) -> None:
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got.view(np.uint8), np.ascontiguousarray(want).view(np.uint8))


@pytest.mark.parametrize("kind", TYPES)
def test_moves(kind: str) -> None:
    """Transposed, sliced, joined, gathered and padded with the code of zero, under a mutable size."""
    results = f"{kind}[3, N, 5] t, {kind}[M, 15] c, {kind}[K, 3, 5] s, {kind}[P, 3, 6] p"
    text = f"""g ({kind}[N, 3, 5] x, int64[K] i) => ({results}) {{
        t = Transpose<perm=[1, 0, 2]>(x)
        shape = Constant<value_ints=[-1, 15]>()
        flat = Reshape(x, shape)
        c = Concat<axis=0>(flat, flat)
        s = Gather<axis=0>(x, i)
        pads = Constant<value_ints=[1, 0, 0, 0, 0, 1]>()
        p = Pad(x, pads)
    }}"""
    with build(text) as model, model.session(threads=2) as session:
        for n in (1, 4):
            x, i = random(kind, n, 3, 5), np.array([0, n - 1])
            got = list(session.run({"x": x, "i": i}).values())
            flat = x.view(np.uint8).reshape(-1, 15).view(x.dtype)
            padded = np.pad(x.view(np.uint8), [(1, 0), (0, 0), (0, 1)]).view(x.dtype)
            wanted = [x.transpose(1, 0, 2), np.concatenate([flat, flat]), x[i], padded]
            for y, want in zip(got, wanted, strict=True):
                equal(y, want)


@pytest.mark.parametrize("kind", TYPES)
def test_control_flow_and_sequences(kind: str) -> None:
    text = f"""g ({kind}[4] x, {kind}[4] y, bool b, int64 n) => ({kind}[4] z, {kind}[4] l, {kind}[4] e) {{
        z = If (b) <then_branch = t () => ({kind}[4] a) {{ a = Identity(x) }},
                    else_branch = f () => ({kind}[4] o) {{ o = Where(b, x, y) }}>
        l = Loop (n, b, x) <body = loop (int64 k, bool c, {kind}[4] v) => (bool d, {kind}[4] w) {{
            d = Identity(c) w = Where(c, y, v) }}>
        list = SequenceConstruct(x, y)
        last = Constant<value_int=-1>()
        e = SequenceAt(list, last)
    }}"""
    x, y = random(kind, 4), random(kind, 4)
    for b in (True, False):
        z, loop, e = run(text, x=x, y=y, b=np.array(b), n=np.array(2))
        equal(z, x if b else y)
        equal(loop, y if b else x)
        equal(e, y)


def test_constants_and_shapes() -> None:
    helper = onnx.helper
    tensor = helper.make_tensor("v", onnx.TensorProto.FLOAT8E4M3FN, [1], np.array([0x39], np.uint8).tobytes(), raw=True)
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["filled"], value=tensor),
        helper.make_node("Identity", ["w"], ["kept"]),
    ]
    weights = onnx.numpy_helper.from_array(np.array([-8, -1, 7], I4), "w")
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("shape", onnx.TensorProto.INT64, [2])],
        [helper.make_tensor_value_info("filled", onnx.TensorProto.FLOAT8E4M3FN, ["a", "b"]),
         helper.make_tensor_value_info("kept", onnx.TensorProto.INT4, [3])], [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)])
    with magicmind.build(magicmind.parse(model)) as built, built.session() as session:
        filled, kept = session.run({"shape": np.array([2, 3])}).values()
    equal(filled, np.full((2, 3), 1.125, np.float32).astype(F8))
    equal(kept, np.array([-8, -1, 7], I4))


@pytest.mark.parametrize("kind", ["int4", "uint4", "int2", "uint2", "int16", "uint16"])
def test_blocked_quantisation_of_integers(kind: str) -> None:
    """Scales and zero points per block of 3, the last block shorter; all of them inputs."""
    text = f"""g (float[N, 7] x, float[N, 3] s, {kind}[N, 3] z) => ({kind}[N, 7] q, float[N, 7] y) {{
        q = QuantizeLinear<axis=1, block_size=3>(x, s, z)
        y = DequantizeLinear<axis=1, block_size=3>(q, s, z)
    }}"""
    dtype = np.dtype(getattr(ml_dtypes, kind, kind))
    info: Any = np.iinfo(dtype) if dtype.kind in "iu" else ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
    x = RNG.standard_normal((5, 7)).astype(np.float32) * 3
    s = RNG.uniform(0.2, 1, (5, 3)).astype(np.float32)
    z = RNG.integers(int(info.min), int(info.max) + 1, (5, 3)).astype(dtype)
    q, y = run(text, x=x, s=s, z=z)
    scale, zero = (np.repeat(v.astype(np.float32), 3, axis=1)[:, :7] for v in (s, z))
    want = np.clip(np.rint(x / scale) + zero, int(info.min), int(info.max))
    np.testing.assert_array_equal(q.astype(np.float32), want)
    np.testing.assert_array_equal(y, (want - zero) * scale)


@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("kind", ["float8e4m3fn", "float8e5m2", "float8e4m3fnuz", "float4e2m1"])
def test_quantisation_to_floats(kind: str, saturate: int) -> None:
    text = f"""g (float[2, 6] x, float[6] s, {kind}[6] z) => ({kind}[2, 6] q, float[2, 6] y) {{
        q = QuantizeLinear<saturate={saturate}>(x, s, z)
        y = DequantizeLinear(q, s)
    }}"""
    x, s = np.array([[0.1, -2, 1e6, 3, -1e9, 7], [5, 6, 7, 8, 9, 10]], np.float32), np.full(6, 0.5, np.float32)
    zeros = np.zeros(6, np.uint8).view(random(kind, 1).dtype)
    q, y = run(text, x=x, s=s, z=zeros)
    limit = float(ml_dtypes.finfo(q.dtype).max)  # type: ignore[no-untyped-call]
    equal(q, (np.clip(x / s, -limit, limit) if saturate else x / s).astype(q.dtype))
    np.testing.assert_array_equal(y, q.astype(np.float32) * s)


def test_microscaling() -> None:
    """Blocks of 4-bit floats that share a power of two, as the OCP specification has them."""
    text = """g (float4e2m1[4, 64] w, float8e8m0[4, 2] s, float[3, 64] x) => (float[3, 4] y) {
        wide = Cast<to=1>(s)
        d = DequantizeLinear<axis=1, block_size=32>(w, wide)
        t = Transpose<perm=[1, 0]>(d)
        y = MatMul(x, t)
    }"""
    w, s = random("float4e2m1", 4, 64), RNG.integers(124, 131, (4, 2)).astype(np.uint8).view(E8)
    x = RNG.standard_normal((3, 64)).astype(np.float32)
    (y,) = run(text, w=w, s=s, x=x)
    want = x @ (w.astype(np.float32) * np.repeat(s.astype(np.float32), 32, axis=1)).T
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-4)


def test_rounding_inside_a_network() -> None:
    """A cast down and up again is no identity, wherever it is fused."""
    text = """g (float[1, 4, 9, 9] x, float[4, 4, 3, 3] w0) => (float[1, 4, 7, 7] y) <float[4, 4, 3, 3] w> {
        c = Conv(x, w)
        n = Cast<to=17>(c)
        y = Cast<to=1>(n)
    }"""
    weights = RNG.standard_normal((4, 4, 3, 3)).astype(np.float32)
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')
    del model.graph.input[1]
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    x = RNG.standard_normal((1, 4, 9, 9)).astype(np.float32)
    with magicmind.build(magicmind.parse(model)) as built, built.session() as session:
        (y,) = session.run({"x": x}).values()
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), axis=(1, 2))
    want = np.einsum("cyxij,ocij->oyx", windows, weights, dtype=np.float64)[None]
    np.testing.assert_array_equal(y, y.astype(F8).astype(np.float32))
    np.testing.assert_allclose(y, want, rtol=0.07, atol=0.02)


def test_arithmetic_is_refused_by_name() -> None:
    text = "g (float8e4m3fn[3] x) => (float8e4m3fn[3] y) { y = Add(x, x) }"
    with pytest.raises(UnsupportedOperatorError, match=r"Add_0 \(Add\).*float8e4m3fn") as caught:
        build(text)
    assert "Cast" in str(caught.value)
    with pytest.raises(UnsupportedOperatorError, match=r"ReduceSum_0 \(ReduceSum\).*int4"):
        build("g (int4[3] x) => (int4[1] y) { y = ReduceSum(x) }")


def test_mistakes_are_named() -> None:
    with pytest.raises(ModelFormatError, match=r"round_mode.*sideways"):
        build('g (float[3] x) => (float8e8m0[3] y) { y = Cast<to=24, round_mode="sideways">(x) }')
    with build("g (int4[3] x) => (float[3] y) { y = Cast<to=1>(x) }") as model, pytest.raises(ShapeError, match="int4"):
        model.session().run({"x": np.zeros(3, np.int8)})


def test_without_ml_dtypes_arrays_hold_codes(tmp_path: Path) -> None:
    text = """g (float8e4m3fn[3] x, int4[4] i) => (float[3] y, int4[4] j, bfloat16[3] b) {
        y = Cast<to=1>(x)
        b = Cast<to=16>(x)
        k = Cast<to=3>(i)
        n = Neg(k)
        j = Cast<to=22>(n)
    }"""
    with build(text) as model:
        model.save(tmp_path / "m.mm")
    code = """
        import sys, numpy as np
        sys.modules["ml_dtypes"] = None
        import magicmind.runtime
        with magicmind.runtime.load(sys.argv[1]) as model:
            print([t.dtype.name for t in (*model.inputs, *model.outputs)])
            x, i = np.array([0x38, 0xB9, 0x01], np.uint8), np.arange(4, dtype=np.uint8)
            found = model.session().run({"x": x, "i": i})
            print([v.tolist() for v in found.values()])
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "m.mm")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == [
        "['uint8', 'uint8', 'float32', 'uint8', 'uint16']",
        "[[1.0, -1.125, 0.001953125], [0, 15, 14, 13], [16256, 49040, 15104]]",
    ], done.stderr


def test_names_of_dtypes() -> None:
    assert numpy_dtype("float32") == np.float32
    assert numpy_dtype("int4") == np.dtype(I4)
    with pytest.raises(TypeError):
        numpy_dtype("float9")
