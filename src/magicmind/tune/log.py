"""What was measured, kept between builds: JSON lines, one file per identity (`machine.py`), only ever appended to.

The first line is the identity. Each other line is a measured candidate or the verdict on a network. A line that an
interruption cut short is passed over; later lines about the same thing replace earlier ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from magicmind import knobs
from magicmind.errors import Error


@dataclass(frozen=True)
class Verdict:
    """The candidates that a network is built with; `complete`: nothing is left to measure."""

    picks: Mapping[str, str]
    complete: bool


class Log:
    """`ratios[key][candidate]`: the candidate's time relative to the cost model's choice, measured side by side.
    `verdicts[network]`: the outcome for whole networks."""

    def __init__(self, path: Path, identity: Mapping[str, str | int]) -> None:
        """Reads what is there. Raises Error when the file cannot be read or written."""
        self.path = path
        self.ratios: dict[str, dict[str, float]] = {}
        self.verdicts: dict[str, Verdict] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                for line in path.read_bytes().splitlines():
                    self._take(_parsed(line))
            else:
                self._append({"identity": dict(identity)})
        except OSError as error:
            raise _unusable(path, error) from error

    @classmethod
    def of(cls, identity: Mapping[str, str | int]) -> Log:
        """The log of that identity in the cache folder."""
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        name = f"{identity['target']}-{identity['threads']}t-{digest}.jsonl"
        return cls(knobs.cache_dir() / "tune" / name, identity)

    def measured(self, key: str, candidate: str, ratio: float) -> None:
        """Keeps the time of a candidate."""
        self._keep({"key": key, "candidate": candidate, "ratio": round(ratio, 4)})

    def decided(self, network: str, verdict: Verdict) -> None:
        """Keeps the outcome for a network."""
        self._keep({"network": network, **asdict(verdict)})

    def _keep(self, record: dict[str, Any]) -> None:
        self._take(record)
        try:
            self._append(record)
        except OSError as error:
            raise _unusable(self.path, error) from error

    def _take(self, record: Mapping[str, Any]) -> None:
        match record:
            case {"key": str(key), "candidate": str(candidate), "ratio": float(ratio)}:
                self.ratios.setdefault(key, {})[candidate] = ratio
            case {"network": str(network), "picks": dict(picks), "complete": bool(complete)}:
                self.verdicts[network] = Verdict(picks, complete)

    def _append(self, record: Mapping[str, Any]) -> None:
        """Writes one line at once; a line before it that was cut short is ended first."""
        line = json.dumps(record).encode() + b"\n"
        with open(self.path, "ab+", buffering=0) as file:
            end = file.seek(0, 2)
            if end:
                file.seek(end - 1)
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line)


def _parsed(line: bytes) -> dict[str, Any]:
    """The record of a line; nothing for one that is none."""
    try:
        record = json.loads(line)
    except ValueError:  # cut short, or not text
        return {}
    return record if isinstance(record, dict) else {}


def _unusable(path: Path, error: OSError) -> Error:
    return Error(
        f"measured times cannot be kept in {path}: {error.strerror or error}",
        hint="point MAGICMIND_CACHE_DIR to a folder that may be written to",
    )
