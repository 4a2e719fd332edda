"""A Caffe network, its weights, and how both become a unified graph for given input shapes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import onnx_ir

import magicmind.frontends.caffe.layers  # noqa: F401  (fills the table of importers)
from magicmind.errors import Error, ModelFormatError, ShapeError, UnsupportedOperatorError
from magicmind.frontends.caffe.inputs import inputs_of, is_input, reads_data
from magicmind.frontends.caffe.layer import EACH, IMPORTERS, Importer, Layer
from magicmind.frontends.caffe.plugins import plugin_importer
from magicmind.frontends.caffe.prototxt import Net
from magicmind.frontends.caffe.weights import BlobSource
from magicmind.frontends.network import Network
from magicmind.ir.shape_spec import Range
from magicmind.ir.types import TensorType
from magicmind.ops.emitter import Value
from magicmind.source import CHANNELS_FIRST

DROPPED = frozenset(
    {
        "Accuracy", "ContrastiveLoss", "DetectionEvaluate", "EuclideanLoss", "HDF5Output", "HingeLoss", "InfogainLoss",
        "MultiBoxLoss", "MultinomialLogisticLoss", "Silence", "SmoothL1Loss",
    }
)  # fmt: skip
"""Layers without meaning at inference; what they judge becomes an output."""

_LOSSES = frozenset({"SoftmaxWithLoss", "SigmoidCrossEntropyLoss"})
"""Layers that become the function inside them; their labels are not needed."""

_LEARNED = frozenset(
    {
        "Convolution", "Convolution3D", "ConvolutionDepthwise", "ConvolutionDepthWise", "Deconvolution",
        "DepthwiseConvolution", "InnerProduct", "LSTM", "RNN", "Recurrent",
    }
)  # fmt: skip
"""Layers that tell what a network computes from what it is compared with."""

_MALFORMED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError)
"""What importers raise on numbers that make no sense."""


class CaffeSource:
    """A network whose layers lead to the wanted outputs, ready to convert."""

    layout = CHANNELS_FIRST

    def __init__(self, net: Net, weights: BlobSource, outputs: Sequence[str] | None = None) -> None:
        """Raises ModelFormatError for outputs that no layer makes, and for blobs that nobody makes."""
        self._net = net
        self._weights = weights
        declared = inputs_of(net)
        working = [layer for layer in net.layers if not _is_dropped(layer) and not is_input(layer)]
        unread = _unread(net, working, declared)
        self.outputs: Sequence[str] = _checked(outputs, working, declared) or unread
        if not self.outputs:
            raise ModelFormatError("the net has no output: every blob is read by some layer", hint="give outputs=[...]")
        self._layers = _needed(working, self.outputs)
        used = {bottom for layer in self._layers for bottom in _bottoms(layer)} | set(self.outputs)
        kept = _fed(net, declared, _needed(working, unread))
        self._declared = {
            name: TensorType(onnx_ir.DataType.FLOAT, shape)
            for name, shape in declared.items()
            if name in used or name in kept
        }
        _check_sources(self._layers, declared)

    @property
    def inputs(self) -> Mapping[str, TensorType]:
        """The declared inputs; a shape of None where the prototxt gives none."""
        return self._declared

    def convert(self, inputs: Mapping[str, TensorType], ranges: Mapping[str, Range]) -> onnx_ir.Model:
        """The unified graph.  Raises UnsupportedOperatorError for all layers without an importer at once."""
        conversion = _Conversion(self._net, self._weights, inputs)
        for message in self._layers:
            conversion.add(message)
        return conversion.model(self.outputs)


class _Conversion:
    """One walk over the layers."""

    def __init__(self, source: Net, weights: BlobSource, inputs: Mapping[str, TensorType]) -> None:
        self._net, self._text = Network(source.name), source.text
        self._weights = weights
        self._refused: list[str] = []
        self._lost: set[str] = set()  # blobs that refused layers would have made
        for blob, t in inputs.items():
            self._net.input(blob, t)

    def add(self, message: Any) -> None:
        """Imports a layer, unless what it reads is lost."""
        what = f"{message.name} (Caffe {message.type})"
        bottoms = _bottoms(message)
        importer = IMPORTERS.get(message.type) or plugin_importer(message.type)
        if importer is None:
            self._refuse(message, what)
        elif self._lost.intersection(bottoms):
            self._lost.update(message.top)
        else:
            try:
                self._import(importer, message, [self._net.values[bottom] for bottom in bottoms])
            except UnsupportedOperatorError as error:
                self._refuse(message, f"{what}: {error}")
            except Error as error:
                raise _located(error, what) from error
            except _MALFORMED as error:
                raise ModelFormatError(f"{what} is malformed: {type(error).__name__}: {error}") from error

    def model(self, outputs: Sequence[str]) -> onnx_ir.Model:
        """The finished model.  Raises UnsupportedOperatorError when any layer was refused."""
        if self._refused:
            count = len(self._refused)
            listing = "\n".join(f"  {line}" for line in self._refused)
            raise UnsupportedOperatorError(
                f"{count} layer{'s are' if count > 1 else ' is'} not supported:\n{listing}",
                hint="cut the net before them with outputs=[...]; docs/reference/operators-caffe.md lists all layers",
            )
        return self._net.model({name: self._net.values[name] for name in outputs})

    def _import(self, importer: Importer, message: Any, inputs: Sequence[Value]) -> None:
        net = self._net
        with net.at(message.name):
            made = self._made(importer, message, inputs)
        tops = _tops(message)
        if len(made) < len(tops):
            raise ModelFormatError(f"lists {len(tops)} tops; this layer makes {len(made)}")
        for top, value in zip(tops, made, strict=False):
            net.bind(top, value)

    def _made(self, importer: Importer, message: Any, inputs: Sequence[Value]) -> Sequence[Value]:
        """What the layer makes; one that has a bottom for every top is applied to each, with the same parameters."""
        count = len(inputs)
        if message.type not in EACH or count < 2:
            found = importer(Layer(self._net, message, self._weights, inputs, self._text))
            return [found] if isinstance(found, Value) else found
        if len(message.top) != count:
            raise ModelFormatError(f"lists {count} bottoms and {len(message.top)} tops; there is a top for each bottom")
        return [
            self._made(importer, _with_top(message, top), [x])[0] for top, x in zip(message.top, inputs, strict=True)
        ]

    def _refuse(self, message: Any, text: str) -> None:
        self._refused.append(text)
        self._lost.update(_tops(message))


def _with_top(layer: Any, top: str) -> Any:
    """The layer with this top only."""
    copy = type(layer)()
    copy.CopyFrom(layer)
    copy.top[:] = [top]
    return copy


def _is_dropped(layer: Any) -> bool:
    """Whether a layer only judges what others make: a known one, or one that nobody imports and is named or weighted as
    a loss or an accuracy."""
    if layer.type in DROPPED:
        return True
    if layer.type in IMPORTERS and layer.type != "Python":
        return False
    kind = layer.python_param.layer if layer.type == "Python" else layer.type
    judging = any(layer.loss_weight) or any(word in kind for word in ("Loss", "Accuracy", "WarpCTC"))
    return judging and plugin_importer(kind) is None


def _bottoms(layer: Any) -> list[str]:
    """What a layer reads at inference."""
    return list(layer.bottom[:1] if layer.type in _LOSSES else layer.bottom)


def _tops(layer: Any) -> list[str]:
    """What a layer makes; a loss may leave its top unnamed."""
    return list(layer.top) or [str(layer.name)]


def _checked(outputs: Sequence[str] | None, layers: Sequence[Any], declared: Collection[str]) -> list[str]:
    """The outputs asked for, which must exist."""
    made = {top for layer in layers for top in _tops(layer)} | set(declared)
    missing = [name for name in outputs or () if name not in made]
    if missing:
        raise ModelFormatError(
            f"the net has no blob {', '.join(map(repr, missing))}", hint=f"it has {', '.join(sorted(made))}"
        )
    return list(outputs or ())


def _unread(net: Net, layers: Sequence[Any], declared: Collection[str]) -> list[str]:
    """The blobs that no layer reads, in the order they are made; not inputs, and not what is silenced or a label."""
    reading = {bottom for layer in layers for bottom in _bottoms(layer) if bottom not in layer.top}
    computed = _computed(layers, declared)
    for layer in net.layers:
        if layer.type == "Silence":
            reading.update(layer.bottom)
        elif _is_dropped(layer) or layer.type in _LOSSES:
            reading.update(set(layer.bottom[1:]) - computed)
    return [top for top in _all_tops(layers) if top not in reading and top not in declared]


def _computed(layers: Sequence[Any], declared: Collection[str]) -> set[str]:
    """The blobs that layers with parameters lead to, but no input that such layers never see: a label."""
    learning = [layer for layer in layers if layer.type in _LEARNED]
    seen = {bottom for layer in _needed(layers, _all_tops(learning)) for bottom in _bottoms(layer)}
    labels, found = set(declared) - seen, set[str]()
    for layer in layers:
        if labels.intersection(_bottoms(layer)):
            labels.update(_tops(layer))
        elif layer.type in _LEARNED or found.intersection(_bottoms(layer)):
            found.update(_tops(layer))
    return found


def _all_tops(layers: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(top for layer in layers for top in _tops(layer)))


def _needed(layers: Sequence[Any], outputs: Collection[str]) -> list[Any]:
    """The layers that lead to the outputs, walked backwards so that in-place chains stay whole."""
    wanted, found = set(outputs), []
    for layer in reversed(layers):
        if wanted.intersection(_tops(layer)):
            wanted.update(_bottoms(layer))
            found.append(layer)
    return found[::-1]


def _fed(net: Net, declared: Collection[str], working: Sequence[Any]) -> set[str]:
    """Inputs to keep although no output asked for needs them: those declared as such, unless only losses do.

    `working` are the layers that lead to the outputs of the whole net.
    """
    data = {top for layer in net.layers if reads_data(layer) for top in layer.top}
    read = {bottom for layer in net.layers for bottom in layer.bottom}
    needed = {bottom for layer in working for bottom in _bottoms(layer)}
    return set(declared) - data - (read - needed)


def _check_sources(layers: Sequence[Any], declared: Collection[str]) -> None:
    """Every bottom must have been made before."""
    made = set(declared)
    for layer in layers:
        missing = [bottom for bottom in _bottoms(layer) if bottom not in made]
        if missing:
            raise ModelFormatError(
                f"layer {layer.name!r} ({layer.type}) reads {', '.join(map(repr, missing))}, "
                "which no layer before makes",
                hint=f"an input is declared as in: input: {missing[0]!r} input_shape {{ dim: 1 dim: 3 }}",
            )
        made.update(_tops(layer))


def _located(error: Error, what: str) -> Error:
    """The error with the layer in front, unless its text has it."""
    text = str(error)
    if text.startswith(("layer ", what)):
        return error
    kind = next((k for k in (ShapeError, UnsupportedOperatorError, ModelFormatError) if isinstance(error, k)), Error)
    return kind(f"{what}: {text}")
