"""A frozen graph, what of it leads to the wanted outputs, and how that becomes a unified graph for given shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

import onnx_ir

import magicmind.frontends.tensorflow.importers  # noqa: F401  (fills the table)
from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.frontends.network import Network
from magicmind.frontends.tensorflow.call import IMPORTERS, ON_COMPLEX
from magicmind.frontends.tensorflow.flow import CONTROL
from magicmind.frontends.tensorflow.graphdef import Body, GraphFile, Node, Ref
from magicmind.frontends.tensorflow.items import Complex, TensorList
from magicmind.frontends.tensorflow.outputs import OUTPUTS
from magicmind.frontends.tensorflow.tensors import dtype_of
from magicmind.frontends.tensorflow.walk import Shared, Walk
from magicmind.ir.dims import symbol
from magicmind.ir.shape_spec import Range, sanitise
from magicmind.ir.types import Shape, TensorType
from magicmind.ops.emitter import Value
from magicmind.passes.remove_dead import RemoveDead
from magicmind.source import CHANNELS_LAST

_PLACEHOLDERS = ("Placeholder", "PlaceholderV2")
_KNOWN = IMPORTERS.keys() | ON_COMPLEX.keys()
_NO_RESULT = frozenset(
    {"NoOp", "Assert", "Const", "Print", "SaveV2", "RestoreV2", "MergeV2Checkpoints", *_PLACEHOLDERS}
)
"""What an output is not, although nobody reads it."""
_TYPES = ("dtype", "T", "DstT", "out_type", "output_type", "Tparams", "SrcT")
"""Attributes that may say the type of a node's result, the surest first."""
_OLD_SCALARS = 24  # the version of producers before which a shape of no dims meant that nothing is known
_MANY = 8  # names that an error lists


class TensorFlowSource:
    """A graph between its inputs and outputs, ready to convert."""

    layout = CHANNELS_LAST

    def __init__(
        self, file: GraphFile, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None
    ) -> None:
        """Raises ModelFormatError for inputs and outputs that do not exist, and for inputs that are missing.

        `inputs` may name nodes inside the graph: it is cut there.
        """
        self._file = file
        given = [_ref(file.body, name, "input") for name in inputs or ()]
        self._results = [_ref(file.body, name, "output") for name in outputs or ()] or _unread(file.body)
        self.outputs: Sequence[str] = [_text(ref) for ref in self._results]
        body = _cut(file.body, given)
        self._shared = Shared(file.functions)
        self._body = body
        reached = self._shared.flow(body).reachable(self._results, [name for name, _ in given])
        placeholders = [(name, 0) for name, node in body.nodes.items() if node.op in _PLACEHOLDERS and name in reached]
        missing = [_text(ref) for ref in placeholders if given and ref not in given]
        if missing:
            raise ModelFormatError(
                f"the outputs also depend on {_listing(missing)}", hint="give all of them as inputs=[...]"
            )
        self._feeds = given or placeholders
        self.inputs: Mapping[str, TensorType] = {_text(ref): _declared(file, ref) for ref in self._feeds}
        self._check_importers(reached)

    def convert(self, inputs: Mapping[str, TensorType], ranges: Mapping[str, Range]) -> onnx_ir.Model:
        """The unified graph.  Raises UnsupportedOperatorError, ShapeError, ModelFormatError naming the node."""
        net = Network("", ranges)
        known = {ref: net.input(name, inputs[name]) for ref, name in zip(self._feeds, inputs, strict=True)}
        items = Walk(Shared(self._file.functions), self._body, net, known).run(self._results)
        lists = [_text(r) for r, item in zip(self._results, items, strict=True) if isinstance(item, TensorList)]
        if lists:
            raise ModelFormatError(f"{_listing(lists)} is a list of tensors, which cannot be an output")
        pairs = [_text(r) for r, item in zip(self._results, items, strict=True) if isinstance(item, Complex)]
        if pairs:
            raise ModelFormatError(
                f"{_listing(pairs)} is complex, which cannot be an output",
                hint="end with the real and the imaginary part, or with the absolute value",
            )
        values = {_text(r): item for r, item in zip(self._results, items, strict=True) if isinstance(item, Value)}
        model = net.model(values)
        RemoveDead().call(model)
        return model

    def _check_importers(self, reached: Mapping[str, Node]) -> None:
        """Raises UnsupportedOperatorError for all operators without an importer, those of functions among them."""
        lines: list[str] = []
        pending: list[tuple[str, Iterable[Node]]] = [("", reached.values())]
        seen: set[str] = set()
        while pending:
            prefix, nodes = pending.pop()
            for node in nodes:
                if node.op not in _KNOWN and node.op not in CONTROL and node.op not in _PLACEHOLDERS:
                    lines.append(f"  {prefix}{node.name} (TensorFlow {node.op})")
                for name in _called(node):
                    body = self._file.functions.get(name)
                    if body is not None and name not in seen:
                        seen.add(name)
                        inside = self._shared.flow(body).reachable(body.results)
                        pending.append((f"{prefix}{node.name}/", inside.values()))
        if lines:
            count = len(lines)
            raise UnsupportedOperatorError(
                f"{count} node{'s are' if count > 1 else ' is'} not supported:\n" + "\n".join(lines),
                hint="cut the graph there with inputs=[...] and outputs=[...]; "
                "docs/reference/operators-tensorflow.md lists all operators",
            )


def _called(node: Node) -> list[str]:
    """The functions a node calls."""
    names = [node.attr(key) for key in ("f", "then_branch", "else_branch", "cond", "body")]
    return [str(n) for n in (*names, *(node.attr("branches") or [])) if isinstance(n, str)]


def _ref(body: Body, name: str, role: str) -> Ref:
    """`node`, `node:1` or `^node` as an output.  Raises ModelFormatError, with names that are close."""
    stem, _, number = name.removeprefix("^").partition(":")
    if stem not in body.nodes or (number and not number.isdigit()):
        close = get_close_matches(stem, body.nodes, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(map(repr, close))}?" if close else f"it has {_listing(list(body.nodes))}"
        raise ModelFormatError(f"the graph has no node {stem!r} for an {role}", hint=hint)
    return stem, int(number or 0)


def _text(ref: Ref) -> str:
    return ref[0] if not ref[1] else f"{ref[0]}:{ref[1]}"


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return ", ".join(map(repr, names[:_MANY])) + more


def _cut(body: Body, inputs: Sequence[Ref]) -> Body:
    """The graph with placeholders for nodes whose first output is an input, so that nothing behind is looked at."""
    nodes = dict(body.nodes)
    for name, number in inputs:
        if not number and nodes[name].op not in _PLACEHOLDERS and _outputs(nodes[name]) == 1:
            nodes[name] = replace(nodes[name], op="Placeholder", inputs=(), controls=())
    return Body(nodes)


def _outputs(node: Node) -> int:
    return len(OUTPUTS.get(node.op, ("",)))


def _unread(body: Body) -> list[Ref]:
    """The outputs of nodes that no node reads.  Raises ModelFormatError when there are none."""
    read = {name for node in body.nodes.values() for name in (*(n for n, _ in node.inputs), *node.controls)}
    found = [node for node in body.nodes.values() if node.name not in read and node.op not in _NO_RESULT]
    refs = [(node.name, 0) for node in found if node.op not in CONTROL or node.op in ("Merge", "Exit")]
    if not refs:
        raise ModelFormatError("the graph has no output: some node reads every other", hint="give outputs=[...]")
    return refs


def _declared(file: GraphFile, ref: Ref) -> TensorType:
    """The type of an input; sizes that the file leaves open are symbols."""
    node = file.body.nodes[ref[0]]
    sizes = node.shape("shape") if node.op in _PLACEHOLDERS else None
    if sizes is None and node.has("_output_shapes"):
        listed = node.attr("_output_shapes")
        sizes = listed[ref[1]] if ref[1] < len(listed) else None
    if node.op == "Const":
        sizes = tuple(node.tensor("value").shape)
    if sizes == () and node.op in _PLACEHOLDERS and file.producer < _OLD_SCALARS:
        sizes = None
    if sizes is None and any(n.op == "DecodeWav" and ref in n.inputs for n in file.body.nodes.values()):
        sizes = ()  # the contents of one file
    shape: Shape | None = None
    if sizes is not None:
        shape = tuple(s if s >= 0 else symbol(sanitise(f"{_text(ref)}_d{i}")) for i, s in enumerate(sizes))
    return TensorType(_type_of(node), shape)


def _type_of(node: Node) -> onnx_ir.DataType:
    for name in _TYPES:
        number = node.attr(name)
        if isinstance(number, int) and not isinstance(number, bool):
            return dtype_of(number)
    return onnx_ir.DataType.FLOAT
