"""PyTorch modules to traced files: weights from a checkpoint, or seeded random ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from magicmind.errors import ModelFormatError
from magicmind.files import draft_of

_WRAPPERS = ("state_dict", "state_dict_ema", "model")
_PREFIX = "module."


def load_checkpoint(net: nn.Module, path: Path) -> None:
    """Fills `net` from a file that holds its weights by name, perhaps wrapped and with `module.` before the names.

    Raises ModelFormatError for a file that is none, and for missing, unexpected or misshapen weights (all at once).
    """
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises for damaged files has no common base
        raise ModelFormatError(f"{path} is no checkpoint of PyTorch: {error}") from error
    state = unwrapped(found)
    wanted = net.state_dict()
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = sorted(wanted.keys() - state.keys() - counters)
    unexpected = sorted(state.keys() - wanted.keys())
    misshapen = [
        f"{name} {list(state[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    wrong = (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
    if any(names for _, names in wrong):
        text = "; ".join(f"{len(names)} {what}: {', '.join(names[:5])}" for what, names in wrong if names)
        raise ModelFormatError(f"{path} does not hold the weights of this network: {text}")
    net.load_state_dict(state, strict=False)


def unwrapped(found: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint by the network's names."""
    for key in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise ModelFormatError(f"a checkpoint is a dict of tensors, not {type(found).__name__}")
    return {name.removeprefix(_PREFIX): value for name, value in found.items() if isinstance(value, Tensor)}


def randomise(make: Callable[[], nn.Module], seed: int, shape: tuple[int, ...]) -> nn.Module:
    """A network with seeded weights whose activations keep their scale for inputs like N(0, 1) of this shape.

    Weights have the variance 1 / (inputs of a sum); normalisations fit one call, see `_fit`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make().eval()
        hooks = []
        for part in net.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                nn.init.normal_(part.weight, std=1 / math.sqrt(part.weight[0].numel()))
            elif isinstance(part, nn.BatchNorm2d):
                nn.init.uniform_(part.weight, 0.8, 1.2)
                nn.init.normal_(part.bias, std=0.1)
                hooks.append(part.register_forward_pre_hook(_fit))
        with torch.no_grad():
            net(torch.randn(shape))
    for hook in hooks:
        hook.remove()
    return net


def _fit(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    """Sets mean and variance so that the second moment of what comes out is 1.

    Half of the true mean is left in: taking all of it out enlarges differences in every layer of a random network, and
    rounding errors with them; taking none leaves outputs that hardly depend on the picture.
    """
    (x,) = inputs
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    mean = x.mean((0, 2, 3))
    norm.running_mean.copy_(mean / 2)
    norm.running_var.copy_(x.var((0, 2, 3), correction=0) + (mean / 2) ** 2)


def trace(net: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Writes the network as TorchScript, traced with one input of this shape; other batches work as well."""
    net.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        traced: Any = torch.jit.trace(net, torch.randn(shape), check_trace=False)  # type: ignore[no-untyped-call]
    with draft_of(path) as draft:
        traced.save(str(draft))
