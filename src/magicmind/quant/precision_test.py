"""Modes, overrides by name or pattern, and what `computation_preference` keeps in float."""

from __future__ import annotations

import pytest

from magicmind.errors import PrecisionError
from magicmind.quant.precision import MODES, PrecisionPlan, mode_of
from magicmind.testing.check_pass import parse_model

NETWORK = """(float[1,3,8,8] x) => (float[1,3,8,8] y) <float[3,3,1,1] w = {1,2,3,4,5,6,7,8,9}> {
    [conv1] t = Conv(x, w)
    [relu1] u = Relu(t)
    [block_conv2] v = Conv(u, w)
    [block_conv3] y = Conv(v, w)
}"""


def bits(layers: dict[str, str] | None = None, preference: str = "auto", text: str = NETWORK) -> dict[str, int]:
    model = parse_model(text)
    plan = PrecisionPlan.of(model, MODES["qint8_mixed_float32"], layers, preference)
    return {node.name or "": plan.bits(node) for node in model.graph}


def test_both_spellings() -> None:
    assert mode_of("forced_float16") is mode_of("force_float16") is MODES["force_float16"]
    assert mode_of("qint16_mixed_float16").bits == 16
    with pytest.raises(PrecisionError, match=r"'int8' is not supported.*\n.*qint8_mixed_float16"):
        mode_of("int8")
    with pytest.raises(PrecisionError, match="precision None is not supported"):
        mode_of(None)


def test_products_are_integers() -> None:
    assert bits() == {"conv1": 8, "relu1": 0, "block_conv2": 8, "block_conv3": 8}


def test_an_exact_name_counts_more_than_patterns_and_the_last_of_these_most() -> None:
    layers = {"block_conv3": "qint16_mixed_float32", "*": "qint16_mixed_float32", "block_*": "force_float32"}
    assert bits(layers) == {"conv1": 16, "relu1": 0, "block_conv2": 0, "block_conv3": 16}


def test_the_first_and_the_last_product_stay_floats_for_high_precision() -> None:
    assert bits(preference="high_precision") == {"conv1": 0, "relu1": 0, "block_conv2": 8, "block_conv3": 0}


def test_what_is_fused_is_as_its_named_parts_say() -> None:
    plan = PrecisionPlan.of(parse_model(NETWORK), MODES["force_float32"], {"conv1": "force_float16"})
    assert plan.floats(["conv1", "relu1"]) == "float16" and plan.floats(["block_conv2"]) == "float32"
    both = PrecisionPlan.of(parse_model(NETWORK), MODES["qint8_mixed_float16"], {"relu1": "force_float32"})
    assert both.floats(["conv1", "relu1"]) == "float32"


ATTENTION = """(float[2,4,8] q, float[2,8,4] k, float[2,4,8] v) => (float[2,4,8] y) {
    [scores] s = MatMul(q, k)
    [soft] p = Softmax(s)
    [values] y = MatMul(p, v)
}"""


def test_attention_stays_float_unless_all_shall_be_fast() -> None:
    assert bits(text=ATTENTION) == {"scores": 0, "soft": 0, "values": 0}
    assert bits(text=ATTENTION, preference="fast") == {"scores": 8, "soft": 0, "values": 8}


def test_unknown_layers_and_preferences() -> None:
    with pytest.raises(PrecisionError, match=r"no layer 'block_conv4'.*\n.*close: block_conv"):
        bits({"block_conv4": "force_float32"})
    with pytest.raises(PrecisionError, match="'precise' is not supported"):
        bits(preference="precise")
    with pytest.raises(PrecisionError, match="'float8' is not supported"):
        bits({"conv1": "float8"})
