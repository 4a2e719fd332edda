"""Calls operators: by torch where all is known, else by importers; common to TorchScript and exported programs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import onnx_ir
import torch

from magicmind.errors import Error, UnsupportedOperatorError
from magicmind.frontends.network import Network
from magicmind.frontends.pytorch.decompose import can_decompose, decomposed, overload_of
from magicmind.frontends.pytorch.dtypes import from_onnx, onnx_dtype
from magicmind.frontends.pytorch.importers import ON_COMPLEX, ON_PARTS, PYTHON, find
from magicmind.frontends.pytorch.values import Body, Complex, Payload, Quantised, Tensor, flatten, is_known, map_leaves
from magicmind.ir.dims import Dim, Expr
from magicmind.ops.emitter import Value
from magicmind.ops.registry import contents_of

_RANDOM = ("aten::rand", "aten::dropout", "aten::bernoulli", "aten::multinomial", "aten::normal", "aten::uniform")
_FOLDED = ("aten::", "quantized_decomposed::quantize_", "quantized_decomposed::choose_")
"""What torch computes where all arguments are known; what is quantised already stays so, as kernels want it."""
_ON_NUMBERS: dict[str, Callable[[Any, Any], Any]] = {
    "aten::add": operator.add,
    "aten::sub": operator.sub,
    "aten::mul": operator.mul,
    "aten::floordiv": operator.floordiv,
    "aten::remainder": operator.mod,
}
"""What works on sizes as it does on numbers."""


class Missing(UnsupportedOperatorError):
    """An operator has no importer; who walks the program says which others have none."""


class Converter:
    """The graph being made, and what importers need of it."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self._root = net
        self.state: dict[str, Any] = {}  # attributes, by path, as the program has left them
        self.assigned: dict[str, None] = {}  # those it has set
        self.sums: dict[int, tuple[Payload, int, Value]] = {}  # id of a number the run tells -> what it is the sum of
        self.bodies: list[Body] = []  # of loops that depend on data, the innermost last
        self._journals: list[dict[int, tuple[Tensor, Payload]]] = []
        self._constants: dict[tuple[int, ...], tuple[torch.Tensor, Value]] = {}

    # ------------------------------------------------------------------------------------------------------- values

    def value(self, x: Any, dtype: torch.dtype | None = None) -> Value:
        """A tensor, number or size as a value of the graph; numbers are int64, float32 or bool unless `dtype` says."""
        if isinstance(x, Value):
            return x
        if isinstance(x, Quantised):
            raise UnsupportedOperatorError("a quantised tensor where a float one is wanted", hint="dequantise it")
        if isinstance(x, Tensor):
            found = x.payload
            return found if isinstance(found, Value) else self._constant(found)
        if isinstance(x, torch.Tensor):
            return self._constant(x)
        if isinstance(x, Expr):
            return self.net.squeeze(self.net.size(x), 0)
        if isinstance(x, (list, tuple)):
            return self.vector(x)
        default = np.bool_ if isinstance(x, bool) else np.int64 if isinstance(x, int) else np.float32
        return self.net.const(x, default if dtype is None else onnx_dtype(dtype).numpy())

    def vector(self, numbers: Sequence[Any]) -> Value:
        """int64 vector of numbers, sizes and numbers that the run tells."""
        if all(isinstance(n, (int, Expr)) for n in numbers):
            return self.net.shape_vector(*numbers)
        parts = [self.net.unsqueeze(self.value(n), 0) for n in numbers]
        return self.net.op("Concat", *parts, axis=0)

    def _constant(self, tensor: torch.Tensor) -> Value:
        """A constant, once for every tensor of the file."""
        key = (tensor.data_ptr(), *tensor.shape, *tensor.stride(), hash(tensor.dtype))
        if tensor.numel() and key in self._constants:
            return self._constants[key][1]
        value = self._root.const(to_numpy(tensor))  # every branch may read it
        self._constants[key] = (tensor, value)  # the tensor keeps its address taken
        return value

    # -------------------------------------------------------------------------------------------------------- types

    def shape(self, x: Any) -> tuple[Dim, ...]:
        """The shape of a tensor; () of a number."""
        if isinstance(x, Tensor):
            x = x.payload
        if isinstance(x, torch.Tensor):
            return tuple(x.shape)
        return self.net.shape(x) if isinstance(x, Value) else ()

    def rank(self, x: Any) -> int:
        """The number of dims."""
        return len(self.shape(x))

    def dtype(self, x: Any) -> torch.dtype:
        """The dtype of a tensor."""
        if isinstance(x, Tensor):
            x = x.payload
        if isinstance(x, torch.Tensor):
            return x.dtype
        if isinstance(x, Value):
            return from_onnx(self.net.type(x).dtype)
        return torch.bool if isinstance(x, bool) else torch.float32 if isinstance(x, float) else torch.int64

    def cast(self, x: Any, dtype: torch.dtype) -> Value:
        """The tensor with another dtype."""
        return self.net.cast(self.value(x), onnx_dtype(dtype))

    def promoted(self, *operands: Any) -> list[Value]:
        """The operands with the dtype that PyTorch's promotion gives them."""
        dtype = self.result_type(*operands)
        return [self.value(x, dtype) if isinstance(x, (bool, int, float)) else self.cast(x, dtype) for x in operands]

    def result_type(self, *operands: Any) -> torch.dtype:
        """PyTorch's promotion: numbers and tensors of rank 0 give way within their category."""
        standins = [self._standin(x) for x in operands]
        result: Any = standins[0]
        for other in standins[1:]:
            result = torch.empty((1,) * self._weight(result, other), dtype=torch.result_type(result, other))
        return result.dtype if isinstance(result, torch.Tensor) else self.dtype(result)

    @staticmethod
    def _weight(a: Any, b: Any) -> int:
        return int(any(isinstance(x, torch.Tensor) and x.ndim > 0 for x in (a, b)))

    def _standin(self, x: Any) -> Any:
        if isinstance(x, (bool, int, float)):
            return x
        if isinstance(x, Expr):
            return 1
        return torch.empty((1,) * min(self.rank(x), 1), dtype=self.dtype(x))

    # -------------------------------------------------------------------------------------------------------- calls

    def call(self, name: str, args: Sequence[Any], schema: torch.FunctionSchema | None = None) -> Any:
        """The results of an operator.  Raises Missing when it has no importer."""
        sizes = self._on_sizes(name, args)
        if sizes is not None:
            return sizes
        if schema is not None and (on_lists := find(f"list::{name.partition('::')[2]}")) and _takes_a_list(schema):
            return on_lists(self, *args)
        known = is_known(args)
        if not known and any(map(_is_complex, flatten(list(args)))):
            return self._on_complex(name, [map_leaves(_as_pair, a) for a in args], schema)
        if name.endswith("_") and not name.endswith("__") and find(name) is None:
            result = self.call(name[:-1], args, None if schema is None else functional(schema))
            self._put_any(args[0], result)
            return args[0]
        if not known and any(map(_is_quantised, flatten(list(args)))):
            return self._on_quantised(name, args, schema)
        ours = name.startswith(_FOLDED) and name not in PYTHON
        if schema is not None and ours and known and not name.startswith(_RANDOM):
            return self._fold(name, args, schema)
        importer = find(name)
        if importer is None:
            return self._taken_apart(name, args, schema)
        return wrap(importer(self, *args))

    def _taken_apart(self, name: str, args: Sequence[Any], schema: torch.FunctionSchema | None) -> Any:
        """The results of an operator without an importer, by the simpler ones PyTorch writes it with."""
        from magicmind.frontends.pytorch.exported import Walk  # walks graphs by calling this class

        found = decomposed(self, schema, args) if schema is not None and can_decompose(schema) else None
        if found is None:
            raise Missing(f"{name} has no importer")
        try:
            return Walk(self, named=False).run(*found)
        except Missing as error:
            raise Missing(f"{name} has no importer") from error

    def _on_complex(self, name: str, args: Sequence[Any], schema: torch.FunctionSchema | None) -> Any:
        """An operator on complex tensors."""
        if name in ON_COMPLEX:
            return wrap(ON_COMPLEX[name](self, *args))
        parts = [[map_leaves(part, a) for a in args] for part in (_real, _imaginary)]
        if name in ("aten::size", "aten::sym_size", "aten::dim", "aten::len", "aten::numel"):
            return self.call(name, parts[0], schema)
        if name == "aten::is_complex":
            return True
        if name not in ON_PARTS:
            raise UnsupportedOperatorError(f"{name} of complex tensors")
        re, im = (self.call(name, half, schema) for half in parts)
        return (
            [Complex(a, b) for a, b in zip(re, im, strict=True)] if isinstance(re, (list, tuple)) else Complex(re, im)
        )

    def _on_quantised(self, name: str, args: Sequence[Any], schema: torch.FunctionSchema | None) -> Any:
        """An operator on quantised tensors."""
        from magicmind.frontends.pytorch import quantised  # calls this class

        ours = [map_leaves(quantised.constant, a) for a in args]
        if not name.startswith("quantized::"):
            return wrap(quantised.call(self, name, ours, schema))
        importer = find(name)
        if importer is None:
            raise Missing(f"{name} has no importer")
        return wrap(importer(self, *ours))

    def _put_any(self, target: Any, result: Any) -> None:
        """Changes a tensor in place; a quantised one keeps its steps."""
        if isinstance(target, Quantised):
            if (result.scale, result.zero) != (target.scale, target.zero):
                raise UnsupportedOperatorError("an operator in place that changes the scale of a quantised tensor")
            target, result = target.whole, result.whole
        self.put(target, result)

    @contextmanager
    def journal(self) -> Iterator[dict[int, tuple[Tensor, Payload]]]:
        """Notes what tensors were before they are changed in place, by their `id`."""
        self._journals.append({})
        try:
            yield self._journals[-1]
        finally:
            inner = self._journals.pop()
            if self._journals:
                self._journals[-1] = inner | self._journals[-1]

    def put(self, target: Tensor, result: Tensor) -> None:
        """Changes a tensor in place; it keeps its dtype and shape."""
        if self._journals:
            for tensor in target.lineage:
                self._journals[-1].setdefault(id(tensor), (tensor, tensor.payload))
        if self.dtype(target) != self.dtype(result):
            result = Tensor(self.cast(result, self.dtype(target)))
        if self.shape(target) != self.shape(result):
            result = Tensor(self.net.op("Expand", self.value(result), self.net.shape_vector(*self.shape(target))))
        target.replace(result.payload)

    def _on_sizes(self, name: str, args: Sequence[Any]) -> Any:
        """Arithmetic on sizes that are no numbers; None for all else."""
        function = _ON_NUMBERS.get(name)
        numbers = args[:2]
        if function is None or len(numbers) < 2 or not any(isinstance(a, Expr) for a in numbers):
            return None
        if not all(isinstance(a, (int, Expr)) and not isinstance(a, bool) for a in numbers):
            return None
        return function(*numbers)

    def known_size(self, x: Any) -> Dim | None:
        """What is known of the only element of an integer tensor."""
        contents = contents_of(self.value(x))
        return None if contents is None or contents.size != 1 else contents.reshape(-1)[0]

    def _fold(self, name: str, args: Sequence[Any], schema: torch.FunctionSchema) -> Any:
        """Runs an operator now."""
        overload = overload_of(schema)
        bare = [map_leaves(lambda v: v.constant if isinstance(v, Tensor) else v, a) for a in args]
        named = {a.name: v for a, v in zip(schema.arguments, bare, strict=True) if a.kwarg_only}
        positional = [v for a, v in zip(schema.arguments, bare, strict=True) if not a.kwarg_only]
        try:
            with torch.no_grad():
                result = overload(*positional, **named)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise Error(f"{name} fails on constants: {str(error).splitlines()[0]}") from error
        return wrap(result)


def wrap(result: Any) -> Any:
    """Results as the program's values."""
    return map_leaves(lambda v: Tensor(v) if isinstance(v, (Value, torch.Tensor)) else v, result)


@cache
def functional(schema: torch.FunctionSchema) -> torch.FunctionSchema | None:
    """The schema of the operator without the trailing underscore; None where there is none of its form."""
    name = schema.name.removesuffix("_")
    for candidate in torch._C._jit_get_schemas_for_operator(name):
        if [str(a.type) for a in candidate.arguments] == [str(a.type) for a in schema.arguments]:
            return candidate
    return None


def _takes_a_list(schema: torch.FunctionSchema) -> bool:
    """Whether one of the first two arguments is a list of anything, which no operator of torch can be called with."""
    return any(str(a.type) == "List[t]" for a in schema.arguments[:2])


def _is_complex(leaf: Any) -> bool:
    return isinstance(leaf, Complex) or (
        isinstance(leaf, Tensor) and leaf.constant is not None and leaf.constant.is_complex()
    )


def _is_quantised(leaf: Any) -> bool:
    return isinstance(leaf, Quantised) or (
        isinstance(leaf, Tensor) and leaf.constant is not None and leaf.constant.is_quantized
    )


def _real(leaf: Any) -> Any:
    return leaf.re if isinstance(leaf, Complex) else leaf


def _imaginary(leaf: Any) -> Any:
    return leaf.im if isinstance(leaf, Complex) else leaf


def _as_pair(leaf: Any) -> Any:
    """A complex constant as its two parts."""
    if not _is_complex(leaf) or isinstance(leaf, Complex):
        return leaf
    return Complex(Tensor(leaf.constant.real.contiguous()), Tensor(leaf.constant.imag.contiguous()))


def to_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """The elements, without a copy where torch allows it."""
    plain = tensor.detach().cpu()
    if plain.dtype == torch.bfloat16:
        return plain.contiguous().view(torch.int16).numpy().view(onnx_ir.DataType.BFLOAT16.numpy())
    return plain.numpy()


__all__ = ["Converter", "Missing", "Payload", "flatten", "functional", "to_numpy", "wrap"]
