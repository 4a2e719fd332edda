"""Steps of optimisers, element by element: Adagrad, Adam and Momentum of the domain ai.onnx.preview.training.

Inputs are the learning rate, the number of updates so far, then for a group of tensors: the tensors, their gradients,
and what the optimiser keeps of each. Outputs are the new tensors and what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from magicmind.errors import ModelFormatError
from magicmind.ops.expansion import Expansion, Value
from magicmind.ops.registry import Op

DOMAIN = "ai.onnx.preview.training"
Step = Callable[[Expansion, Value, Value, Sequence[Value]], Sequence[Value]]
"""(expansion, tensor, gradient with the regularisation added, what is kept) -> (new tensor, what is kept)."""


def _group(e: Expansion, kept: int, step: Step) -> list[Value]:
    """The step on every tensor; outputs are sorted by kind."""
    parts = len(e.node.inputs) - 2
    if parts % (kept + 2):
        raise ModelFormatError(f"{parts} tensors; {kept + 2} for each one to update are expected")
    count = parts // (kept + 2)
    rows = []
    for i in range(count):
        x, gradient, *state = (e.input(2 + i + k * count) for k in range(kept + 2))
        decayed = e.op("Mul", x, e.scalar(e.view.attr("norm_coefficient", 0.0), x))
        rows.append(step(e, x, e.op("Add", decayed, gradient), state))
    return [row[k] for k in range(kept + 1) for row in rows]


def _count(e: Expansion, like: Value) -> Value:
    """The number of updates so far."""
    return e.cast_like(e.input(1), like)


def _rate(e: Expansion, like: Value) -> Value:
    return e.cast_like(e.input(0), like)


def _mixed(e: Expansion, old: Value, new: Value, share: float) -> Value:
    """share * old + (1 - share) * new."""
    return e.op("Add", e.op("Mul", old, e.scalar(share, old)), e.op("Mul", new, e.scalar(1 - share, old)))


def _root(e: Expansion, squares: Value) -> Value:
    return e.op("Add", e.op("Sqrt", squares), e.scalar(e.view.attr("epsilon", 1e-6), squares))


def _adagrad(e: Expansion, x: Value, gradient: Value, state: Sequence[Value]) -> list[Value]:
    one = e.scalar(1, x)
    decay = e.op("Add", e.op("Mul", _count(e, x), e.scalar(e.view.attr("decay_factor", 0.0), x)), one)
    squares = e.op("Add", state[0], e.op("Mul", gradient, gradient))
    change = e.op("Div", e.op("Mul", e.op("Div", _rate(e, x), decay), gradient), _root(e, squares))
    return [e.op("Sub", x, change), squares]


def _adam(e: Expansion, x: Value, gradient: Value, state: Sequence[Value]) -> list[Value]:
    alpha, beta = e.view.attr("alpha", 0.9), e.view.attr("beta", 0.999)
    mean = _mixed(e, state[0], gradient, alpha)
    squares = _mixed(e, state[1], e.op("Mul", gradient, gradient), beta)
    count, one = _count(e, x), e.scalar(1, x)
    unbiased = [e.op("Sub", one, e.op("Pow", e.scalar(share, x), count)) for share in (beta, alpha)]
    started = e.op("Greater", count, e.scalar(0, x))
    correction = e.op("Where", started, e.op("Div", e.op("Sqrt", unbiased[0]), unbiased[1]), one)
    change = e.op("Div", e.op("Mul", e.op("Mul", _rate(e, x), correction), mean), _root(e, squares))
    kept = e.scalar(1 - e.view.attr("norm_coefficient_post", 0.0), x)
    return [e.op("Mul", e.op("Sub", x, change), kept), mean, squares]


def _momentum(e: Expansion, x: Value, gradient: Value, state: Sequence[Value]) -> list[Value]:
    """The gradient counts fully at the first update, `beta` of it later; nesterov looks one step ahead."""
    alpha = e.scalar(e.view.attr("alpha", 0.0), x)
    first = e.op("Equal", e.input(1), e.const(0, e.type(e.input(1)).dtype.numpy()))
    share = e.op("Where", first, e.scalar(1, x), e.scalar(e.view.attr("beta", 0.0), x))
    velocity = e.op("Add", e.op("Mul", state[0], alpha), e.op("Mul", gradient, share))
    change = velocity
    if e.view.attr("mode", "standard") == "nesterov":
        change = e.op("Add", gradient, e.op("Mul", velocity, alpha))
    return [e.op("Sub", x, e.op("Mul", _rate(e, x), change)), velocity]


_STEPS: dict[str, tuple[int, Step]] = {"Adagrad": (1, _adagrad), "Adam": (2, _adam), "Momentum": (1, _momentum)}


def _register(name: str, kept: int, step: Step) -> None:
    @Op(name, DOMAIN).expand
    def expand(e: Expansion) -> list[Value]:
        """Learning rate, count, then the group."""
        return _group(e, kept, step)


for _name, (_kept, _step) in _STEPS.items():
    _register(_name, _kept, _step)
