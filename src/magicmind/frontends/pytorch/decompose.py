"""Operators without an importer that PyTorch itself can write with simpler ones.

PyTorch traces the operator on stand-ins without data, whose symbolic sizes stay symbolic, and the resulting graph is
walked in its place. So importers are needed only for what PyTorch does not take apart, and for what is better whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from magicmind.frontends.pytorch.importers import IMPORTERS
from magicmind.frontends.pytorch.values import Tensor, flatten, map_leaves
from magicmind.ir.dims import Expr

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from magicmind.frontends.pytorch.converter import Converter

_FIRST_HINT = 1031  # sizes that stand for symbolic dims while tracing: primes nobody writes as a fixed size
_IN_FULL = ("aten::randn", "aten::rand", "aten::bernoulli", "aten::multinomial")


def overload_of(schema: torch.FunctionSchema) -> Any:
    """The operator of a schema, None if PyTorch has none of this name."""
    namespace, _, name = schema.name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), name, None)
    return getattr(packet, schema.overload_name or "default", None)


def can_decompose(schema: torch.FunctionSchema) -> bool:
    """Whether PyTorch can write an operator with simpler ones."""
    overload = overload_of(schema)
    if overload is None or not isinstance(overload, torch._ops.OpOverload) or schema.name.startswith(_IN_FULL):
        return False
    return overload in _table() or torch._C._dispatch_has_kernel_for_dispatch_key(
        overload.name(),  # type: ignore[no-untyped-call]
        "CompositeImplicitAutograd",
    )


def decomposed(c: Converter, schema: torch.FunctionSchema, args: Sequence[Any]) -> tuple[GraphModule, list[Any]] | None:
    """A graph that does the same, and what to feed it; None where an argument only the run tells prevents that."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # a second's work to load, and rarely needed
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    if any(isinstance(leaf, Expr) for leaf in flatten(list(args))):
        return None
    overload, tensors = overload_of(schema), [leaf for leaf in flatten(list(args)) if isinstance(leaf, Tensor)]
    kinds = [a for a, value in zip(schema.arguments, args, strict=True) if isinstance(value, Tensor)]
    if any("Tensor" not in str(a.type) for a in kinds):
        return None  # a number that is computed
    hints: dict[str, int] = {}
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    fakes = [_standin(c, mode, t, hints) for t in tensors]

    def call(*inputs: torch.Tensor) -> Any:
        given = iter(inputs)
        filled = [map_leaves(lambda v: next(given) if isinstance(v, Tensor) else v, a) for a in args]
        named = {a.name: v for a, v in zip(schema.arguments, filled, strict=True) if a.kwarg_only}
        return overload(*(v for a, v in zip(schema.arguments, filled, strict=True) if not a.kwarg_only), **named)

    try:
        with torch.no_grad(), mode:
            graph = make_fx(call, decomposition_table=_table(), tracing_mode="real")(*fakes)
    except Exception:  # whatever PyTorch's code raises on stand-ins: what has no data to look at has no decomposition
        return None
    return graph, tensors


def _standin(c: Converter, mode: Any, tensor: Tensor, hints: dict[str, int]) -> torch.Tensor:
    """A tensor without data; equal symbolic dims get equal sizes, which PyTorch then takes for one symbol."""
    from torch.fx.experimental.symbolic_shapes import DimDynamic, StatelessSymbolicContext

    shape = c.shape(tensor)
    sizes = [d if isinstance(d, int) else hints.setdefault(str(d), _FIRST_HINT + 2 * len(hints)) for d in shape]
    kinds = [DimDynamic.STATIC if isinstance(d, int) else DimDynamic.DUCK for d in shape]
    meta = torch.empty(sizes, dtype=c.dtype(tensor), device="meta")
    found: torch.Tensor = mode.from_tensor(meta, symbolic_context=StatelessSymbolicContext(dynamic_sizes=kinds))
    return torch.empty_like(found, device="cpu")


@cache
def _table() -> dict[Any, Any]:
    """PyTorch's decompositions of what has no importer."""
    from torch._decomp import core_aten_decompositions, decomposition_table

    table = {
        **core_aten_decompositions(),
        **{op: f for op, f in decomposition_table.items() if "backward" not in str(op)},
    }
    return {
        op: function
        for op, function in table.items()
        if isinstance(op, torch._ops.OpOverload) and op._schema.name not in IMPORTERS
    }
