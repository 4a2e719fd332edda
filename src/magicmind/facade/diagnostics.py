"""What programs look into a run with: times of steps; and the loader of plugins. `dumps.py` has the dumps."""

from __future__ import annotations

import json
import os
import time
from enum import Enum
from pathlib import Path
from typing import Any

from magicmind.facade.status import LOG, Code, Refused, guarded


class HostTracerLevel(Enum):
    """Of what a profiler sees of the host; all are the same here."""

    kOff = 0
    kCritical = 1
    kInfo = 2
    kVerbose = 3


class DeviceTracerLevel(Enum):
    """Of what a profiler sees of the device, which is the host here."""

    kOff = 0
    kOn = 1


class ProfilerOptions:
    """The levels; they change nothing: times of steps are what there is."""

    def __init__(
        self,
        host: HostTracerLevel = HostTracerLevel.kCritical,
        device: DeviceTracerLevel = DeviceTracerLevel.kOn,
    ) -> None:
        self.host, self.device = host, device


class Profiler:
    """Times what runs between `step_begin` and `step_end`; `stop` writes `steps.json` into the folder."""

    def __init__(self, options: ProfilerOptions | None = None, logdir: str | os.PathLike[str] = ".") -> None:
        self._folder = logdir  # said to be none where it is written to
        self._steps: list[dict[str, Any]] | None = None
        self._begun: tuple[int, float] | None = None

    @guarded
    def start(self) -> None:
        """Begins anew."""
        self._steps, self._begun = [], None

    @guarded
    def step_begin(self, number: int = 0) -> None:
        """A step begins."""
        if self._steps is None or self._begun is not None:
            raise Refused("step_begin comes after start, and after the end of the last step", Code.FAILED_PRECONDITION)
        self._begun = number, time.perf_counter()

    @guarded
    def step_end(self) -> None:
        """It ends."""
        if self._steps is None or self._begun is None:
            raise Refused("no step has begun", Code.FAILED_PRECONDITION)
        number, begun = self._begun
        self._steps.append({"step": number, "milliseconds": (time.perf_counter() - begun) * 1e3})
        self._begun = None

    @guarded
    def stop(self) -> None:
        """Writes the steps."""
        if self._steps is None:
            raise Refused("the profiler was not started", Code.FAILED_PRECONDITION)
        folder = Path(self._folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "steps.json").write_text(json.dumps(self._steps, indent=1))
        self._steps = None


class LoadPluginLibrary:
    """Loads plugins: Python files that register operators, see docs/guide/plugins.md."""

    def load(self, path: str | os.PathLike[str]) -> bool:
        """Whether that worked; libraries of another device do not."""
        from magicmind.plugin import load_plugins

        try:
            load_plugins([path])
        except Exception as error:
            LOG.error("LoadPluginLibrary: %s", error)
            return False
        return True
