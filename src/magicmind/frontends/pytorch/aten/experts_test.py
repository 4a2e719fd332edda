"""Mixtures of experts as PyTorch's programs have them: rows sorted by their expert, and a product for each run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import magicmind

torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")
from torch import nn  # noqa: E402


class Experts(nn.Module):
    """Each of N rows of 8 goes to the better of its two of three experts."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gate = nn.Linear(8, 3, bias=False)
        self.experts = nn.Parameter(torch.randn(3, 8, 16))

    def forward(self, x: Any) -> Any:
        score, expert = torch.topk(torch.softmax(self.gate(x), -1), 2)
        order = torch.argsort(expert.flatten(), stable=True)
        ends = torch.cumsum(nn.functional.one_hot(expert.flatten(), 3).sum(0), 0).to(torch.int32)
        rows = torch._grouped_mm(x[order // 2], self.experts, offs=ends) * score.flatten()[order][:, None]
        return torch.zeros(x.shape[0], 16).index_add(0, order // 2, rows)


def test_experts() -> None:
    """Traced: PyTorch exports the product for bfloat16 only."""
    module, example = Experts().eval(), torch.randn(5, 8)
    graph = magicmind.parse(module, example_inputs=[example], input_shapes=[("n=1..32", 8)])
    session = magicmind.build(graph).session(threads=1)
    for rows in (5, 1, 17):
        x = torch.randn(rows, 8)
        found = session.run({graph.inputs[0].name: x.numpy()})["output"]
        np.testing.assert_allclose(found, module(x).detach().numpy(), atol=1e-5)
