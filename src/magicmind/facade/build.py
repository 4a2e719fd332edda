"""From a Network and its configuration to a model of our own API: each key of the configuration has its place here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import onnx_ir

from magicmind import knobs
from magicmind.compiler import Options, compile_parts
from magicmind.errors import Error, PrecisionError, ShapeError, UnsupportedOperatorError
from magicmind.facade.config import BuilderConfig
from magicmind.facade.enums import DataType, Layout, QuantizationAlgorithm
from magicmind.facade.onnx_types import graph_type
from magicmind.facade.status import LOG, Refused, say_once
from magicmind.ir.shape_spec import DimSpec
from magicmind.ir.types import type_of
from magicmind.passes import ends
from magicmind.quant.precision import mode_of
from magicmind.runtime import from_parts
from magicmind.runtime.model import Model as CoreModel

if TYPE_CHECKING:
    from magicmind.facade.network import Network
    from magicmind.facade.realise import Shapes

FUSIONS = (
    "fuse_activation", "fuse_attention", "fuse_elementwise", "fuse_epilogue", "fuse_gelu", "fuse_group_norm",
    "fuse_l2_norm", "fuse_mish", "fuse_separable", "fuse_swish", "fuse_hard_sigmoid", "fuse_hard_swish",
)  # fmt: skip
"""The passes that `debug_config.fusion_enable` switches off."""
FOLDING = ("fold_scale",)
"""Those that `opt_config.conv_scale_fold` switches off."""
_CARD = ("mtp_", "tp_")
_CALIBRATE = "call Calibrator.calibrate(network, config) before build_model, or give custom_ranges"
ANY = "1.."
_RANKS = 5


def build_model(name: str, network: Network, config: BuilderConfig) -> CoreModel:
    """The model.  Raises Error."""
    network.require_open()
    require_numbers(network, config)
    with settings(config):
        problems: list[Error] = []
        for shapes in candidates(network, config):
            try:
                model = _built(name, network, config, shapes)
            except (ShapeError, UnsupportedOperatorError) as error:
                problems.append(error)
                continue
            if problems:
                LOG.warning("%s: not every size can vary: %s", name, str(problems[-1]).partition("\n")[0])
            return model
    raise problems[-1]  # of the sizes as they are: what came before was about open ones


def _built(name: str, network: Network, config: BuilderConfig, shapes: Shapes) -> CoreModel:
    """The network is quantised as it was parsed; only then its ends are put around it."""
    from magicmind.facade.ranges import layers, parsed, quantisation, scales_of

    realised = parsed(network, config, shapes)
    mode = mode_of(config.precision)
    calibration = network.calibration
    options = Options(
        precision=mode.name,
        targets=targets(config),
        layers=layers(network, realised, mode.floats),
        computation_preference=config.value("computation_preference", "auto"),
        scales=scales_of(network, config) if mode.bits else None,
        quantisation=quantisation(
            config, QuantizationAlgorithm.LINEAR_ALGORITHM if calibration is None else calibration.algorithm
        ),
        ends=lambda model: put_ends(model, network, config),
    )
    try:
        parts = compile_parts(realised.graph(), options)
    except PrecisionError as error:
        if mode.bits and options.scales is None:
            raise Refused(f"{mode.name} needs the ranges of all tensors", hint=_CALIBRATE) from error
        raise
    info = {"name": name, "build_config": config.document, "layouts": layouts(network, config)}
    return from_parts(replace(parts, info={**parts.info, "magicmind": info}))


# ---------------------------------------------------------------------------------------------------------- settings


@contextmanager
def settings(config: BuilderConfig) -> Iterator[None]:
    """Our own knobs for this build only."""
    skipped = set(knobs.SKIP.names())
    if config.value("debug_config.fusion_enable") is False:
        skipped |= _known(FUSIONS)
    if config.value("opt_config.conv_scale_fold") is False:
        skipped |= _known(FOLDING)
    with ExitStack() as stack:
        if skipped:
            stack.enter_context(knobs.SKIP.set(",".join(sorted(skipped))))
        level = config.value("debug_config.print_ir.print_level")
        if level:
            stack.enter_context(knobs.DEBUG.set(level))
        yield


def _known(names: Sequence[str]) -> set[str]:
    """Those of the passes that there are."""
    from magicmind.passes.pipeline import layout_stages, stages

    return {pass_.name for stage in (*stages(), *layout_stages()) for pass_ in stage.passes} & set(names)


def targets(config: BuilderConfig) -> list[str]:
    """The targets: our own names as they are, a card's as this machine."""
    found = []
    for name in config.mlu_archs:
        if name.startswith(_CARD):
            say_once("archs", "archs names accelerator cards; the model is built for this machine's CPU")
        found.append("native" if name.startswith(_CARD) else name)
    return list(dict.fromkeys(found)) or ["native"]


# ------------------------------------------------------------------------------------------------------------- shapes


def candidates(network: Network, config: BuilderConfig) -> Iterator[Shapes]:
    """Shapes to try in turn, the most general first: what a network cannot do with open sizes it may do with fixed.

    Inputs of unknown rank have one rank after another, the lowest first, each with all that the others may be.
    """
    mutable = bool(config.value("graph_shape_mutable", True))
    ranges: Mapping[str, Any] = config.value("dim_range", {}) if mutable else {}
    variants: dict[str, Sequence[Sequence[DimSpec]]] = {}
    unranked: list[str] = []
    for i, found in enumerate(network.inputs):
        given = ranges.get(str(i))
        if not mutable:
            variants[found.own_name] = [_fixed(found.shown_name, found.dims)]
        elif given is not None:
            variants[found.own_name] = [_ranged(found.shown_name, found.dims, given)]
        elif found.dims is None:
            unranked.append(found.own_name)
        else:
            variants[found.own_name] = _open(found.dims)
    seen: list[Shapes] = []
    for ranks in _ranks(len(unranked)):
        guessed = {name: [ANY] * rank for name, rank in zip(unranked, ranks, strict=True)}
        for step in range(max(map(len, variants.values()), default=1)):
            chosen = {name: choices[min(step, len(choices) - 1)] for name, choices in variants.items()} | guessed
            shapes = {found.own_name: chosen[found.own_name] for found in network.inputs}
            if shapes not in seen:
                seen.append(shapes)
                yield shapes


def _fixed(name: str, dims: Sequence[int] | None) -> list[DimSpec]:
    if dims is None or any(d < 0 for d in dims):
        raise Refused(
            f"graph_shape_mutable is false; the shape of input {name} is {'unknown' if dims is None else list(dims)}",
            hint="set_dimension gives it numbers",
        )
    return list(dims)


def _ranged(name: str, dims: Sequence[int] | None, given: Mapping[str, Sequence[int]]) -> list[DimSpec]:
    """The range, but the present size of an axis where that lies outside: what a program then feeds is that size."""
    low, high = given["min"], given["max"]
    if dims is not None and len(low) != len(dims):
        raise Refused(f"dim_range of input {name} has {len(low)} dims; the input has {len(dims)}")
    if any(a > b for a, b in zip(low, high, strict=True)):
        raise Refused(f"dim_range of input {name}: min {list(low)} exceeds max {list(high)}")
    found: list[DimSpec] = []
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        now = None if dims is None or dims[i] < 0 else dims[i]
        if now is not None and not a <= now <= b:
            LOG.warning("dim_range of input %s: axis %d is %d, outside %d..%d, and stays so", name, i, now, a, b)
            found.append(now)
        else:
            found.append(a if a == b else f"{a}..{b}")
    return found


def _ranks(count: int) -> list[tuple[int, ...]]:
    """The ranks to try in turn of so many inputs.

    Where there are more than two, all have the same rank, as the inputs of a language network do.
    """
    ranks = range(_RANKS)
    return [(rank,) * count for rank in ranks] if count > 2 else sorted(product(ranks, repeat=count), key=sum)


def _open(dims: Sequence[int]) -> list[list[DimSpec]]:
    """Any size everywhere; everywhere but one axis, which may be the channels'; the batch alone; none."""
    rank = len(dims)
    now: list[DimSpec] = [ANY if d < 0 else d for d in dims]
    everywhere: list[DimSpec] = [ANY] * rank
    but = [[*everywhere[:i], now[i], *everywhere[i + 1 :]] for i in (1, rank - 1) if rank > 1]
    return [everywhere, *but, [*everywhere[:1], *now[1:]], now]


# --------------------------------------------------------------------------------------------------------------- ends


_COLOURS = 3


def put_ends(model: onnx_ir.Model, network: Network, config: BuilderConfig) -> None:
    """Puts what the built model takes and delivers around the graph, in place."""
    reversed_ = [_put_input(model, i, network.inputs[i].wanted, config) for i in range(network.get_input_count())]
    if config.value("rgb2bgr") and not any(reversed_):
        raise Refused("rgb2bgr: no input is an image of three channels")
    for i in range(network.get_output_count()):
        _put_output(model, i, network.output_type(i), config)


def layouts(network: Network, config: BuilderConfig) -> dict[str, list[str]]:
    """The layouts of the inputs and outputs, as far as the configuration says them."""
    counts = {"input": network.get_input_count(), "output": network.get_output_count()}
    return {
        f"{end}s": [_layout(config, end, i).get("dst", Layout.NONE.value) for i in range(count)]
        for end, count in counts.items()
    }


def require_numbers(network: Network, config: BuilderConfig) -> None:
    """Raises Refused for inputs and outputs that the configuration speaks of and the network does not have."""
    counts = {"convert_output_layout": network.get_output_count()}
    for key in ("dim_range", "insert_bn_before_firstnode", "convert_input_layout", "convert_output_layout"):
        count = counts.get(key, network.get_input_count())
        for number in config.value(key, {}):
            if int(number) >= count:
                raise Refused(f"{key} speaks of number {number}; the network has {count}, from 0 on")


def _layout(config: BuilderConfig, end: str, i: int) -> Mapping[str, str]:
    found: Mapping[str, str] = config.value(f"convert_{end}_layout", {}).get(str(i), {})
    return found


def _put_input(model: onnx_ir.Model, i: int, wanted: DataType | None, config: BuilderConfig) -> bool:
    """From the inside out: reversed channels, normalisation of bytes or a type, and the layout.

    Returns whether channels were reversed.
    """
    norm = config.value("insert_bn_before_firstnode", {}).get(str(i))
    layout = _layout(config, "input", i)
    axis = channel_axis(model.graph.inputs[i], layout, _COLOURS if norm is None else len(norm["mean"]))
    reverse = bool(config.value("rgb2bgr", False)) and _has_colours(model.graph.inputs[i], axis)
    if reverse:
        ends.reverse_input_channels(model, i, axis or 0)
    if norm is not None:
        mean, variance = (list(reversed(norm[k])) if reverse else list(norm[k]) for k in ("mean", "var"))
        ends.normalise_input(model, i, mean, variance, 1 if axis is None else axis)
    else:
        dtype = model.graph.inputs[i].dtype
        target = graph_type(wanted) if wanted is not None else _narrowed(dtype, config)
        if target is not None and target != dtype:
            ends.cast_input(model, i, target)
    if layout:
        ends.lay_out_input(model, i, ends.layout_order(layout["src"], layout["dst"]))
    return reverse


def _has_colours(value: onnx_ir.Value, axis: int | None) -> bool:
    """Whether an input is of images with three channels.  Raises ShapeError while that is open."""
    t = type_of(value)
    if axis is None or t is None or t.shape is None or t.rank != 4:
        return False
    if t.dims[axis] != _COLOURS and not all(isinstance(t.dims[i], int) for i in (axis, 1, 3)):
        raise ShapeError(f"rgb2bgr: which axis of input {value.name} {t} are its channels is not known")
    return t.dims[axis] == _COLOURS


def _put_output(model: onnx_ir.Model, i: int, wanted: DataType | None, config: BuilderConfig) -> None:
    layout = _layout(config, "output", i)
    if layout:
        ends.lay_out_output(model, i, ends.layout_order(layout["src"], layout["dst"]))
    target = graph_type(wanted) if wanted is not None else _narrowed(model.graph.outputs[i].dtype, config)
    if target is not None:
        ends.cast_output(model, i, target)


def channel_axis(value: onnx_ir.Value, layout: Mapping[str, str], count: int) -> int | None:
    """Which axis of a parsed input are the channels: as its layout says, else the first that is as long as `count`."""
    if layout and "C" in layout["src"]:
        return layout["src"].index("C")
    t = type_of(value)
    if t is None or t.shape is None or t.rank < 2:
        return None
    fitting = [axis for axis in (1, t.rank - 1) if t.dims[axis] == count]
    return fitting[0] if fitting else 1


def _narrowed(dtype: onnx_ir.DataType | None, config: BuilderConfig) -> onnx_ir.DataType | None:
    """The type to deliver instead: 32 bits where the configuration asks for them, and what the API has a name for."""
    narrow = bool(config.value("opt_config.type64to32_conversion", False))
    types = onnx_ir.DataType
    always = {types.DOUBLE: types.FLOAT, types.BFLOAT16: types.FLOAT}
    if dtype in always:
        return always[dtype]
    return {types.INT64: types.INT32, types.UINT64: types.UINT32}.get(dtype) if narrow and dtype is not None else None
