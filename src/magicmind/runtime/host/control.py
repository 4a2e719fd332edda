"""If, Loop and Scan: they call nested graphs, which are native programs of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.runtime.host import Array, Body, HostCall, host


def _split(call: HostCall) -> tuple[list[Any], list[Any]]:
    """(formal inputs, values that the bodies take from outside)."""
    count = len(call.inputs) - int(call.attr("captures", 0))
    return list(call.inputs[:count]), list(call.inputs[count:])


@host("If")
def if_(call: HostCall) -> Sequence[Any]:
    """The outputs of one branch; the other one does not run."""
    (condition,), captured = _split(call)
    body: Body = call.attr("then_branch" if np.asarray(condition).reshape(-1)[0] else "else_branch")
    return body(captured)


@host("Loop")
def loop(call: HostCall) -> Sequence[Any]:
    """Rounds while the condition holds, `M` at most: the carried values, then what each round gave, stacked."""
    (most, condition, *carried), captured = _split(call)
    body: Body = call.attr("body")
    go = condition is None or bool(np.asarray(condition).reshape(-1)[0])
    limit = None if most is None else int(np.asarray(most).reshape(-1)[0])
    collected: list[list[Array]] = [[] for _ in range(call.outputs - len(carried))]
    turn = 0
    while go and (limit is None or turn < limit):
        flag, *results = body([*captured, np.array(turn, np.int64), np.array(go), *carried])
        carried, slices = results[: len(carried)], results[len(carried) :]
        for rows, row in zip(collected, slices, strict=True):
            rows.append(row)
        go = bool(np.asarray(flag).reshape(-1)[0])
        turn += 1
    stacked = [_stacked(call, len(carried) + i, rows) for i, rows in enumerate(collected)]
    return [*carried, *stacked]


def _stacked(call: HostCall, output: int, rows: list[Array]) -> Array:
    """The rows as one array; without any, an empty one of the shape that the plan can tell."""
    if rows:
        return np.stack(rows)
    shape = call.shapes[output] or (0,)
    return np.zeros((0, *(d or 0 for d in shape[1:])), call.dtypes[output])


@host("Scan")
def scan(call: HostCall) -> Sequence[Any]:
    """One round per slice of the scan inputs: the states, then what each round gave, stacked."""
    formal, captured = _split(call)
    body: Body = call.attr("body")
    count = call.attr("num_scan_inputs")
    states, inputs = formal[: len(formal) - count], formal[len(formal) - count :]
    axes = call.attr("scan_input_axes") or [0] * count
    backwards = call.attr("scan_input_directions") or [0] * count
    rows = [
        np.moveaxis(x, axis, 0)[:: -1 if back else 1] for x, axis, back in zip(inputs, axes, backwards, strict=True)
    ]
    made = call.outputs - len(states)
    collected: list[list[Array]] = [[] for _ in range(made)]
    for turn in range(rows[0].shape[0]):
        results = body([*captured, *states, *(np.asarray(x[turn], order="C") for x in rows)])
        states = results[: len(states)]
        for parts, part in zip(collected, results[len(states) :], strict=True):
            parts.append(part)
    into = call.attr("scan_output_axes") or [0] * made
    reverse = call.attr("scan_output_directions") or [0] * made
    outputs = []
    for i, (parts, axis, back) in enumerate(zip(collected, into, reverse, strict=True)):
        whole = _stacked(call, len(states) + i, parts[::-1] if back else parts)
        outputs.append(np.moveaxis(whole, 0, axis) if parts else whole)
    return [*states, *outputs]
