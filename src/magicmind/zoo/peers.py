"""Other engines on the same network, each in a process of its own: pools of threads and allocators do not meet.

`python -m magicmind.zoo.peers ENGINE NETWORK.onnx FEEDS.npz THREADS SECONDS` prints the seconds of its calls as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.errors import Error
from magicmind.runtime import latency

Array = np.ndarray[Any, np.dtype[Any]]
Feeds = Mapping[str, Array]


class Peer(ABC):
    """One network, opened and ready; `run` is the call that is timed."""

    @abstractmethod
    def __init__(self, path: Path, feeds: Feeds, threads: int) -> None: ...

    @abstractmethod
    def run(self, feeds: Feeds) -> list[Array]: ...


class OnnxRuntime(Peer):
    """With its defaults, but for the number of threads."""

    def __init__(self, path: Path, feeds: Feeds, threads: int) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self, feeds: Feeds) -> list[Array]:
        found: list[Array] = self.session.run(None, feeds)
        return found


class OpenVino(Peer):
    """With the hint for latency, in float32 where the network is."""

    def __init__(self, path: Path, feeds: Feeds, threads: int) -> None:
        import openvino as ov

        core = ov.Core()
        model = core.read_model(path)
        model.reshape({name: list(array.shape) for name, array in feeds.items()})
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
        }
        self.request = core.compile_model(model, "CPU", config).create_infer_request()

    def run(self, feeds: Feeds) -> list[Array]:
        return list(self.request.infer(feeds, share_inputs=True, share_outputs=True).values())


PEERS: Mapping[str, type[Peer]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}


def measure(engine: str, network: Path, feeds: Feeds, threads: int, seconds: float) -> list[float]:
    """Seconds of single calls of a peer. Raises Error where it is not installed or cannot run the network."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "feeds.npz"
        np.savez(file, **dict(feeds))  # type: ignore[arg-type]
        command = [sys.executable, "-m", "magicmind.zoo.peers", engine, network, file, threads, seconds]
        found = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if found.returncode:
        lines = found.stderr.strip().splitlines() or [f"exit code {found.returncode}"]
        raise Error(f"{engine} cannot run {network.name}: {lines[-1]}", hint="pip install 'magicmind[bench]'")
    samples: list[float] = json.loads(found.stdout.splitlines()[-1])
    return samples


def main() -> None:
    """The process of a peer."""
    engine, network, file, threads, seconds = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # engines may print
    with np.load(file) as stored:
        feeds = {name: stored[name] for name in stored.files}
    peer = PEERS[engine](Path(network), feeds, int(threads))
    latency.repeat(lambda: peer.run(feeds), iterations=None, duration=float(seconds) / 4)
    print(json.dumps(latency.repeat(lambda: peer.run(feeds), iterations=None, duration=float(seconds))), file=answers)


if __name__ == "__main__":
    main()
