"""Program `mm_run`: runs an offline model with MagicMind's flags and prints the summary its users read.

mm_run --magicmind_model net.mm --batch_size 8 --iterations 1000
mm_run --magicmind_model net.mm --input_dims 1,3,224,224 --input_files data.bin --output_path out
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from magicmind.errors import Error
from magicmind.files import draft_of
from magicmind.mmtools import arguments as grammar
from magicmind.mmtools import summary, summary_one
from magicmind.mmtools.arguments import Flag, UsageError
from magicmind.mmtools.measure import Array, Feeds, Load, Result, measure
from magicmind.mmtools.program import run_program
from magicmind.mmtools.shape_groups import Group, batch_of, shape_groups
from magicmind.mmtools.utilization import Utilization, sampled
from magicmind.runtime.memory import require
from magicmind.runtime.model import describe
from magicmind.tensorinfo import TensorInfo

_NO_EFFECT = (
    ("bind_cluster", grammar.boolean, "BOOL"),
    ("host_async", grammar.boolean, "BOOL"),
    ("datatransfer_opt", grammar.boolean, "BOOL"),
    ("kernel_capture", grammar.boolean, "BOOL"),
    ("buffer_depth", grammar.count, "N"),
    ("infer_depth", grammar.count, "N"),
    ("trace_pmu", grammar.boolean, "BOOL"),
)
"""Flags about cards; they are read, and have no effect on a CPU."""

MOST_THREADS = 1024
"""Each has a context with memory of its own."""


def _pair(words: Sequence[str]) -> list[int]:
    """Two whole numbers above zero."""
    first, second = grammar.counts(words)
    return [first, second]


FLAGS = (
    Flag("magicmind_model", grammar.text, "FILE", None, "offline model", required=True),
    Flag("input_dims", grammar.shapes, "1,3,224,224 ...", None, "a shape per input, `_` for a scalar"),
    Flag("batch", grammar.count, "N", None, "first dim of every input"),
    Flag("batch_size", grammar.counts, "N ...", None, "first dim per input; before --input_dims"),
    Flag("run_config", grammar.text, "FILE", None, "JSON with groups of shapes; before all others"),
    Flag("input_files", grammar.texts, "FILE ...", None, "raw data per input, in the model's types"),
    Flag("output_path", grammar.text, "FOLDER", None, "where to write output<i>, raw; with --input_files"),
    Flag("plugin", grammar.texts, "FILE ...", None, "Python files that register operators"),
    Flag("rpc_server", grammar.text, "HOST:PORT", None, "run on a `magicmind remote-server`"),
    Flag("devices", grammar.naturals, "N ...", [0], "devices; each is this CPU"),
    Flag("threads", grammar.count, "N", 1, "threads that run at once, per device"),
    Flag("warmup", grammar.natural, "MS", 200, "milliseconds before measuring"),
    Flag("duration", grammar.natural, "MS", 3000, "milliseconds at least, the warm-up among them"),
    Flag("iterations", grammar.count, "N", 100, "runs at least"),
    Flag("disable_data_copy", grammar.boolean, "BOOL", False, "leave out copies of inputs and outputs"),
    Flag("trace_path", grammar.text, "FILE", None, "write the times of all runs, JSON"),
    Flag(
        "trace_time",
        grammar.choice("none", "host", "dev", "both"),
        "none|host|dev|both",
        "host",
        "whose clock the latencies of the groups are of; none: no such lines and no averages",
    ),
    Flag("avg_runs", _pair, "N,M", [100, 10], "averages of N runs or more, in M lines"),
    Flag("perf_path", grammar.text, "FOLDER", None, "write layers.json and trace.json: time per layer"),
    Flag("debug_path", grammar.text, "FOLDER", None, "write what every layer makes: <layer>.npy, tensors.json"),
    Flag("json", grammar.boolean, "BOOL", False, "print one JSON object instead"),
    *(Flag(name, read, words, None, "", effect=False) for name, read, words in _NO_EFFECT),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted."""
    return run_program("mm_run", FLAGS, run, argv)


def run(values: Mapping[str, Any]) -> None:
    """Opens, runs, writes, prints. Raises Error."""
    if values["output_path"] and not values["input_files"]:
        raise UsageError("--output_path needs --input_files", hint="outputs of random inputs are not written")
    from magicmind.plugin import load_plugins

    for flag in ("perf_path", "debug_path"):
        if values[flag] and values["rpc_server"]:
            raise UsageError(f"--{flag} and --rpc_server do not go together", hint="a server does not tell of layers")
    load_plugins(values["plugin"] or ())
    workers = values["threads"] * len(values["devices"])
    if workers > MOST_THREADS:
        raise UsageError(f"{workers} threads are asked for", hint=f"{MOST_THREADS} at most: --threads times --devices")
    began = time.perf_counter()
    with _opened(values["magicmind_model"], values["rpc_server"]) as model:
        opened = time.perf_counter()
        groups = shape_groups(model.inputs, values)
        feeds = [_feeds(model.inputs, group, values["input_files"]) for group in groups]
        cpus = len(os.sched_getaffinity(0))
        start = time.perf_counter()
        with model.engine(threads=max(1, cpus // workers)) as engine:
            seconds = {"model": opened - began, "engine": time.perf_counter() - start}
            copies = not values["disable_data_copy"]
            load_ = Load(values["warmup"], values["duration"], values["iterations"], workers, copies)
            with sampled(cpus) as busy:
                result = measure(engine, feeds, load_)
            _write_files(values, result, engine, feeds[0])
        found = summary.performance(result, [batch_of(group) for group in groups])
        if values["json"]:
            _print_json(values, found, groups)
        else:
            print("\n".join(_report(values, model, groups, feeds[0], result, found, busy, seconds)))


def _opened(path: str, server: str | None) -> Any:
    """The model, here or on a remote server."""
    if server is None:
        from magicmind.runtime import load

        return load(path)
    from magicmind.remote.models import RemoteModel

    return RemoteModel(server, path)


def _print_json(values: Mapping[str, Any], found: Mapping[str, Any], groups: Sequence[Group]) -> None:
    from magicmind.cli.text import print_json

    head = {"model": values["magicmind_model"], "devices": values["devices"], "threads": values["threads"]}
    shapes = [{name: list(shape) for name, shape in group.items()} for group in groups]
    print_json({**head, "input_shapes": shapes, **found})


def _report(
    values: Mapping[str, Any], model: Any, groups: Sequence[Group], feeds: Feeds, result: Result,
    found: Mapping[str, Any], busy: Utilization, seconds: Mapping[str, float],
) -> list[str]:  # fmt: skip
    """The blocks in their order, those of 0.13 and of 1.0 under each heading. seconds: that opening the model and
    making the engine took."""
    info = describe(values["magicmind_model"])
    layouts = info.get("magicmind", {}).get("layouts", {})
    devices, constants, clocks = values["devices"], info["section_bytes"].get("weights", 0), values["trace_time"]
    cpus = len(os.sched_getaffinity(0))
    lines = [
        summary.heading("Parameter Information"), *_parameters(values), *summary_one.parameter_lines(FLAGS, values),
        summary.created(seconds["model"]),
        summary.heading("Device Information", 19),
        *(line for device in devices for line in summary.device_block(device, model.target, cpus)),
        *summary.log_lines(result, values["threads"], devices, seconds["engine"], constants),
        *summary_one.log_lines(result, values["threads"], devices, seconds, constants),
        summary.heading("Model Information "),
        *summary.model_block("Input", model.inputs, feeds, layouts.get("inputs", ())),
        *summary.model_block("Output", model.outputs, result.outputs, layouts.get("outputs", ())),
        *summary_one.model_lines(info["bytes"], model.inputs, model.outputs),
        *summary.utilization_block(busy, devices), *summary_one.utilization_lines(busy, devices),
        *summary.performance_block(found), *summary_one.performance_lines(found, clocks),
        *summary_one.group_lines(result, groups, clocks),
    ]  # fmt: skip
    if clocks != "none":
        compute, averages = result.times.compute, values["avg_runs"]
        lines += summary.trace_block(compute, result.times.enqueue, *averages)
        lines += summary_one.trace_lines(compute, values["threads"] * len(devices), *averages)
    return lines


def _write_files(values: Mapping[str, Any], result: Result, engine: Any, feeds: Feeds) -> None:
    """The outputs, the times of all runs, the time and the values of every layer: what is asked for."""
    if values["output_path"]:
        _write(result.outputs, Path(values["output_path"]))
    if values["trace_path"]:
        times = {name: [1e3 * s for s in seconds] for name, seconds in vars(result.times).items()}
        Path(values["trace_path"]).write_text(json.dumps({"milliseconds": times}) + "\n")
    if values["perf_path"]:
        from magicmind.cli.layers import as_json, write_trace
        from magicmind.runtime.profiler import profile

        folder = Path(values["perf_path"])
        folder.mkdir(parents=True, exist_ok=True)
        with engine.context() as context:
            layers = profile(context, feeds)
        (folder / "layers.json").write_text(json.dumps(as_json(layers, None), indent=2) + "\n")
        write_trace(layers, folder / "trace.json")
    if values["debug_path"]:
        from magicmind.runtime.dump import dump

        with engine.context() as context:
            dump(context, feeds, Path(values["debug_path"]))


def _feeds(inputs: Sequence[TensorInfo], group: Group, files: Sequence[str] | None) -> dict[str, Array]:
    """Random arrays, or what the files hold."""
    if files is not None and len(files) != len(inputs):
        raise Error(f"--input_files has {len(files)} files, the model has {len(inputs)} inputs", hint="one per input")
    rng = np.random.default_rng(0)
    feeds = {}
    for i, info in enumerate(inputs):
        if info.kind != "tensor":
            raise Error(f"input {info.name} is a {info.kind} of tensors: mm_run has no form for one")
        shape, dtype = group[info.name], np.dtype(info.dtype)
        if files is None:
            feeds[info.name] = _random(rng, shape, dtype)
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


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Numbers from 0 to 1, the ends included for whole ones; whole bytes."""
    require(prod(shape) * dtype.itemsize)
    if dtype.kind == "f":
        wide = np.float64 if dtype == np.float64 else np.float32
        return rng.random(shape, dtype=wide).astype(dtype, copy=False)
    return rng.integers(0, 256 if dtype == np.uint8 else 2, shape, dtype)


def _write(outputs: Mapping[str, Array], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, array in enumerate(outputs.values()):
        with draft_of(folder / f"output{i}") as draft:
            draft.write_bytes(array.tobytes())


def _parameters(values: Mapping[str, Any]) -> list[str]:
    lines = [f"magicmind model file: {values['magicmind_model']}", "input dims type: 0"]
    for i, shape in enumerate(values["input_dims"] or ()):
        lines += [f"input {i}:", f"  input[{i}] dim: {list(shape)}"]
    switches = {"bind_cluster": False, "datatransfer_opt": True, "kernel_capture": False}
    said = {name: int(default if values[name] is None else values[name]) for name, default in switches.items()}
    lines += [
        f"iterations: {values['iterations']}", f"duration: {values['duration']}", f"warm_up: {values['warmup']}",
        f"thread_num: {values['threads']}", f"bind_cluster: {said['bind_cluster']}",
        f"devices: {' '.join(map(str, values['devices']))} ",
        f"disable_data_copy: {int(values['disable_data_copy'])}", f"datatransfer_opt: {said['datatransfer_opt']}",
        f"kernel_capture: {said['kernel_capture']}",
    ]  # fmt: skip
    if values["input_files"]:
        lines += ["input path: ", *(f"  {path}" for path in values["input_files"])]
    batch = values["batch"] or (values["batch_size"] or [None])[0]
    return lines + ([f"batch: {batch}"] if batch else [])


if __name__ == "__main__":
    raise SystemExit(main())
