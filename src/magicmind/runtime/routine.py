"""A plan with host steps, read once: what all calls of it share. The main graph has one, every nested graph its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from magicmind.errors import ShapeError
from magicmind.runtime.host import Body, HostFunction, host_function
from magicmind.runtime.prepared import slot_address
from magicmind.runtime.shapes import compile_texts
from magicmind.runtime.stages import Stages, names_in


@dataclass(frozen=True)
class Segment:
    """Consecutive native steps. `last_ns` of a run decides whether the next may block signals."""

    number: int
    first: int


@dataclass(frozen=True)
class HostStep:
    """A call of a host function: operands as the plan has them."""

    number: int
    where: str
    function: HostFunction
    attributes: Mapping[str, Any]
    inputs: Sequence[Mapping[str, Any] | None]
    outputs: Sequence[Mapping[str, Any] | None]


class Routine:
    """`entry`: address of the native program; `regions`: address and bytes of weights and of what is prepared."""

    def __init__(
        self, plan: Mapping[str, Any], entry: int, regions: Mapping[str, tuple[int, int]], bodies: Sequence[Routine]
    ) -> None:
        """Raises KeyError, ValueError and the like for a damaged plan, OfflineModelError for an unknown function."""
        self.plan, self.entry = plan, entry
        self.stages = Stages(plan)
        self.bodies = bodies
        self.steps: list[dict[str, Any]] = plan["steps"]
        self.inputs: list[dict[str, Any]] = plan["inputs"]
        self.outputs: list[dict[str, Any]] = plan["outputs"]
        self.object_count = int(plan.get("objects", 0))
        self.slots: list[dict[str, Any]] = plan["slots"]
        self.weight_slots = [(i, slot_address(s, regions)) for i, s in enumerate(self.slots) if s["kind"] in regions]
        self.object_slots: dict[int, list[int]] = {}
        for i, slot in enumerate(self.slots):
            if slot["kind"] == "object":
                self.object_slots.setdefault(int(slot["index"]), []).append(i)
        self.schedule = self._schedule()

    def _schedule(self) -> list[Segment | HostStep]:
        schedule: list[Segment | HostStep] = []
        segments = 0
        native = False
        for number, step in enumerate(self.steps):
            if "host" in step:
                schedule.append(self._host_step(number, step))
            elif not native:
                schedule.append(Segment(segments, number))
                segments += 1
            native = "host" not in step
        return schedule

    def _host_step(self, number: int, step: Mapping[str, Any]) -> HostStep:
        host = step["host"]
        where = f"{step['node']} ({step['op']})"
        return HostStep(
            number, where, host_function(host["function"], where), host["attributes"], host["inputs"], host["outputs"]
        )

    def bind(self, arrays: Sequence[Any], given: Mapping[str, int]) -> dict[str, int]:
        """Values of the symbols that the inputs' shapes tell. Raises ShapeError for shapes that do not fit."""
        values = dict(given)
        for spec, array in zip(self.inputs, arrays, strict=True):
            if spec["shape"] is not None:
                self.match(f"input {spec['name']!r}", spec["shape"], array.shape, values)
        return values

    def match(self, what: str, texts: Sequence[int | str], shape: Sequence[int], values: dict[str, int]) -> None:
        """Binds symbols of `texts` that have no value yet, checks all else. Raises ShapeError."""
        if len(texts) != len(shape):
            raise ShapeError(f"{what} has shape {list(shape)}; {list(texts)} was expected")
        ranges = self.plan["symbols"]
        later: list[tuple[int | str, int]] = []
        for text, have in zip(texts, shape, strict=True):
            if isinstance(text, str) and text in ranges and text not in values:
                low, high = ranges[text]
                if have < low or (high is not None and have > high):
                    raise ShapeError(f"{what}: {text} is {have}, the model was built for {low}..{high or ''}")
                values[text] = have
            else:
                later.append((text, have))
        for text, have in later:
            want = text if isinstance(text, int) else _number(text, values)
            if want != have:
                raise ShapeError(f"{what} has shape {list(shape)}; {list(texts)} was expected, with {text} = {want}")

    def foreseen(self, texts: Sequence[int | str] | None, values: Mapping[str, int]) -> tuple[int | None, ...] | None:
        """The dims that are known before a tensor is, None for the others."""
        if texts is None:
            return None
        return tuple(
            text if isinstance(text, int) else _number(text, values) if names_in(text) <= values.keys() else None
            for text in texts
        )


def _number(text: str, values: Mapping[str, int]) -> int:
    if text in values:
        return values[text]
    return compile_texts([text], list(values))(*values.values())[0]


__all__ = ["Body", "HostStep", "Routine", "Segment"]
