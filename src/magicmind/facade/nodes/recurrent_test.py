"""Recurrent nodes of several layers and both directions against PyTorch's, and masks against steps by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import run

Array = np.ndarray[Any, np.dtype[Any]]
T, N, I, H = 5, 2, 4, 3
X = np.random.default_rng(0).standard_normal((T, N, I)).astype(np.float32)
FIXED = '{"graph_shape_mutable": false}'


def const(network: Any, array: Array) -> Any:
    return network.add_i_const_node(mm.DataType.FLOAT32, mm.Dims(array.shape), array).get_output(0)


def parameters(module: torch.nn.Module, kind: str, split: int) -> list[Array]:
    """Those of all layers and directions in order: of the input, then of the state, each in its gates."""
    found: list[Array] = []
    names = [name for name, _ in module.named_parameters() if name.startswith(f"{kind}_ih")]
    for name in names:
        for which in (name, name.replace("_ih", "_hh")):
            found += np.split(getattr(module, which).detach().numpy(), split)
    return found


def outcome(row: str, state: Array | None, weights: list[Array], biases: list[Array], **settings: Any) -> list[Array]:
    network: Any = mm.Network()
    x = network.add_input(mm.DataType.FLOAT32, mm.Dims(X.shape))
    first = None if state is None else const(network, state)
    arguments = (x, None, first) if row == "rnn" else (x, first)
    node = getattr(network, f"add_i_{row}_node")(
        *arguments, [const(network, w) for w in weights], [const(network, b) for b in biases] or None
    )
    for name, value in settings.items():
        assert getattr(node, f"set_{name}")(value).ok()
    for i in range(node.get_output_count()):
        assert network.mark_output(node.get_output(i)).ok()
    return run(network, X, config=FIXED)


@pytest.mark.parametrize(("layers", "both", "biased"), [(1, False, True), (1, True, False), (2, True, True)])
def test_rnn_of_pytorch(layers: int, both: bool, biased: bool) -> None:
    torch.manual_seed(0)
    module = torch.nn.RNN(I, H, layers, bidirectional=both, bias=biased)
    state = np.random.default_rng(1).standard_normal((layers * (1 + both), N, H)).astype(np.float32)
    found = outcome(
        "rnn", state, parameters(module, "weight", 1), parameters(module, "bias", 1) if biased else [],
        num_layers=layers, bidirectional=both, bias_mode="DOUBLE_BIAS" if biased else mm.IRNNBiasMode.NO_BIAS,
    )  # fmt: skip
    wanted = module(torch.from_numpy(X), torch.from_numpy(state))
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layers", "stated"), [(1, True), (2, False)])
def test_gru_of_pytorch_in_both_directions(layers: int, stated: bool) -> None:
    torch.manual_seed(0)
    module = torch.nn.GRU(I, H, layers, bidirectional=True)
    state = np.random.default_rng(1).standard_normal((2 * layers, N, H)).astype(np.float32) if stated else None
    found = outcome(
        "gru", state, parameters(module, "weight", 3), parameters(module, "bias", 3),
        num_layers=layers, direction="BIDIRECTIONAL",
    )  # fmt: skip
    wanted = module(torch.from_numpy(X), None if state is None else torch.from_numpy(state))
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_gru_backwards_is_the_second_direction() -> None:
    torch.manual_seed(0)
    module = torch.nn.GRU(I, H, bidirectional=True)
    weights, biases = parameters(module, "weight", 3), parameters(module, "bias", 3)
    found = outcome("gru", None, weights[6:], biases[6:], direction="BACKWARD")
    wanted = module(torch.from_numpy(X))[0].detach().numpy()[..., H:]
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-5)


def test_a_mask_cuts_sequences_in_both_directions() -> None:
    """Each column of the mask cuts the five steps into sequences; each of them is run alone by PyTorch."""
    mask = np.array([[0, 0], [1, 1], [0, 1], [1, 0], [1, 1]], np.float32)
    torch.manual_seed(0)
    module = torch.nn.RNN(I, H, bidirectional=True, bias=False)
    network: Any = mm.Network()
    x = network.add_input(mm.DataType.FLOAT32, mm.Dims(X.shape))
    weights = [const(network, w) for w in parameters(module, "weight", 1)]
    node = network.add_i_rnn_node(x, const(network, mask), None, weights, None)
    assert node.set_bidirectional(True).ok() and network.mark_output(node).ok()
    found = run(network, X, config=FIXED)[0]
    for column in range(N):
        begins = [*np.flatnonzero(mask[:, column] == 0), T]
        for first, end in itertools.pairwise(begins):
            wanted = module(torch.from_numpy(X[first:end, column]))[0].detach().numpy()
            np.testing.assert_allclose(found[first:end, column], wanted, rtol=1e-4, atol=1e-5)


def test_an_output_layer_reads_both_directions() -> None:
    torch.manual_seed(0)
    module = torch.nn.RNN(I, H, bidirectional=True, bias=False)
    out = np.random.default_rng(1).standard_normal((2, 2 * H)).astype(np.float32)
    found = outcome(
        "rnn", None, [*parameters(module, "weight", 1), out], [], bidirectional=True, output_mode="HAS_OUT_LAYER"
    )  # fmt: skip
    wanted = np.tanh(module(torch.from_numpy(X))[0].detach().numpy() @ out.T)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-5)
