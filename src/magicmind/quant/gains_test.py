"""Power gains against noise that is put in and measured at the outputs."""

from __future__ import annotations

import numpy as np
import onnx_ir
import pytest

from magicmind.ops.reference import run_graph
from magicmind.passes.edit import add_constant
from magicmind.passes.infer_types import infer_types
from magicmind.quant.gains import power_gains
from magicmind.testing.check_pass import parse_model

RNG = np.random.default_rng(5)

MIDDLES = {
    "conv": "[m] m = Identity(x)",
    "concat": "[c] c = Concat<axis=1>(x, x2) [i] m = Gather<axis=1>(c, taken)",
    "average": "[m] m = AveragePool<kernel_shape=[2,2], strides=[2,2]>(x)",
    "sum": "[m] m = Add(x, x2)",
    "swapped": "[t] t = Transpose<perm=[0,1,3,2]>(x) [m] m = Gather<axis=1>(t, taken)",
}


def network(middle: str) -> onnx_ir.Model:
    """x [1, 4, 8, 8] is what gets the noise."""
    model = parse_model(
        f"""(float[1,4,8,8] x, float[1,4,8,8] x2, float[3,4,1,1] w3, int64[4] taken)
        => (float[1,3,?,?] y) {{
            {middle}
            [last] y = Conv(m, w3)
        }}""".replace("float[1,3,?,?] y", "float[1,3,4,4] y" if "Average" in middle else "float[1,3,8,8] y")
    )
    arrays = {
        "w3": RNG.standard_normal((3, 4, 1, 1)).astype(np.float32),
        "taken": np.array([2, 0, 5, 1] if "Concat" in middle else [2, 0, 3, 1]),
    }
    for value in list(model.graph.inputs)[2:]:
        name, value.name = value.name or "", None
        model.graph.inputs.remove(value)
        value.replace_all_uses_with(add_constant(model.graph, arrays[name], f"{name}.c"))
    infer_types(model)
    return model


@pytest.mark.parametrize("middle", MIDDLES)
def test_what_reaches_the_outputs(middle: str) -> None:
    model = network(MIDDLES[middle])
    value = model.graph.inputs[0]
    gains = power_gains(model.graph, {})[value]
    wanted = []
    for channel in range(4):
        noise = np.zeros((1, 4, 8, 8), np.float32)
        total = 0.0
        for _ in range(80):
            noise[0, channel] = RNG.standard_normal((8, 8))
            total += float((run_graph(model, {"x": noise, "x2": np.zeros_like(noise)})["y"] ** 2).sum()) / 80
        wanted.append(total / 64)
    shares = np.broadcast_to(gains.reshape(-1), (4,))
    np.testing.assert_allclose(shares, wanted, rtol=0.25)
