"""The ONNX backend interface: prepares a model for this CPU and runs it, as `onnx.backend.base` lays down.

import magicmind.backend as backend
outputs = backend.run_model(model, [x])
prepared = backend.prepare(model, "CPU", threads=2)
(y,) = prepared.run([x])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, namedtupledict

from magicmind.compiler import build
from magicmind.errors import ShapeError, TargetError
from magicmind.frontends import parse
from magicmind.runtime.model import Model

__all__ = [
    "MagicMindBackend", "MagicMindRep", "is_compatible", "prepare", "run_model", "run_node", "supports_device",
]  # fmt: skip


class MagicMindRep(BackendRep):
    """A model that is built; may be run any number of times, with every shape its inputs allow."""

    def __init__(self, model: Model, threads: int | None = None) -> None:
        self.model = model
        self._session = model.session(threads=threads)
        self._fields = namedtupledict("Outputs", [info.name for info in model.outputs])

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Outputs in the model's order, also by name.

        inputs: arrays in the model's order, a mapping by name, or the only array itself. Raises ShapeError for arrays
        that do not fit the model.
        """
        outputs = self._session.run(self._feeds(inputs))
        return self._fields(*(outputs[info.name] for info in self.model.outputs))

    def _feeds(self, inputs: Any) -> dict[str, Any]:
        names = [info.name for info in self.model.inputs]
        if isinstance(inputs, Mapping):
            return {name: _array(value) for name, value in inputs.items()}
        if not isinstance(inputs, (list, tuple)):
            inputs = [inputs]
        if len(inputs) != len(names):
            raise ShapeError(
                f"{len(inputs)} inputs are given; the model has {len(names)}", hint=f"its inputs: {', '.join(names)}"
            )
        return {name: _array(value) for name, value in zip(names, inputs, strict=True)}


class MagicMindBackend(Backend):
    """Class methods only; the module's functions of the same names are these."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether every operator of the model is known; says nothing about attributes."""
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> MagicMindRep:
        """Builds the model for this CPU.

        kwargs: `threads` of a call, and the options of `magicmind.build`: `precision`, `shapes`, `targets`; those that
        are not known here are ignored, as the interface asks. Raises TargetError for another device, and what `parse`
        and `build` raise.
        """
        _need_cpu(device)
        options = {key: kwargs[key] for key in ("precision", "shapes", "targets") if key in kwargs}
        return MagicMindRep(build(parse(model), **options), kwargs.get("threads"))

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """`prepare` and one `run`."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """One node on the given arrays, in the order of its inputs (absent ones left out) or by name.

        kwargs: `opset_version` (default: the newest of the installed onnx), and those of `prepare`.
        """
        names = [name for name in dict.fromkeys(node.input) if name]
        if not isinstance(inputs, Mapping):
            values = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            inputs = dict(zip((name for name in node.input if name), values, strict=True))
        arrays = {name: np.asarray(inputs[name]) for name in names}
        return cls.run_model(_model_of(node, arrays, kwargs.get("opset_version")), arrays, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Only the CPU this process runs on."""
        return device.partition(":")[0] == "CPU"


def _need_cpu(device: str) -> None:
    if not MagicMindBackend.supports_device(device):
        raise TargetError(f"device {device!r} is not supported", hint="supported: CPU")


def _array(value: Any) -> Any:
    """Arrays and numbers as arrays; sequences and absent optional values as they are."""
    return value if value is None or isinstance(value, list) else np.asarray(value)


def _model_of(node: onnx.NodeProto, arrays: Mapping[str, np.ndarray[Any, Any]], opset: int | None) -> onnx.ModelProto:
    """A model with this node alone; the types of its outputs are left to inference."""
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    version = onnx.defs.onnx_opset_version() if opset is None else opset
    return onnx.helper.make_model(
        onnx.helper.make_graph([node], node.name or node.op_type, inputs, outputs),
        opset_imports=[onnx.helper.make_opsetid(node.domain, version)],
    )


is_compatible = MagicMindBackend.is_compatible
prepare = MagicMindBackend.prepare
run_model = MagicMindBackend.run_model
run_node = MagicMindBackend.run_node
supports_device = MagicMindBackend.supports_device
