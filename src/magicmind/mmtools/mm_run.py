"""Program `mm_run`: runs an offline model with MagicMind's flags and prints the summary its users read.

mm_run --magicmind_model net.mm --batch_size 8 --iterations 1000
mm_run --magicmind_model net.mm --input_dims 1,3,224,224 --input_files data.bin --output_path out
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.errors import Error
from magicmind.mmtools import arguments as grammar
from magicmind.mmtools.arguments import Flag
from magicmind.mmtools.measure import Load, measure
from magicmind.mmtools.program import run_program
from magicmind.mmtools.shape_groups import Group, shape_groups
from magicmind.mmtools.summary import heading, model_block, performance, performance_block, trace_block
from magicmind.tensorinfo import TensorInfo

Array = np.ndarray[Any, np.dtype[Any]]
NO_EFFECT = (
    "bind_cluster", "host_async", "datatransfer_opt", "kernel_capture", "buffer_depth", "infer_depth", "trace_pmu",
    "trace_time", "avg_runs", "debug_path", "trace_path", "perf_path",
)  # fmt: skip
"""Flags about cards; they are read, and have no effect on a CPU."""

FLAGS = (
    Flag("magicmind_model", grammar.text, "FILE", None, "offline model", required=True),
    Flag("input_dims", grammar.shapes, "1,3,224,224 ...", None, "a shape per input, `_` for a scalar"),
    Flag("batch", grammar.count, "N", None, "first dim of every input"),
    Flag("batch_size", grammar.counts, "N ...", None, "first dim per input; before --input_dims"),
    Flag("run_config", grammar.text, "FILE", None, "JSON with groups of shapes; before all others"),
    Flag("input_files", grammar.texts, "FILE ...", None, "raw data per input, in the model's types"),
    Flag("output_path", grammar.text, "FOLDER", None, "where to write output<i>; with --input_files"),
    Flag("plugin", grammar.texts, "FILE ...", None, "Python files that register operators"),
    Flag("rpc_server", grammar.text, "HOST:PORT", None, "run on a `magicmind remote-server`"),
    Flag("devices", grammar.naturals, "N ...", [0], "devices; each is this CPU"),
    Flag("threads", grammar.count, "N", 1, "threads that run at once, per device"),
    Flag("warmup", grammar.integer, "MS", 200, "milliseconds before measuring"),
    Flag("duration", grammar.integer, "MS", 3000, "milliseconds to measure at least"),
    Flag("iterations", grammar.count, "N", 100, "runs at least"),
    Flag("disable_data_copy", grammar.boolean, "BOOL", False, "leave out copies of inputs and outputs"),
    Flag("json", grammar.boolean, "BOOL", False, "print one JSON object instead"),
    *(Flag(name, list, "...", None, "", effect=False) for name in NO_EFFECT),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted."""
    return run_program("mm_run", FLAGS, run, argv)


def run(values: Mapping[str, Any]) -> None:
    """Opens, runs, prints. Raises Error."""
    from magicmind.plugin import load_plugins

    load_plugins(values["plugin"] or ())
    path, began = values["magicmind_model"], time.perf_counter()
    with _opened(path, values["rpc_server"]) as model:
        opened = time.perf_counter()
        groups = shape_groups(model.inputs, values)
        feeds = [_feeds(model.inputs, group, values["input_files"]) for group in groups]
        workers = values["threads"] * len(values["devices"])
        cpus = len(os.sched_getaffinity(0))
        with model.engine(threads=max(1, cpus // workers)) as engine:
            made = time.perf_counter()
            load_ = Load(
                values["warmup"], values["duration"], values["iterations"], workers, not values["disable_data_copy"]
            )
            result = measure(engine, feeds, load_)
        if values["output_path"]:
            _write(result.outputs, Path(values["output_path"]))
        batch = max((shape[0] for shape in groups[0].values() if shape), default=1)
        found = performance(result, batch)
        shapes = {name: array.shape for name, array in result.outputs.items()}
        if values["json"]:
            from magicmind.cli.text import print_json

            print_json({"model": path, "devices": values["devices"], "threads": values["threads"], **found})
            return
        milliseconds = [1e3 * (opened - began), 1e3 * (made - opened), 1e3 * result.warmup, 1e3 * result.wall]
        head = [heading("Parameter Information"), *_parameters(values)]
        names = ("CreateModel", "CreateEngine", "dev_0_thread_0_warm_up", "dev_0_thread_0_e2e")
        logs = [f"[MMINFO]  {name} time is {ms:.3f} ms" for name, ms in zip(names, milliseconds, strict=True)]
        blocks = [
            *head, logs[0], heading("Device Information", 19), *_device(model.target, cpus), *logs[1:],
            heading("Model Information "), *model_block("Input", model.inputs, groups[0]),
            *model_block("Output", model.outputs, shapes), *performance_block(found),
            *trace_block(result.times.compute, result.times.enqueue),
        ]  # fmt: skip
        print("\n".join(blocks))


def _opened(path: str, server: str | None) -> Any:
    """The model, here or on a remote server."""
    if server is None:
        from magicmind.runtime import load

        return load(path)
    from magicmind.remote.models import RemoteModel

    return RemoteModel(server, path)


def _feeds(inputs: Sequence[TensorInfo], group: Group, files: Sequence[str] | None) -> dict[str, Array]:
    """Random arrays, or what the files hold."""
    if files is not None and len(files) != len(inputs):
        raise Error(f"--input_files has {len(files)} files, the model has {len(inputs)} inputs", hint="one per input")
    rng = np.random.default_rng(0)
    feeds = {}
    for i, info in enumerate(inputs):
        shape, dtype = group[info.name], np.dtype(info.dtype)
        if files is None:
            high = 256 if dtype == np.uint8 else 2
            feeds[info.name] = (rng.random(shape) * (1 if dtype.kind == "f" else high)).astype(dtype)
            continue
        data = Path(files[i]).read_bytes()
        wanted = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if len(data) != wanted:
            raise Error(
                f"{files[i]} holds {len(data)} bytes; input {info.name} {list(shape)} of {dtype} needs {wanted}",
                hint="raw data without a header, in the model's type",
            )
        feeds[info.name] = np.frombuffer(data, dtype).reshape(shape)
    return feeds


def _write(outputs: Mapping[str, Array], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, array in enumerate(outputs.values()):
        part = folder / f"output{i}.part"
        part.write_bytes(np.ascontiguousarray(array).tobytes())
        part.replace(folder / f"output{i}")


def _parameters(values: Mapping[str, Any]) -> list[str]:
    lines = [f"magicmind model file: {values['magicmind_model']}"]
    for i, shape in enumerate(values["input_dims"] or ()):
        lines += [f"input {i}:", f"  input[{i}] dim: {list(shape)}"]
    lines += [
        f"iterations: {values['iterations']}", f"duration: {values['duration']}", f"warm_up: {values['warmup']}",
        f"thread_num: {values['threads']}", f"devices: {' '.join(map(str, values['devices']))} ",
        f"disable_data_copy: {int(values['disable_data_copy'])}",
    ]  # fmt: skip
    batch = values["batch"] or (values["batch_size"] or [None])[0]
    return lines + ([f"batch: {batch}"] if batch else [])


def _device(target: str, cpus: int) -> list[str]:
    """This CPU, under the keys of a card."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    rows = {"Device ID:": "0", "Compute Capability:": target, "Cluster Number:": str(cpus)}
    rows["Total Memory Size:"] = f"{memory} (MB)"
    return [f"{key:30}{value}" for key, value in rows.items()]


if __name__ == "__main__":
    raise SystemExit(main())
