"""Files that several tests of the facade parse."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """x [1, 3, 8, 8] -> Conv -> Mul by 2 -> ReduceMax, an int64 ArgMax beside it; only some nodes are named."""
    rng = np.random.default_rng(0)
    weights = helper.make_tensor("w", 1, [4, 3, 3, 3], rng.standard_normal(108).astype(np.float32))
    two = helper.make_tensor("two", 1, [], [2.0])
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv/first"),
        helper.make_node("Mul", ["c", "two"], ["m"]),
        helper.make_node("GlobalMaxPool", ["m"], ["pooled"], name="GlobalMaxPool_7"),
        helper.make_node("ArgMax", ["pooled"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(n, t, None) for n, t in (("pooled", 1), ("label", 7))],
        [weights, two],
    )
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


@pytest.fixture(scope="session")
def torch_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two convolutions, one of them depthwise, and a fully connected layer."""
    torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, groups=8)
            self.norm, self.fc = nn.BatchNorm2d(8), nn.Linear(8, 5)

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.norm(self.a(x)))
            z = torch.relu(self.b(y))
            return self.fc(z.mean((2, 3))), torch.sigmoid(z)

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("torch") / "net.pt"
    torch.jit.trace(Net().eval(), torch.zeros(1, 3, 8, 8)).save(str(path))
    return str(path)
