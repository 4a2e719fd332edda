"""Chooses plain or blocked memory for every value and places the conversions.

Blocked is `[N][ceil(C/16)][spatial...][16]` (docs/design/0001-architecture.md, Layouts). Convolutions read and write
it; operators in `RULES` pass it on; all others get plain memory. Walking in order, a value is converted when its first
reader needs the other layout, and that copy serves all later readers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from magicmind.codegen.target import BLOCK
from magicmind.ir.dims import Dim
from magicmind.ir.types import const_of, dtype_of, set_type, shape_of, type_of
from magicmind.ops.operands import has_few_channels, operand_kind
from magicmind.passes.edit import attribute
from magicmind.passes.infra import Pass


@dataclass(frozen=True)
class Layouts:
    """What a node wants: the layout of each input (None: constant or as it is) and of its outputs."""

    inputs: tuple[bool | None, ...]
    outputs: bool


Rule = Callable[[ir.Node, tuple[bool, ...]], "Layouts | None"]
"""(node, which inputs are blocked now) -> wishes; None declines: everything plain."""


BLOCKED_DTYPES = frozenset(
    {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.INT16}
)
"""Element types of blocked values; int32 sums of products are scaled before they are stored."""


def is_image(value: ir.Value | None) -> bool:
    """Whether a value can be blocked: of such a type, with a channel and at least one spatial dim."""
    if value is None or dtype_of(value) not in BLOCKED_DTYPES:
        return False
    shape = shape_of(value)
    return shape is not None and len(shape) in (3, 4, 5)


def _shape(value: ir.Value | None) -> tuple[Dim, ...]:
    shape = shape_of(value) if value is not None else None
    assert shape is not None
    return shape


def _conv(node: ir.Node, blocked: tuple[bool, ...]) -> Layouts | None:
    if len(_shape(node.inputs[0])) not in (3, 4):
        return None
    out = _shape(node.outputs[0])
    extras = tuple(_operand_layout(value, out) for value in node.inputs[3:])
    return Layouts(((not has_few_channels(node), None, None)[: len(node.inputs)]) + extras, True)


def _separable(node: ir.Node, blocked: tuple[bool, ...]) -> Layouts | None:
    out = _shape(node.outputs[0])
    extras = tuple(_operand_layout(value, out) for value in node.inputs[5:])
    return Layouts((True, None, None, None, None)[: len(node.inputs)] + extras, True)


def _operand_layout(value: ir.Value | None, out: tuple[Dim, ...]) -> bool | None:
    """How an operand of an epilogue or elementwise program must lie when the result is blocked."""
    if value is None or const_of(value) is not None:
        return None
    shape = _shape(value)
    return True if len(shape) == len(out) and shape[1] == out[1] else None


def _elementwise(node: ir.Node, blocked: tuple[bool, ...]) -> Layouts | None:
    out = _shape(node.outputs[0])
    if not any(blocked) or not is_image(node.outputs[0]):
        return None
    if any(value is not None and dtype_of(value) not in BLOCKED_DTYPES for value in node.inputs):
        return None
    full = [i for i, value in enumerate(node.inputs) if value is not None and _shape(value) == out]
    if not any(blocked[i] for i in full):
        return None
    if any(operand_kind(_shape(v), out, const_of(v) is not None) is None for v in node.inputs if v is not None):
        return None
    return Layouts(tuple(_operand_layout(value, out) for value in node.inputs), True)


def _follow(node: ir.Node, blocked: tuple[bool, ...]) -> Layouts | None:
    """Spatial operators: the layout of the data input, where the output is an image too."""
    if not blocked[0] or not is_image(node.outputs[0]) or len(_shape(node.outputs[0])) != 4:
        return None
    return Layouts((True, *([None] * (len(node.inputs) - 1))), True)


def _pool(node: ir.Node, blocked: tuple[bool, ...]) -> Layouts | None:
    return None if len(node.outputs) > 1 and node.outputs[1].uses() else _follow(node, blocked)


def _spatial_mean(node: ir.Node, blocked: tuple[bool, ...]) -> Layouts | None:
    """A mean over all spatial axes that keeps them is a global average pool."""
    axes = const_of(node.inputs[1]) if len(node.inputs) > 1 else None
    rank = len(_shape(node.inputs[0]))
    if (
        axes is None
        or not attribute(node, "keepdims", 1)
        or sorted(int(a) % rank for a in axes) != list(range(2, rank))
    ):
        return None
    return _follow(node, blocked)


def _resize(node: ir.Node, blocked: tuple[bool, ...]) -> Layouts | None:
    before, after = _shape(node.inputs[0]), _shape(node.outputs[0])
    if before[:2] != after[:2] or attribute(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return None
    return _follow(node, blocked)


def _whole_blocks(values: tuple[ir.Value | None, ...]) -> bool:
    """Whether every value's channels fill blocks of 16."""
    channels = [_shape(v)[1] for v in values]
    return all(isinstance(c, int) and c % BLOCK == 0 for c in channels)


def _concat(node: ir.Node, blocked: tuple[bool, ...]) -> Layouts | None:
    rank = len(_shape(node.outputs[0]))
    if not is_image(node.outputs[0]) or rank != 4 or attribute(node, "axis") % rank != 1:
        return None
    if not _whole_blocks(tuple(node.inputs)) or 2 * sum(blocked) < len(blocked):
        return None
    return Layouts((True,) * len(node.inputs), True)


def _split(node: ir.Node, blocked: tuple[bool, ...]) -> Layouts | None:
    if not blocked[0] or len(_shape(node.inputs[0])) != 4 or attribute(node, "axis", 0) % 4 != 1:
        return None
    if not _whole_blocks((node.inputs[0], *node.outputs)):
        return None
    return Layouts((True, *([None] * (len(node.inputs) - 1))), True)


RULES: dict[tuple[str, str], Rule] = {
    ("magicmind", "Conv"): _conv,
    ("magicmind", "FirstConv"): _conv,
    ("magicmind", "SeparableConv"): _separable,
    ("magicmind", "Elementwise"): _elementwise,
    ("magicmind", "ByteTable"): _follow,
    ("", "MaxPool"): _pool,
    ("", "AveragePool"): _follow,
    ("", "GlobalAveragePool"): _follow,
    ("", "GlobalMaxPool"): _follow,
    ("", "ReduceMean"): _spatial_mean,
    ("", "Resize"): _resize,
    ("", "Concat"): _concat,
    ("", "Split"): _split,
}


class ChooseLayout(Pass):
    """Sets `value.meta["layout"]` and inserts `magicmind.ToBlocked` / `magicmind.ToPlain`.

    `value.meta["tensor"]` is the name that a tensor had before, empty for what is another's twin in the other layout.
    """

    name = "choose_layout"

    def call(self, model: ir.Model) -> bool:
        converted: dict[ir.Value, ir.Value] = {}
        modified = False
        for node in list(model.graph):
            now = tuple(v is not None and v.meta.get("layout") == "blocked" for v in node.inputs)
            rule = RULES.get((node.domain, node.op_type))
            wish = rule(node, now) if rule is not None and node.inputs else None
            wish = wish or Layouts((False,) * len(node.inputs), False)
            for i, (value, want) in enumerate(zip(node.inputs, wish.inputs, strict=True)):
                if value is not None and want is not None and want != now[i] and const_of(value) is None:
                    if value not in converted:
                        converted[value] = _convert(value, node)
                    node.replace_input_with(i, converted[value])
                    modified = True
            if wish.outputs:
                for output in node.outputs:
                    output.meta["layout"] = "blocked"
        return self._plain_outputs(model) or modified

    def _plain_outputs(self, model: ir.Model) -> bool:
        """Users get row-major outputs."""
        modified = False
        for i, value in enumerate(model.graph.outputs):
            if value.meta.get("layout") != "blocked":
                continue
            name = value.name
            value.name = f"{name}.blocked"
            value.meta["tensor"] = name
            plain = _convert(value, None)
            plain.name = name
            model.graph.outputs[i] = plain
            modified = True
        return modified


def _convert(value: ir.Value, before: ir.Node | None) -> ir.Value:
    """The value in the other layout."""
    to_plain = value.meta.get("layout") == "blocked"
    op = "ToPlain" if to_plain else "ToBlocked"
    producer = value.producer()
    graph = (before or producer).graph  # type: ignore[union-attr]
    node = ir.Node("magicmind", op, [value], num_outputs=1, name=f"{value.name}.{op}")
    out = node.outputs[0]
    out.name = f"{value.name}.{'plain' if to_plain else 'blocked'}"
    out.meta["tensor"] = ""
    found = type_of(value)
    assert found is not None
    set_type(out, found)
    if not to_plain:
        out.meta["layout"] = "blocked"
    if producer is not None:
        graph.insert_after(producer, node)  # type: ignore[union-attr]
    else:
        assert before is not None
        graph.insert_before(before, node)  # type: ignore[union-attr]
    return out
