"""Rarer operators of onnxruntime against onnxruntime, or numpy where it has them for GPUs only."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from magicmind import backend
from magicmind.testing.check_lowering import check_lowering

RNG = np.random.default_rng(8)
F32, U8, I8 = np.float32, np.uint8, np.int8


def _draw(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(F32)


def _bytes(*shape: int, dtype: Any = U8) -> Any:
    limits = np.iinfo(dtype)
    low = max(limits.min, -64)  # onnxruntime saturates sums of two products on CPUs without VNNI
    return RNG.integers(low, min(limits.max, 63) if low else limits.max, shape, endpoint=True).astype(dtype)


def _check(op: str, inputs: list[Any], attributes: dict[str, Any] | None = None, **words: Any) -> list[str]:
    words = {"shapes": {0: np.shape(inputs[0])}, "rtol": 2e-5, **words}
    return check_lowering(op, inputs, attributes or {}, domain="com.microsoft", passes=True, **words)


Q = [F32(0.1), U8(120)]


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("QGemm", [_bytes(3, 5), *Q, _bytes(5, 4, dtype=I8), F32(0.2), I8(0), None, F32(3), U8(128)], {}),
        ("QGemm", [_bytes(3, 5), *Q, _bytes(4, 5), F32(0.2), U8(9), np.arange(4, dtype=np.int32)], {"transB": 1}),
        ("QGemm", [_bytes(3, 5), *Q, _bytes(4, 5, dtype=I8), np.full(4, 0.2, F32), np.zeros(4, I8),
            np.arange(4, dtype=np.int32), F32(3), U8(128)], {"transB": 1, "alpha": 2.0}),
        ("QLinearConv", [_bytes(1, 6, 6, 3), *Q, _bytes(4, 3, 3, 3, dtype=I8), F32(0.02), I8(0), *Q,
            np.arange(4, dtype=np.int32)], {"channels_last": 1, "pads": [1, 1, 1, 1]}),
        ("QLinearConv", [_bytes(1, 3, 6, 6), *Q, _bytes(4, 3, 3, 3, dtype=I8), F32(0.02), I8(0), *Q], {}),
        ("NhwcMaxPool", [_bytes(1, 6, 6, 3)], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Trilu", [_draw(2, 4, 5), np.int64(1)], {"upper": 0}),
        ("ExpandDims", [_draw(2, 3), np.int32(1)], {}),
        ("MatMulNBits", [_draw(2, 40), _bytes(6, 3, 8), np.abs(_draw(18))],
            {"K": 40, "N": 6, "bits": 4, "block_size": 16}),
        ("MatMulNBits", [_draw(2, 32), _bytes(6, 2, 8), np.abs(_draw(12)), _bytes(6, 1)],
            {"K": 32, "N": 6, "bits": 4, "block_size": 16}),
    ],
)  # fmt: skip
def test_like_onnxruntime(op: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    _check(op, inputs, attributes)


def test_where_on_quantised_values() -> None:
    condition = RNG.random((3, 4)) > 0.5
    _check("QLinearWhere", [condition, _bytes(3, 4), *Q, _bytes(3, 4), F32(0.2), U8(9), F32(0.3), U8(100)])


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("places", [np.array([3], np.int64), np.array([[0, 2, 4], [1, 3, 5]], np.int64)])
def test_rotary_positions(interleaved: int, places: Any) -> None:
    _check("RotaryEmbedding", [_draw(2, 3, 24), places, _draw(16, 4), _draw(16, 4)], {"interleaved": interleaved})


def test_attention_on_quantised_values() -> None:
    inputs = [_bytes(2, 5, 8), _bytes(8, 24, dtype=I8), _draw(24), F32(0.02), F32(0.01), None, U8(128), I8(0)]
    kernels = _check("QAttention", inputs, {"num_heads": 2}, rtol=1e-4)
    assert any(name.startswith("u8i8_matmul") for name in kernels)


def test_products_of_bytes_have_their_kernel() -> None:
    kernels = _check("QGemm", [_bytes(3, 5), *Q, _bytes(5, 4, dtype=I8), F32(0.2), I8(0), None, F32(3), U8(128)])
    assert len(kernels) == 1 and kernels[0].startswith("u8i8_matmul")


def test_embeddings_of_quantised_tables() -> None:
    ids, segments, mask = (RNG.integers(0, high, (2, 5)).astype(np.int32) for high in (9, 2, 2))
    tables = [_bytes(n, 8) for n in (9, 6, 2)] + [_bytes(8), _bytes(8)]
    inputs = [ids, segments, *tables, mask, *[F32(0.02)] * 5, *[U8(n) for n in (128, 120, 100, 3, 7)]]
    _check("QEmbedLayerNormalization", inputs, {"epsilon": 1e-12}, outputs=2)


def test_lstm_of_quantised_weights() -> None:
    weights = [_bytes(1, 6, 32, dtype=I8), _bytes(1, 8, 32, dtype=I8)]
    scales = [np.full(1, 0.004, F32), np.zeros(1, I8)] * 2
    inputs = [_draw(5, 2, 6), *weights, _draw(1, 64), None, None, None, None, *scales]
    _check("DynamicQuantizeLSTM", inputs, {"hidden_size": 8}, outputs=3, rtol=2e-2)


def test_layers_of_diffusion_models() -> None:
    x, bias, skip = _draw(1, 6, 8), _draw(8), _draw(1, 6, 8)
    _check("BiasAdd", [x, bias, skip], want=[x + bias + skip])
    image, gamma, beta = _draw(2, 4, 4, 6), _draw(6), _draw(6)
    groups = image.reshape(2, 16, 2, 3)
    mean, variance = groups.mean((1, 3), keepdims=True), groups.var((1, 3), keepdims=True)
    y = ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(image.shape) * gamma + beta
    words = {"groups": 2, "activation": 1, "channels_last": 1}
    _check("GroupNorm", [image, gamma, beta], words, want=[y / (1 + np.exp(-y))])


def test_transforms_of_real_signals() -> None:
    x = _draw(3, 16)
    spectrum = np.fft.rfft(x)
    pairs = np.stack([spectrum.real, spectrum.imag], -1).astype(F32)
    words = {"signal_ndim": 1, "normalized": 0, "onesided": 1}
    _check("Rfft", [x], words, want=[pairs], rtol=1e-4)
    _check("Irfft", [pairs], words, want=[x], rtol=1e-4)


def test_softmax_of_a_sum() -> None:
    x, bias = _draw(2, 3, 4, 5), _draw(2, 1, 1, 5)
    weights = np.exp(x + bias)
    want = [weights / weights.sum(-1, keepdims=True)]
    _check("BiasSoftmax", [x, bias], {"axis": 3, "is_inner_broadcast": 1}, want=want)


def test_mean_of_quantised_values() -> None:
    x = _bytes(2, 3, 8)
    mean = (x.astype(F32) - 120).mean(2, keepdims=True) * F32(0.1)
    scale = F32(0.053)  # no mean falls between two integers, where the order of sums would decide
    want = [np.clip(np.rint(mean / scale) + 128, 0, 255).astype(U8)]
    _check("QLinearReduceMean", [x, *Q, scale, U8(128)], {"axes": [2]}, want=want)


def test_inverse() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 22, "com.microsoft": 1]>
        g (float[2,3,3] x) => (float[2,3,3] y) { y = com.microsoft.Inverse(x) }
    """)
    x = _draw(2, 3, 3)
    np.testing.assert_allclose(backend.prepare(model).run([x])[0] @ x, np.tile(np.eye(3), (2, 1, 1)), atol=1e-4)
