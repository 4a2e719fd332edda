"""The build configuration: JSON objects merged one over the other, checked key by key.

`KEYS` is the whole vocabulary: the check of each key's value, and whether it changes what is built here. Keys about the
card alone are kept, written into the model's manifest, and reported once.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magicmind.facade.status import Refused, guarded, say_once

PRECISIONS = (
    "force_float32", "force_float16",
    "qint8_mixed_float16", "qint8_mixed_float32", "qint16_mixed_float16", "qint16_mixed_float32",
)  # fmt: skip
LAYOUTS = ("NCHW", "NHWC", "NCT", "NTC", "NCDHW", "NDHWC")

Json = dict[str, Any]
Check = Callable[[Any], bool]


@dataclass(frozen=True)
class Key:
    """One key: what its value has to be, in words and as a test, and whether it has an effect here."""

    kind: str
    check: Check
    effect: bool = True


def _choice(*texts: str, effect: bool = True) -> Key:
    return Key(f"one of {', '.join(texts)}", lambda v: v in texts, effect)


def _by_index(kind: str, check: Check) -> Key:
    return Key(
        f'an object from input or output numbers ("0", "1") to {kind}',
        lambda v: isinstance(v, dict) and all(str(k).isdigit() and check(e) for k, e in v.items()),
    )


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n) for n in value
    )


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in value)


def _pair(first: str, second: str, check: Check) -> Check:
    """Both lists are there, and equally long."""
    return lambda v: (
        isinstance(v, dict) and check(v.get(first)) and check(v.get(second)) and len(v[first]) == len(v[second])
    )


def _layouts(value: Any) -> bool:
    return isinstance(value, dict) and value.get("src") in LAYOUTS and value.get("dst") in LAYOUTS


def _archs(value: Any) -> bool:
    one = lambda a: isinstance(a, str) or (isinstance(a, dict) and all(_sizes(c) for c in a.values()))  # noqa: E731
    return isinstance(value, list) and all(map(one, value))


def _flag(effect: bool = True) -> Key:
    return Key("true or false", lambda v: isinstance(v, bool), effect)


def _text(effect: bool = True) -> Key:
    return Key("a text", lambda v: isinstance(v, str), effect)


def _nodes(value: Any) -> bool:
    """Whether these are parameters of kinds of nodes, with a granularity that is known where one is given."""
    if not isinstance(value, dict) or not all(isinstance(node, dict) for node in value.values()):
        return False
    inputs = [node.get("input", {}) for node in value.values()]
    if not all(isinstance(parts, dict) and all(isinstance(p, dict) for p in parts.values()) for parts in inputs):
        return False
    granularities = [part.get("quant_granularity", "per_axis") for parts in inputs for part in parts.values()]
    return all(granularity in ("per_tensor", "per_axis") for granularity in granularities)


KEYS: Mapping[str, Key] = {
    "archs": Key('a list of names, or of objects {"name": [cluster counts]}', _archs),
    "graph_shape_mutable": _flag(),
    "dim_range": _by_index('{"min": [...], "max": [...]}', _pair("min", "max", _sizes)),
    "precision_config.precision_mode": _choice(*PRECISIONS, "forced_float32", "forced_float16"),
    "precision_config.activation_quant_algo": _choice("symmetric", "asymmetric"),
    "precision_config.weight_quant_granularity": _choice("per_tensor", "per_axis"),
    "opt_config.type64to32_conversion": _flag(),
    "opt_config.conv_scale_fold": _flag(),
    "opt_config.clustering_launch_enable": _flag(effect=False),
    "opt_config.tfu_enable": _flag(effect=False),
    "convert_input_layout": _by_index('{"src": layout, "dst": layout}', _layouts),
    "convert_output_layout": _by_index('{"src": layout, "dst": layout}', _layouts),
    "insert_bn_before_firstnode": _by_index('{"mean": [...], "var": [...]}', _pair("mean", "var", _numbers)),
    "computation_preference": _choice("auto", "fast", "high_precision"),
    "compute_determinism": _flag(effect=False),  # results are the same every time anyway
    "cross_compile_toolchain_path": _text(effect=False),
    "debug_config.fusion_enable": _flag(),
    "debug_config.print_ir.print_level": Key("a whole number from 0 on", lambda v: isinstance(v, int) and v >= 0),
    "custom_ranges": Key("an object from tensor names to ranges", lambda v: isinstance(v, dict)),
    "custom_nodes": Key('an object {node: {"input": {index: {"quant_granularity": ...}}}}', _nodes),
    "enable_refit": _flag(effect=False),
    "crop_config": Key("an object", lambda v: isinstance(v, dict), effect=False),
    "rgb2bgr": _flag(),
}
"""Every known key by its path."""

_SECTIONS = frozenset({"opt_config", "precision_config", "debug_config", "debug_config.print_ir"})


def merge(base: Json, other: Mapping[str, Any]) -> Json:
    """`other` over `base`, objects inside objects likewise. Neither changes."""
    merged = dict(base)
    for key, value in other.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def check(document: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """The paths in a document that nobody knows.  Raises Refused for a value that its key cannot have."""
    for name, value in document.items():
        path = f"{prefix}{name}"
        known = KEYS.get(path)
        if known is not None:
            if not known.check(value):
                raise Refused(f"{path} is {_shown(value)}; it has to be {known.kind}")
            if not known.effect:
                say_once(f"config:{path}", "%s has no effect on this device; it is kept in the model's manifest", path)
        elif path in _SECTIONS:
            if not isinstance(value, dict):
                raise Refused(f"{path} is {_shown(value)}; it has to be an object")
            yield from check(value, f"{path}.")
        else:
            yield path


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _loaded(text: str | bytes) -> Any:
    """What a JSON text says.  Raises ValueError, also for the NaN and Infinity that Python's reader takes."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class BuilderConfig:
    """What a model is built with; each call merges into what there is."""

    def __init__(self) -> None:
        self.document: Json = {}

    @guarded
    def parse_from_string(self, text: str) -> None:
        """Merges a JSON object; what it says wins."""
        if not isinstance(text, (str, bytes)):
            raise Refused(f"the configuration is a JSON text, not {type(text).__name__}")
        try:
            document = _loaded(text)
        except ValueError as error:
            raise Refused(f"the configuration is no JSON: {error}; it is {str(text)[:200]!r}") from None
        self._merge(document)

    @guarded
    def parse_from_file(self, path: str | os.PathLike[str]) -> None:
        """Merges the JSON object in a file."""
        try:
            document = _loaded(Path(path).read_text())
        except ValueError as error:
            raise Refused(f"{os.fspath(path)} is no JSON: {error}") from None
        self._merge(document)

    def _merge(self, document: Any) -> None:
        if not isinstance(document, dict):
            raise Refused(f"the configuration is a JSON object, not {_shown(document)}")
        for path in check(document):
            say_once(f"config:{path}", "the configuration key %s is not known; it is kept and has no effect", path)
        self.document = merge(self.document, document)

    @guarded
    def set_mlu_arch(self, names: Iterable[str]) -> None:
        """As the property `mlu_archs`."""
        listed = [names] if isinstance(names, str) else list(names)
        if not all(isinstance(name, str) for name in listed):
            raise Refused(f"the targets are names, not {listed!r:.60}")
        self.mlu_archs = listed

    @property
    def mlu_archs(self) -> list[str]:
        """The names among `archs`."""
        archs = self.document.get("archs", [])
        return [name for entry in archs for name in ([entry] if isinstance(entry, str) else entry)]

    @mlu_archs.setter
    def mlu_archs(self, names: Iterable[str]) -> None:
        listed = names if isinstance(names, Iterable) and not isinstance(names, str) else [names]
        self.document = {**self.document, "archs": [str(name) for name in listed]}

    def value(self, path: str, default: Any = None) -> Any:
        """What stands at a path."""
        found: Any = self.document
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return default if found is None else found

    @property
    def precision(self) -> str:
        """The precision mode in its one spelling."""
        return str(self.value("precision_config.precision_mode", PRECISIONS[0])).replace("forced_", "force_")
