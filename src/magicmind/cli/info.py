"""Shows what an offline model holds: inputs, outputs, targets, sections with their sizes, and with --steps every layer.

Reads and checks the file; no code in it is run.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from magicmind.cli import options, text
from magicmind.runtime.model import host_nodes

if TYPE_CHECKING:
    from magicmind.modelfile.reader import OfflineFile

SUMMARY = "show what an offline model holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser, "offline model (.mm)")
    parser.add_argument("--steps", action="store_true", help="list the kernel calls of the first target")
    parser.add_argument("--full", action="store_true", help="check the weights by SHA-256 too")
    options.add_json(parser)


def execute(arguments: argparse.Namespace) -> None:
    from magicmind.modelfile.reader import open_file

    file = open_file(arguments.model, verify="full" if arguments.full else "fast")
    try:
        description = describe(file)
    finally:
        file.close()
    if arguments.json:
        text.print_json(description)
        return
    print_description(description)
    if arguments.steps:
        print_steps(description["targets"][0]["steps"])


def describe(file: OfflineFile) -> dict[str, Any]:
    """Everything that is shown, as JSON values."""
    return {
        "file": file.where,
        "bytes": file.size,
        "precision": file.manifest["precision"],
        "inputs": [text.tensor_json(info) for info in file.inputs],
        "outputs": [text.tensor_json(info) for info in file.outputs],
        "ranges": file.manifest["ranges"],
        "tuned": file.manifest.get("tuned", False),
        "picks": file.manifest.get("picks", {}),
        "calibration": file.manifest.get("calibration", {}),
        "float32": file.manifest.get("float32", []),
        "accuracy": file.manifest.get("accuracy", {}),
        "never_slower": file.manifest.get("never_slower", {}),
        "plugins": file.manifest.get("plugins", []),
        "targets": [_target(file, target) for target in file.targets],
        "sections": {name: section.size for name, section in file.sections.items()},
    }


def _target(file: OfflineFile, target: Mapping[str, Any]) -> dict[str, Any]:
    plan = file.json(f"plan:{target['name']}")
    steps = [{key: step[key] for key in ("node", "op", "kernel", "flops", "bytes")} for step in plan["steps"]]
    return {
        "name": target["name"],
        "machine": target["machine"],
        "requires": target["requires"],
        "code_bytes": file.sections[f"code:{target['name']}"].size,
        "arena": plan["arena"],
        "scratch": plan["scratch"],
        "steps": steps,
        "fallback": host_nodes(plan),
        "prepared": _prepared(plan),
    }


def _prepared(plan: Mapping[str, Any]) -> dict[str, int]:
    """Steps that run at load, and the bytes of what they make."""
    prepare = plan.get("prepare", {"steps": (), "bytes": 0})
    return {"steps": len(prepare["steps"]), "bytes": prepare["bytes"]}


def print_description(description: Mapping[str, Any]) -> None:
    print(f"{description['file']}: {text.size(description['bytes'])}, {description['precision']}\n")
    for role in ("inputs", "outputs"):
        for tensor in description[role]:
            print(f"{role[:-1]:7} {tensor['name']} {tensor['dtype']} {_shape(tensor['shape'])}")
    print()
    print(text.table(["target", "machine", "code", "arena", "steps", "needs"], _target_rows(description["targets"])))
    print()
    sections = [[name, text.size(count)] for name, count in description["sections"].items()]
    print(text.table(["section", "size"], sections))
    print()
    first = description["targets"][0]
    counts = Counter(step["op"] for step in first["steps"]).most_common()
    print(f"steps of {first['name']}: " + ", ".join(f"{count} {op}" for op, count in counts))
    if first["prepared"]["steps"]:
        print(f"made of weights at load: {text.size(first['prepared']['bytes'])} by {first['prepared']['steps']} steps")
    for line in (*tuning_lines(description), *precision_lines(description)):
        print(line)
    if description["plugins"]:
        print(f"needs the plugins: {', '.join(description['plugins'])}")
    if first["fallback"]:
        print(f"no native code, run by Python: {', '.join(first['fallback'])}")


def tuning_lines(manifest: Mapping[str, Any]) -> list[str]:
    """What tuning changed, a line per target; none for a model that was built without."""
    if not manifest.get("tuned"):
        return []
    return [
        f"tuned for {target}: {len(picks)} kind(s) of layers differ from the cost model's choice"
        if picks
        else f"tuned for {target}: the cost model's choices stand"
        for target, picks in manifest["picks"].items()
    ]


def precision_lines(manifest: Mapping[str, Any]) -> list[str]:
    """Where the scales of a quantised model come from, and what float16 could not hold."""
    lines = []
    given = manifest.get("calibration") or {}
    if given:
        samples = f"{given['samples']} samples ({given['data']})" if given.get("samples") else given.get("data")
        lines.append(f"scales from {samples}" + (f": {given['remark']}" if "remark" in given else ""))
    found = manifest.get("accuracy") or {}
    if found:
        cost = f"{len(found['kept'])} layers in float, {found['share_of_flops']:.1%} of the arithmetic"
        reached = "exact" if found["reached"] is None else f"{found['reached']:.6g}"
        lines.append(f"{found['metric']} {reached}, {found['target']:.6g} asked: {cost}")
    timed = manifest.get("never_slower") or {}
    if timed:
        times = (
            f"{timed['float_ms']:.3g} ms in float, {timed['integer_ms']:.3g} in integers, {timed['chosen_ms']:.3g} now"
        )
        lines.append(f"{len(timed['kept'])} layers in float because integers are slower here: {times}")
    return [*lines, *(f"float16: {text}" for text in manifest.get("float32") or ())]


def _target_rows(targets: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [
        [
            target["name"],
            target["machine"],
            text.size(target["code_bytes"]),
            "by shape" if target["arena"] is None else text.size(target["arena"]),
            str(len(target["steps"])),
            " ".join(target["requires"]),
        ]
        for target in targets
    ]


def print_steps(steps: Sequence[Mapping[str, Any]]) -> None:
    """One line per kernel call; work that depends on the shape is shown as its formula."""
    rows = [
        [str(i), step["op"], step["kernel"], str(step["flops"]), str(step["bytes"]), _node(step["node"])]
        for i, step in enumerate(steps)
    ]
    print()
    print(text.table(["step", "op", "kernel", "flops", "bytes", "nodes of the source"], rows))


def _node(node: str | Sequence[str]) -> str:
    return node if isinstance(node, str) else " + ".join(node)


def _shape(shape: Sequence[int | Sequence[int | None]]) -> str:
    return f"[{', '.join(str(d) if isinstance(d, int) else _range(d) for d in shape)}]"


def _range(bounds: Sequence[int | None]) -> str:
    low, high = bounds
    return f"{low}..{'' if high is None else high}"
