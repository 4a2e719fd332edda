"""Python's own operators on numbers, lists, dicts and texts, as TorchScript writes them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.converter import Converter
from magicmind.frontends.pytorch.dtypes import dtype_number, torch_dtype
from magicmind.frontends.pytorch.importers import aten
from magicmind.frontends.pytorch.values import Items, Tensor
from magicmind.ir.dims import Expr, bounds, dim_max, dim_min
from magicmind.ops.emitter import Value

_COMPARISONS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "eq": ("Equal", operator.eq),
    "lt": ("Less", operator.lt),
    "gt": ("Greater", operator.gt),
    "le": ("LessOrEqual", operator.le),
    "ge": ("GreaterOrEqual", operator.ge),
}


def compare(c: Converter, name: str, a: Any, b: Any) -> Any:
    """A comparison of numbers, sizes, texts, lists or tensors; a value of the graph where only the run tells."""
    op_type, function = _COMPARISONS[name]
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        x, y = c.promoted(a, b)
        return c.net.op(op_type, x, y)
    if isinstance(a, (list, tuple)) or not (isinstance(a, Expr) or isinstance(b, Expr)):
        return function(a, b)
    low, high = bounds(a - b, c.net.ranges)
    decided = {
        "eq": True if low == high == 0 else False if low > 0 or (high is not None and high < 0) else None,
        "lt": False if low >= 0 else True if high is not None and high < 0 else None,
        "gt": True if low > 0 else False if high is not None and high <= 0 else None,
        "le": False if low > 0 else True if high is not None and high <= 0 else None,
        "ge": True if low >= 0 else False if high is not None and high < 0 else None,
    }[name]
    return c.net.op(op_type, c.value(a), c.value(b)) if decided is None else decided


def _comparison(name: str) -> Callable[[Converter, Any, Any], Any]:
    return lambda c, a, b: compare(c, name, a, b)


for _name in _COMPARISONS:
    aten(_name)(_comparison(_name))


@aten("ne")
def ne(c: Converter, a: Any, b: Any) -> Any:
    equal = compare(c, "eq", a, b)
    return c.net.op("Not", equal) if isinstance(equal, Value) else not equal


@aten("__not__", python=True)
def not_(c: Converter, a: Any) -> Any:
    return c.net.op("Not", c.cast(a, torch.bool)) if _waits(a) else not _plain(a)


@aten("__is__", python=True)
def is_(c: Converter, a: Any, b: Any) -> bool:
    return a is b or ((a is None) == (b is None) and not isinstance(a, Tensor) and bool(a == b))


@aten("__isnot__", python=True)
def is_not(c: Converter, a: Any, b: Any) -> bool:
    return not is_(c, a, b)


def _waits(a: Any) -> bool:
    """Whether only the run tells a number."""
    return isinstance(a, Expr) or (isinstance(a, Tensor) and a.constant is None)


def _plain(a: Any) -> Any:
    """A known number as Python's."""
    return a.constant.item() if isinstance(a, Tensor) and a.constant is not None else a


# ----------------------------------------------------------------------------------------------------------- numbers


@aten("Int", "aten::IntImplicit", python=True)
def to_int(c: Converter, a: Any) -> Any:
    if isinstance(a, Expr):
        return a
    if not _waits(a):
        return int(_plain(a))
    known = c.known_size(a)
    return c.cast(c.net.reshape(c.value(a), c.net.const([], "int64")), torch.int64) if known is None else known


@aten("Float", "aten::FloatImplicit", python=True)
def to_float(c: Converter, a: Any) -> Any:
    return c.cast(a, torch.float32) if _waits(a) else float(_plain(a))


@aten("Bool", python=True)
def to_bool(c: Converter, a: Any) -> Any:
    if isinstance(a, Expr):
        return compare(c, "gt", a, 0)
    return c.cast(a, torch.bool) if _waits(a) else bool(_plain(a))


@aten("ScalarImplicit", "aten::item", "aten::_local_scalar_dense", python=True)
def scalar(c: Converter, a: Any) -> Any:
    return c.value(a) if _waits(a) else _plain(a)


@aten("prim::NumToTensor", "aten::scalar_tensor", "aten::tensor", "aten::as_tensor", python=True)
def tensor(c: Converter, a: Any, *settings: Any) -> Any:
    value = c.value(a) if isinstance(a, (Tensor, Expr)) or _nested_waits(a) else torch.tensor(_unboxed(a))
    dtype = next((s for s in settings if isinstance(s, (int, torch.dtype)) and not isinstance(s, bool)), None)
    if dtype is None:
        return value
    return c.cast(value, torch_dtype(dtype)) if isinstance(value, Value) else value.to(torch_dtype(dtype))


def _nested_waits(a: Any) -> bool:
    return isinstance(a, (list, tuple)) and any(_waits(i) or _nested_waits(i) for i in a)


def _unboxed(a: Any) -> Any:
    return [_unboxed(i) for i in a] if isinstance(a, (list, tuple)) else _plain(a)


@aten("neg")
def neg(c: Converter, a: Any) -> Any:
    return c.net.op("Neg", c.value(a)) if isinstance(a, Tensor) else -a


@aten("ceil")
def ceil(c: Converter, a: Any) -> Any:
    if isinstance(a, (Expr, int)):
        return a
    return c.net.op("Ceil", c.value(a)) if c.dtype(a).is_floating_point else c.value(a)


@aten("floor")
def floor(c: Converter, a: Any) -> Any:
    if isinstance(a, (Expr, int)):
        return a
    return c.net.op("Floor", c.value(a)) if c.dtype(a).is_floating_point else c.value(a)


def _extremum(c: Converter, args: tuple[Any, ...], sizes: Callable[[Any, Any], Any], op_type: str) -> Any:
    """The largest or smallest of a list, or of two numbers."""
    items = args[0] if len(args) == 1 else args
    if stacked(items) is not None:
        raise UnsupportedOperatorError("min and max of a list that only the run tells")

    def of_two(a: Any, b: Any) -> Any:
        if not (_waits(a) or _waits(b)):
            return (max if op_type == "Max" else min)(_plain(a), _plain(b))
        return c.net.op(op_type, *c.promoted(a, b)) if isinstance(a, Tensor) or isinstance(b, Tensor) else sizes(a, b)

    return reduce(of_two, items)


@aten("prim::max", python=True)
def largest(c: Converter, *args: Any) -> Any:
    return _extremum(c, args, dim_max, "Max")


@aten("prim::min", python=True)
def smallest(c: Converter, *args: Any) -> Any:
    return _extremum(c, args, dim_min, "Min")


@aten("__range_length", python=True)
def range_length(c: Converter, first: Any, last: Any, step: Any) -> Any:
    """How many turns a loop over a range takes."""
    if any(map(_waits, (first, last, step))):
        raise UnsupportedOperatorError("a loop over a range whose ends or step are not known before the run")
    return len(range(_plain(first), _plain(last), _plain(step)))


@aten("__derive_index", python=True)
def derive_index(c: Converter, turn: Any, first: Any, step: Any) -> Any:
    """What a loop over a range counts in a turn."""
    if not isinstance(turn, Tensor) and not isinstance(first, Tensor):
        return first + turn * step
    return c.net.op("Add", c.value(first), c.net.op("Mul", c.value(turn), c.value(step)))


@aten("math::sqrt", "aten::sqrt_number", python=True)
def sqrt_number(c: Converter, a: Any) -> Any:
    return math.sqrt(_plain(a))


# ------------------------------------------------------------------------------------------------- lists and texts


@aten("len", python=True)
def length(c: Converter, a: Any) -> Any:
    if stacked(a) is not None:
        return c.shape(stacked(a))[0]
    return c.shape(a)[0] if isinstance(a, Tensor) else len(a)


@aten("append", python=True)
def append(c: Converter, a: Items, item: Any) -> Any:
    if stacked(a) is not None:
        raise UnsupportedOperatorError("a list grows after a loop that depends on data has filled it")
    if not c.bodies or any(a is made for made in c.bodies[-1].made):
        a.append(item)
        return a
    if a or id(a) in c.bodies[-1].grown or not isinstance(item, Tensor):
        raise UnsupportedOperatorError("in a loop that depends on data a list grows by other than one tensor each turn")
    c.bodies[-1].grown[id(a)] = (a, item)
    return a


def stacked(a: Any) -> Tensor | None:
    """What a loop that depends on data has put into a list."""
    return a.stacked if isinstance(a, Items) else None


@aten("extend", python=True)
def extend(c: Converter, a: list[Any], items: list[Any]) -> Any:
    a.extend(items)
    return ()


@aten("list::add_", python=True)
def extend_in_place(c: Converter, a: list[Any], items: list[Any]) -> Any:
    a.extend(items)
    return a


@aten("insert", python=True)
def insert(c: Converter, a: list[Any], at: int, item: Any) -> Any:
    a.insert(at, item)
    return ()


@aten("pop", python=True)
def pop(c: Converter, a: list[Any], *at: int) -> Any:
    return a.pop(*at)


def _new(c: Converter, *lists: Any) -> Items:
    """A list with the items of others."""
    if any(stacked(a) is not None for a in lists):
        raise UnsupportedOperatorError("a list that a loop that depends on data has filled is copied or joined")
    made = Items(item for a in lists for item in a)
    if c.bodies:
        c.bodies[-1].made.append(made)
    return made


@aten("list", "list::copy", "list::add", python=True)
def list_(c: Converter, *lists: Any) -> Any:
    return _new(c, *lists)


@aten("list::mul", python=True)
def repeat_list(c: Converter, a: Any, b: Any) -> Any:
    items, count = (a, b) if isinstance(a, (list, tuple)) else (b, a)
    if _waits(count):
        raise UnsupportedOperatorError("a list is repeated a number of times that is not known before the run")
    return _new(c, *[items] * _plain(count))


@aten("list::reverse", python=True)
def reverse_list(c: Converter, a: list[Any]) -> Any:
    a.reverse()
    return ()


@aten("list::clear", python=True)
def clear_list(c: Converter, a: list[Any]) -> Any:
    a.clear()
    return ()


@aten("__getitem__", python=True)
def getitem(c: Converter, a: Any, at: Any) -> Any:
    if (all_ := stacked(a)) is not None:
        return c.net.op("Gather", c.value(all_), c.value(at), axis=0)
    if _waits(at):
        raise UnsupportedOperatorError("the position in a list is only known at run time")
    return a[_plain(at)]


@aten("_set_item", python=True)
def set_item(c: Converter, a: Any, at: Any, item: Any) -> Any:
    a[_plain(at)] = item
    return a


@aten("__contains__", python=True)
def contains(c: Converter, a: Any, item: Any) -> bool:
    return item in a


@aten("dict", python=True)
def dict_(c: Converter, *pairs: Any) -> dict[Any, Any]:
    return dict(*pairs)


@aten("update", python=True)
def update(c: Converter, a: dict[Any, Any], other: dict[Any, Any]) -> Any:
    a.update(other)
    return ()


@aten("keys", python=True)
def keys(c: Converter, a: dict[Any, Any]) -> list[Any]:
    return list(a)


@aten("values", python=True)
def values(c: Converter, a: dict[Any, Any]) -> list[Any]:
    return list(a.values())


@aten("items", python=True)
def items(c: Converter, a: dict[Any, Any]) -> list[Any]:
    return list(a.items())


@aten("format", "aten::percentFormat", python=True)
def format_(c: Converter, text: str, *args: Any) -> str:
    return text.replace("{}", "%s") % args if text.count("{}") == len(args) else text


@aten("str", python=True)
def str_(c: Converter, a: Any) -> str:
    return str(a)


@aten("warn", python=True)
def warn(c: Converter, *args: Any) -> Any:
    return ()


# -------------------------------------------------------------------------------------------------- facts of tensors


@aten("size", "aten::sym_size", python=True)
def size(c: Converter, a: Tensor, *dim: int) -> Any:
    shape = c.shape(a)
    return shape[dim[0]] if dim else list(shape)


@aten("_shape_as_tensor", python=True)
def shape_as_tensor(c: Converter, a: Tensor) -> Any:
    return c.net.shape_vector(*c.shape(a))


@aten("dim", "prim::dim", python=True)
def dim(c: Converter, a: Tensor) -> int:
    return c.rank(a)


@aten("numel", "aten::sym_numel", python=True)
def numel(c: Converter, a: Tensor) -> Any:
    total: Any = 1
    for d in c.shape(a):
        total = total * d
    return total


@aten("prim::dtype", python=True)
def dtype(c: Converter, a: Tensor) -> int:
    return dtype_number(c.net.type(c.value(a)).dtype)


@aten("is_floating_point", python=True)
def is_floating_point(c: Converter, a: Tensor) -> bool:
    return c.dtype(a).is_floating_point


@aten("prim::device", "prim::layout", python=True)
def device(c: Converter, a: Tensor) -> Any:
    return torch.device("cpu")


@aten("prim::is_cuda", "prim::is_quantized", "prim::requires_grad", "aten::is_complex", "prim::is_nested", python=True)
def no(c: Converter, a: Tensor) -> bool:
    return False


@aten("is_contiguous", "prim::is_cpu", python=True)
def yes(c: Converter, a: Tensor, *settings: Any) -> bool:
    return True


@aten("is_scripting", "aten::is_autocast_enabled", "aten::is_grad_enabled", python=True)
def is_scripting(c: Converter, *args: Any) -> bool:
    return False


@aten("prim::data", "aten::detach", "aten::contiguous", "aten::clone", "aten::alias", "aten::lift_fresh_copy",
      "aten::lift_fresh", "aten::cpu", "aten::_to_copy_same", "aten::pin_memory", "aten::positive")  # fmt: skip
def same(c: Converter, a: Tensor, *settings: Any) -> Any:
    return a.payload


@aten("_assert", "aten::_assert_async", "aten::_assert_scalar", "aten::_assert_tensor_metadata",
      "aten::sym_constrain_range_for_size", "aten::sym_constrain_range", "aten::_check", python=True)  # fmt: skip
def checks(c: Converter, *args: Any) -> Any:
    return ()
