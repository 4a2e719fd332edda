"""One target's code, plan and weights, mapped and checked: what all engines of a model share."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from magicmind import knobs
from magicmind.dtypes import numpy_dtype
from magicmind.errors import OfflineModelError, TargetError
from magicmind.modelfile import abi
from magicmind.modelfile.layout import REBUILD, WEIGHTS
from magicmind.modelfile.plugins import plugins_of
from magicmind.modelfile.reader import OfflineFile
from magicmind.runtime import team
from magicmind.runtime.cpu import capped, cpu_features
from magicmind.runtime.host import LOAD_PLUGIN, missing_plugins
from magicmind.runtime.memory import pack
from magicmind.runtime.prepared import Prepared, slot_address
from magicmind.runtime.routine import Routine
from magicmind.runtime.shapes import PlanShapes, Shape

_CACHED_LAYOUTS = 8
_SCRATCH_ALIGNMENT = 4096  # threads' scratch never shares a page, hence no cache line and no adjacent-line prefetch


@dataclass
class Layout:
    """The plan for one set of input shapes. `last_ns`: how long the last call took; None before the first."""

    shapes: tuple[Shape, ...]
    dims: tuple[int, ...]
    input_slots: tuple[tuple[int, int, int], ...]  # slot, input, offset in bytes
    output_slots: tuple[tuple[int, int, int], ...]  # slot, output, offset in bytes
    arena_slots: tuple[tuple[int, int], ...]  # slot, offset in the arena
    output_shapes: tuple[Shape, ...]
    arena_bytes: int
    scratch_bytes: int  # per thread
    step_flops: tuple[int, ...]
    step_bytes: tuple[int, ...]
    last_ns: int | None = None


def choose_target(file: OfflineFile) -> dict[str, Any]:
    """The first target of the file that this CPU runs and MAGICMIND_TARGET allows.

    Raises TargetError with what the file holds and what this CPU lacks for each.
    """
    machine, present, cap = platform.machine(), cpu_features(), knobs.TARGET.text()
    reasons = []
    for target in file.targets:
        required = frozenset(target["requires"])
        if target["machine"] != machine:
            reasons.append(f"{target['name']}: is for {target['machine']}, this is {machine}")
        elif lacking := sorted(required - present):
            reasons.append(f"{target['name']}: this CPU lacks {', '.join(lacking)}")
        elif capped(required, cap):
            reasons.append(f"{target['name']}: MAGICMIND_TARGET={cap} forbids it")
        else:
            return target
    raise TargetError(
        f"{file.where}: no code for this CPU.\n  " + "\n  ".join(reasons),
        hint='build the model again here, or with targets=["x86-64-v2", ...] for several CPUs',
    )


class Program:
    """Native code of the chosen target with everything that does not depend on shapes."""

    def __init__(self, file: OfflineFile) -> None:
        self.file = file
        self.target = choose_target(file)
        name = self.target["name"]
        self.plan: dict[str, Any] = file.json(f"plan:{name}")
        try:
            self._check_plugins()
            code_offset = self._entry(abi.PROGRAM_SYMBOL)
            self._adopt_team(f"team:{name}")
            self._code = file.map_section(f"code:{name}")
            self.entry = self._code.address + code_offset
            self._regions = {"weight": (file.weights_address, file.sections[WEIGHTS].size)}
            self.prepared = self._read_prepared()
            self._read_plan()
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise OfflineModelError(
                f"{file.where}: the plan for {name} lacks or garbles {error}", hint=REBUILD
            ) from error
        self.routine = self._read_routine()
        self._layouts: dict[tuple[Shape, ...], Layout] = {}

    def _check_plugins(self) -> None:
        """Raises OfflineModelError for plugins that are not registered, all of them."""
        missing = missing_plugins(plugins_of(self.plan))
        if missing:
            raise OfflineModelError(
                f"{self.file.where} needs plugins that are not registered: {', '.join(missing)}", hint=LOAD_PLUGIN
            )

    def _read_plan(self) -> None:
        plan = self.plan
        self.inputs = [(str(item["name"]), numpy_dtype(item["dtype"])) for item in plan["inputs"]]
        self.outputs = [(str(item["name"]), numpy_dtype(item["dtype"])) for item in plan["outputs"]]
        self.steps: list[dict[str, Any]] = plan["steps"]
        self._staged = bool(plan.get("bodies")) or any("host" in step for step in self.steps)
        self.dim_count, self.slot_count = len(plan["dims"]), len(plan["slots"])
        # Tiny networks: starting a team costs more than it saves.
        self.thread_bound = int(plan.get("threads_hint") or team.MAX_THREADS)
        self._input_slots: list[tuple[int, int]] = []  # slot, input
        self._output_slots: list[tuple[int, int]] = []  # slot, output
        self.weight_slots: list[tuple[int, int]] = []  # slot, address: weights, and what is made of them
        self._arena_slots: list[tuple[int, int]] = []  # slot, buffer
        for slot, item in enumerate(plan["slots"]):
            self._read_slot(slot, item)
        if self._staged:
            return
        self.shapes = PlanShapes(plan)
        buffers = plan["buffers"]
        self._firsts = [int(buffer["first"]) for buffer in buffers]
        self._lasts = [int(buffer["last"]) for buffer in buffers]

    def _read_slot(self, slot: int, item: dict[str, Any]) -> None:
        kind = item["kind"]
        if kind == "input":
            self._input_slots.append((slot, _index(item["index"], self.inputs)))
        elif kind == "output":
            self._output_slots.append((slot, _index(item["index"], self.outputs)))
        elif kind in self._regions:
            self.weight_slots.append((slot, slot_address(item, self._regions)))
        elif kind == "arena":
            self._arena_slots.append((slot, _index(item["buffer"], self.plan["buffers"])))
        elif kind == "object" and self._staged:
            _index(item["index"], range(self.plan["objects"]))
        else:
            raise ValueError(f"the kind {kind!r} of slot {slot}")

    def _read_prepared(self) -> Prepared | None:
        """What is to be made before the first call."""
        plan = self.plan.get("prepare")
        if plan is None:
            return None
        prepared = Prepared(plan, self._code.address + self._entry(abi.PREPARE_SYMBOL), *self._regions["weight"])
        self._regions["prepared"] = (prepared.address, prepared.size)
        return prepared

    def _read_routine(self) -> Routine | None:
        """The plan and those of its nested graphs, for plans with host steps. Raises OfflineModelError."""
        if not self._staged:
            return None
        bodies: list[Routine] = []
        try:
            for plan in self.plan.get("bodies", ()):
                entry = self._code.address + self._entry(plan["entry"])
                bodies.append(Routine(plan, entry, self._regions, bodies))
            return Routine(self.plan, self.entry, self._regions, bodies)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise OfflineModelError(f"{self.file.where}: a host step lacks or garbles {error}", hint=REBUILD) from error

    def _entry(self, symbol: str) -> int:
        """Offset of an entry point in the code."""
        return _entry(self.file, f"code:{self.target['name']}", self.target["entries"], symbol)

    def _adopt_team(self, section: str) -> None:
        described = self.target["team"]
        if described["abi"] != abi.TEAM_ABI:
            raise OfflineModelError(
                f"{self.file.where}: its threads use interface {described['abi']}, this version {abi.TEAM_ABI}",
                hint=REBUILD,
            )
        for symbol in (abi.TEAM_CALL_SYMBOL, abi.TEAM_WORKER_SYMBOL):
            _entry(self.file, section, described["entries"], symbol)
        team.adopt(self.file.view(section), int(described["version"]), described["entries"])

    def layout(self, shapes: tuple[Shape, ...]) -> Layout:
        """The plan for these input shapes, from a cache of the last few. Raises ShapeError."""
        # No lock: dict operations are atomic, and the worst race computes a layout twice.
        found = self._layouts.pop(shapes, None)
        if found is None:
            found = self._plan(shapes)
        self._layouts[shapes] = found  # last used, last in order
        while len(self._layouts) > _CACHED_LAYOUTS:
            self._layouts.pop(next(iter(self._layouts)), None)
        return found

    def forget_layouts(self) -> None:
        """Empties the cache of plans, to measure what one costs."""
        self._layouts.clear()

    def _plan(self, shapes: tuple[Shape, ...]) -> Layout:
        numbers = self.shapes.evaluate(self.shapes.bind(shapes))
        offsets, total = self.plan.get("offsets"), self.plan.get("arena")
        if offsets is None or total is None:
            offsets, total = pack(numbers.buffer_bytes, self._firsts, self._lasts)
        self._check_offsets(offsets, numbers.buffer_bytes, total)
        arena_slots = tuple((slot, offsets[buffer] + numbers.slot_offsets[slot]) for slot, buffer in self._arena_slots)
        return Layout(
            shapes=shapes,
            dims=numbers.dims,
            input_slots=tuple((slot, index, numbers.slot_offsets[slot]) for slot, index in self._input_slots),
            output_slots=tuple((slot, index, numbers.slot_offsets[slot]) for slot, index in self._output_slots),
            arena_slots=arena_slots,
            output_shapes=numbers.output_shapes,
            arena_bytes=int(total),
            scratch_bytes=-(-numbers.scratch // _SCRATCH_ALIGNMENT) * _SCRATCH_ALIGNMENT,
            step_flops=numbers.step_flops,
            step_bytes=numbers.step_bytes,
        )

    def _check_offsets(self, offsets: Sequence[int], sizes: Sequence[int], total: int) -> None:
        inside = all(offset >= 0 and offset + size <= total for offset, size in zip(offsets, sizes, strict=False))
        if len(offsets) != len(sizes) or not inside:
            raise OfflineModelError(f"{self.file.where}: the memory plan lies outside its arena", hint=REBUILD)

    def inner_tensors(self) -> list[dict[str, Any]]:
        """The tensors inside the network.  Raises OfflineModelError for files of earlier versions, which list none."""
        section = f"tensors:{self.target['name']}"
        if section not in self.file.sections:
            raise OfflineModelError(f"{self.file.where} does not say where its inner tensors lie", hint=REBUILD)
        found: list[dict[str, Any]] = self.file.json(section)
        return found

    def close(self) -> None:
        """Unmaps the code and gives memory back. No call may be running."""
        if self.prepared is not None:
            self.prepared.close()
        self._code.close()


def _index(value: Any, items: Sequence[Any]) -> int:
    if not 0 <= int(value) < len(items):
        raise ValueError(f"the index {value}")
    return int(value)


def _entry(file: OfflineFile, section: str, entries: dict[str, int], symbol: str) -> int:
    offset = int(entries[symbol])
    if not 0 <= offset < file.sections[section].size:
        raise ValueError(f"the entry {symbol}")
    return offset
