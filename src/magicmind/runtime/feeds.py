"""Checks of what the user passes in: the slow path of a call, with the error texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from magicmind.errors import Error, ShapeError

Array = np.ndarray[Any, np.dtype[Any]]
Spec = tuple[str, np.dtype[Any]]


def check_named(feeds: object) -> None:
    """Raises ShapeError when `feeds` gives no names."""
    if not isinstance(feeds, Mapping):
        raise ShapeError(
            f"inputs are given by name, not as {type(feeds).__name__}", hint='for example run({"x": array})'
        )


def accept(name: str, dtype: np.dtype[Any], feeds: Mapping[str, Any]) -> Array:
    """The input as a contiguous aligned array of its dtype; copies only what is not.

    Raises ShapeError when it is missing or of another dtype (never casts: a silent float64 would hide an error).
    """
    if name not in feeds:
        raise ShapeError(f"input {name!r} is missing; given: {sorted(feeds) or 'nothing'}")
    array = np.asarray(feeds[name])
    if array.dtype != dtype:
        raise ShapeError(
            f"input {name!r}: dtype {array.dtype}, expected {dtype}", hint=f'convert it: array.astype("{dtype}")'
        )
    return np.require(array, requirements=["C", "A"])


def refuse_unknown(feeds: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises ShapeError naming the inputs that the model does not have."""
    unknown = sorted(set(feeds) - set(known))
    raise ShapeError(f"unknown inputs: {', '.join(unknown)}", hint=f"the model's inputs: {', '.join(known)}")


def outputs(
    specs: Sequence[Spec], shapes: Sequence[tuple[int, ...]], out: Mapping[str, Array], inputs: Sequence[Array]
) -> tuple[list[Array], list[Array]]:
    """(inputs, outputs): the arrays of `out` checked, fresh ones for the rest.

    An input that shares memory with an output is copied. Raises ShapeError or Error for an array that cannot take
    the output, and for two that overlap.
    """
    if unknown := sorted(set(out) - {name for name, _ in specs}):
        names = ", ".join(name for name, _ in specs)
        raise ShapeError(f"out: unknown outputs: {', '.join(unknown)}", hint=f"the model's outputs: {names}")
    arrays = []
    given: list[tuple[str, Array]] = []
    for (name, dtype), shape in zip(specs, shapes, strict=True):
        if name not in out:
            arrays.append(np.empty(shape, dtype))
            continue
        array = _writable(name, dtype, shape, out[name])
        for other, earlier in given:
            if np.may_share_memory(array, earlier):
                raise Error(f"out: {other!r} and {name!r} share memory", hint="pass an array of its own for each")
        given.append((name, array))
        arrays.append(array)
    kept = [x.copy() if any(np.may_share_memory(x, y) for _, y in given) else x for x in inputs]
    return kept, arrays


def _writable(name: str, dtype: np.dtype[Any], shape: tuple[int, ...], array: Any) -> Array:
    if not isinstance(array, np.ndarray):
        raise Error(f"out[{name!r}] is a {type(array).__name__}, expected a numpy array")
    if array.dtype != dtype or array.shape != shape:
        raise ShapeError(f"out[{name!r}]: {array.dtype}{list(array.shape)}, expected {dtype}{list(shape)}")
    if not array.flags.carray:
        raise Error(
            f"out[{name!r}] must be contiguous (C order), aligned and writable",
            hint="pass an array from numpy.empty, or leave it out",
        )
    return array
