"""Ranges and precisions of a Network's tensors and nodes, as `quant` and `build` take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir

from magicmind.compiler import calibrate
from magicmind.errors import PrecisionError, ShapeError
from magicmind.facade.build import candidates, settings
from magicmind.facade.config import BuilderConfig
from magicmind.facade.enums import DataType, QuantizationAlgorithm
from magicmind.facade.handles import AddedNode
from magicmind.facade.status import LOG, say_once
from magicmind.graph import Graph
from magicmind.ir.shape_spec import DimSpec
from magicmind.passes import ends
from magicmind.quant.quantise import Quantisation
from magicmind.quant.table import Scales

if TYPE_CHECKING:
    from magicmind.facade.calibrator import Calibration
    from magicmind.facade.handles import INode
    from magicmind.facade.network import Network
    from magicmind.facade.realise import Realised, Shapes

Array = np.ndarray[Any, np.dtype[Any]]

_BITS = {DataType.QINT8: 8, DataType.INT8: 8, DataType.QINT16: 16, DataType.INT16: 16}


def quantisation(config: BuilderConfig, algorithm: QuantizationAlgorithm) -> Quantisation:
    """How numbers become integers. One scale for all channels of a weight goes with balanced channels: without that
    depthwise convolutions lose too much."""
    per_axis = config.value("precision_config.weight_quant_granularity", "per_tensor") == "per_axis"
    return Quantisation(
        algorithm=algorithm.value,
        symmetric=config.value("precision_config.activation_quant_algo", "symmetric") == "symmetric",
        per_axis=per_axis,
        per_axis_of=_per_axis_of(config),
        equalise=not per_axis,
    )


_KINDS = {
    "IConvNode": "conv", "IConv1DNode": "conv", "IConv3DNode": "conv", "IConvDepthwiseNode": "depthwise",
    "IDeconvNode": "deconv", "IDeconv1DNode": "deconv", "IMatMulNode": "matmul", "IInnerProductNode": "matmul",
}  # fmt: skip
"""Nodes with weights, by the names that `custom_nodes` has for them."""


def _per_axis_of(config: BuilderConfig) -> dict[str, bool]:
    """What `custom_nodes` asks of the weights of some kinds of nodes, whichever of their inputs it names."""
    nodes: Mapping[str, Any] = config.value("custom_nodes", {})
    found = {}
    for name, node in nodes.items():
        granularities = {part.get("quant_granularity") for part in node.get("input", {}).values()} - {None}
        if not granularities:
            continue
        if name not in _KINDS:
            LOG.warning("custom_nodes: %s has no weights here; known are %s", name, ", ".join(_KINDS))
            continue
        found[_KINDS[name]] = "per_axis" in granularities
    return found


def measured(network: Network, config: BuilderConfig, calibration: Calibration) -> Calibration:
    """The calibration with the scales that its data gives the network as it was parsed.  Raises PrecisionError."""
    how = quantisation(config, calibration.algorithm)
    first = calibration.samples.first()
    with settings(config):
        problem: Exception | None = None
        for shapes in candidates(network, config):
            fitting = _fitting(network, shapes, [array.shape for array in first.values()])
            try:
                return replace(calibration, scales=_scales(network, config, calibration, how, fitting))
            except ShapeError as error:
                problem = error
    assert problem is not None
    raise problem


def _scales(
    network: Network, config: BuilderConfig, calibration: Calibration, how: Quantisation, shapes: Shapes
) -> Scales:
    """The scales for these shapes; where the samples have others than the first, for all of theirs."""
    graph = parsed(network, config, shapes).graph()
    try:
        return _calibrated(graph, calibration, how)
    except (PrecisionError, ShapeError):
        every = [[array.shape for array in sample.values()] for sample in calibration.samples]
        if len({tuple(shapes) for shapes in every}) == 1:
            raise
    for found in every:
        shapes = _fitting(network, shapes, found)
    return _calibrated(parsed(network, config, shapes).graph(), calibration, how)


def _calibrated(graph: Graph, calibration: Calibration, how: Quantisation) -> Scales:
    """Measured here, or by the server whose address the calibration has."""
    if not calibration.remote:
        return calibrate(graph, calibration.samples, how)
    from magicmind.remote.calibrate import calibrate as calibrate_remotely

    return calibrate_remotely(calibration.remote, graph, calibration.samples, how)


def parsed(network: Network, config: BuilderConfig, shapes: Shapes) -> Realised:
    """The network as it was parsed, in the widths that the configuration asks for."""
    realised = network.realise(shapes)
    if config.value("opt_config.type64to32_conversion", False):
        ends.narrow_floats(realised.model)
    return realised


def _fitting(network: Network, shapes: Shapes, sample: Sequence[tuple[int, ...]]) -> Shapes:
    """The shapes, widened where a sample has another size."""
    found = dict(shapes)
    for own, size in zip((i.own_name for i in network.inputs), sample, strict=True):
        specs = shapes.get(own)
        if specs is None or len(specs) != len(size):
            found[own] = list(size)
        else:
            found[own] = [_widened(spec, d) for spec, d in zip(specs, size, strict=True)]
    return found


def _widened(spec: DimSpec, size: int) -> DimSpec:
    if isinstance(spec, int):
        return size
    low, _, high = str(spec).partition("..")
    return f"{min(int(low), size)}..{max(int(high), size) if high else ''}"


def scales_of(network: Network, config: BuilderConfig) -> Scales | None:
    """The scales for a quantised build: those measured, with `custom_ranges` over them, and over these the ranges that
    the network's tensors were given.  Raises PrecisionError."""
    ranges: Mapping[str, Any] = config.value("custom_ranges", {})
    symmetric = config.value("precision_config.activation_quant_algo", "symmetric") == "symmetric"
    if network.calibration is None or "" in ranges:  # the empty name is about all tensors: there is nothing to measure
        ranges = {**ranges, **network.ranges}
        return Scales.of_ranges(ranges, symmetric=symmetric) if ranges else None
    if network.calibration.scales is None:
        network.calibration = measured(network, config, network.calibration)
    found = network.calibration.scales
    assert found is not None
    given = Scales.of_ranges({**ranges, **_of_measured(network.ranges, found)}, symmetric=symmetric)
    LOG.info("ranges that were given take the place of %d measured ones", len(given.tensors))
    return replace(found, tensors={**found.tensors, **given.tensors})


def _of_measured(ranges: Mapping[str, Any], measured: Scales) -> dict[str, Any]:
    """Those of tensors that become integers: of constants, and of what is fused away, there is no range to set."""
    for name in ranges:
        if name not in measured.tensors:
            say_once(f"range:{name}", "the range of %s has no effect: it is a constant, or never integers", name)
    return {name: ends for name, ends in ranges.items() if name in measured.tensors}


def layers(network: Network, realised: Realised, floats: str) -> dict[str, str]:
    """The modes of nodes whose precision was set, by the names of the nodes that they became."""
    modes: dict[str, str] = {}
    known = {node.name or "" for node in realised.model.graph}
    for node in network.nodes_with_precision():
        mode = _mode(node, floats)
        if mode is not None:
            modes |= {name: mode for name in _made_of(node, realised) if name in known}
    return modes


def _mode(node: INode, floats: str) -> str | None:
    """What a node computes in: as its inputs say, else its outputs."""
    inputs = [t for (which, _), t in node.precisions.items() if which == "input"]
    types = inputs or list(node.precisions.values())
    bits = min((_BITS[t] for t in types if t in _BITS), default=0)
    if bits:
        return f"qint{bits}_mixed_{floats}"
    if DataType.FLOAT32 in types:
        return "force_float32"
    return "force_float16" if DataType.FLOAT16 in types else None


def _made_of(node: INode, realised: Realised) -> list[str]:
    """The names of the nodes of the graph that a node of the network became."""
    key = node.results[0].key if node.results else ()
    if node.call is not None:
        return [n.name or "" for n in realised.calls.get(node.call, ())]
    if isinstance(node, AddedNode):
        return [n.name or "" for n in realised.model.graph if (n.name or "").startswith(f"{node.name}/")]
    producer: onnx_ir.Node | None = realised.value(key).producer() if key else None
    return [] if producer is None else [producer.name or ""]
