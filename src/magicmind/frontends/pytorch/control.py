"""Branches: executed where their conditions are known at conversion, else If nodes.

What a branch changes besides its results (tensors in place, attributes) becomes a further result of the If.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from magicmind.errors import UnsupportedOperatorError
from magicmind.frontends.pytorch.values import Payload, Tensor
from magicmind.ir.dims import Expr

if TYPE_CHECKING:
    from magicmind.frontends.pytorch.converter import Converter

Branch = Callable[[], list[Any]]


class Raised(UnsupportedOperatorError):
    """The program raises an exception on the way that is being converted."""

    def __init__(self, text: str, line: str) -> None:
        super().__init__(
            f"the program raises {text!r} ({line})", hint="the shapes or constants given lead there: give others"
        )


class _Outcome:
    """What a branch leaves: its results, the attributes and the tensors it changed."""

    def __init__(self, results: list[Any], state: dict[str, Any], changed: dict[int, tuple[Tensor, Payload]]) -> None:
        self.results, self.state, self.changed = results, state, changed


def known_truth(condition: Any) -> bool | None:
    """The condition, if it is known at conversion."""
    if isinstance(condition, Tensor):
        constant = condition.constant
        return None if constant is None else bool(constant)
    return None if isinstance(condition, Expr) else bool(condition)


def run_if(p: Converter, condition: Any, branches: Sequence[Branch]) -> list[Any]:
    """The results of a branch, or of an If node.  A branch that raises counts as not taken."""
    truth = known_truth(condition)
    if truth is not None:
        return branches[0 if truth else 1]()
    outcomes: list[tuple[Any, _Outcome]] = []
    outer = p.net
    for number, branch in enumerate(branches):
        p.net = outer.nested(("then", "else")[number])
        try:
            outcomes.append((p.net, _trial(p, branch)))
        except Raised:
            p.net = outer
            return branches[1 - number]()
        finally:
            p.net = outer
    return _join(p, condition, outcomes)


def _trial(p: Converter, branch: Branch) -> _Outcome:
    """Runs a branch and takes back what it changed."""
    state, assigned = dict(p.state), dict(p.assigned)
    with p.journal() as changes:
        results = branch()
    changed = {key: (tensor, tensor.payload) for key, (tensor, _) in changes.items()}
    for tensor, before in changes.values():
        tensor.restore(before)
    set_here = {path: p.state[path] for path in p.assigned if path not in assigned or p.state[path] is not state[path]}
    p.state, p.assigned = state, assigned
    return _Outcome(results, set_here, changed)


def _join(p: Converter, condition: Any, outcomes: list[tuple[Any, _Outcome]]) -> list[Any]:
    (then_net, then), (else_net, other) = outcomes
    paths = list(dict.fromkeys([*then.state, *other.state]))
    tensors = {**then.changed, **other.changed}
    pairs = [*zip(then.results, other.results, strict=True)]
    pairs += [(then.state.get(path, p.state.get(path)), other.state.get(path, p.state.get(path))) for path in paths]
    for key, (tensor, _) in tensors.items():
        pairs.append(tuple(_payload(o.changed[key][1] if key in o.changed else tensor.payload) for o in (then, other)))  # type: ignore[arg-type]
    merged = _merge(p, condition, (then_net, else_net), pairs)
    results, rest = merged[: len(then.results)], merged[len(then.results) :]
    for path, value in zip(paths, rest, strict=False):
        p.state[path] = value
        p.assigned[path] = None
    for (tensor, _), value in zip(tensors.values(), rest[len(paths) :], strict=True):
        tensor.replace(value.payload)
    return results


def _payload(payload: Payload) -> Tensor:
    return Tensor(payload)


def _merge(p: Converter, condition: Any, nets: Sequence[Any], pairs: Sequence[tuple[Any, Any]]) -> list[Any]:
    """One value for each pair: itself where both are the same, else a result of an If node."""
    merged: list[Any] = []
    chosen: list[int] = []
    for a, b in pairs:
        if same(a, b):
            merged.append(a)
            continue
        if a is None or b is None or not all(isinstance(v, (Tensor, bool, int, float, Expr)) for v in (a, b)):
            raise UnsupportedOperatorError(
                f"a branch that depends on data gives {kind_of(a)} on one side and {kind_of(b)} on the other",
                hint="fix what decides it, as in constants={'flag': True}",
            )
        chosen.append(len(merged))
        merged.append(None)
    if not chosen:
        return merged
    graphs = []
    outer = p.net
    for side, net in enumerate(nets):
        p.net = net
        values = {f"{net.name}{i}": p.value(pairs[i][side]) for i in chosen}
        graphs.append(net.graph(values))
    p.net = outer
    outputs = outer.ops("If", p.value(condition), count=len(chosen), then_branch=graphs[0], else_branch=graphs[1])
    for i, value in zip(chosen, outputs, strict=True):
        merged[i] = Tensor(value)
    return merged


def same(a: Any, b: Any) -> bool:
    """Whether two values are one."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a is b or a.payload is b.payload
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and not isinstance(a, Tensor) and bool(a == b)


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    return "nothing" if value is None else "a tensor" if isinstance(value, Tensor) else f"a {type(value).__name__}"
