"""Models as programs hold them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

from magicmind.facade.dims import Dims
from magicmind.facade.engine import Engine, reported
from magicmind.facade.enums import DataType, get_datatype_by_numpy
from magicmind.facade.remote import IRpcSession
from magicmind.facade.status import Code, Refused, guarded, or_none
from magicmind.runtime import Model as CoreModel
from magicmind.runtime import from_bytes, load
from magicmind.tensorinfo import TensorInfo

T = TypeVar("T")


class EngineConfig:
    """`device_type` is what programs say they want to run on; there is the CPU. Constants are always there from the
    start, whatever `const_data_init` says. With an `rpc_session` the model runs on that server."""

    def __init__(self) -> None:
        self.device_type = "MLU"
        self.const_data_init = True
        self.rpc_session: IRpcSession | None = None

    @guarded
    def set_device_type(self, device_type: str) -> None:
        """Sets the type; the device stays the CPU."""
        if not isinstance(device_type, str):
            raise Refused(f"the type of a device is a text, not {device_type!r:.60}")
        self.device_type = device_type

    @guarded
    def set_const_data_init(self, init: bool) -> None:
        """Sets whether constants are made with the engine, as they are in any case."""
        self.const_data_init = bool(init)


_Configuration = EngineConfig  # by a name that the class below does not take


class Model:
    """Empty until it is read from a file; `Builder.build_model` makes full ones."""

    EngineConfig = EngineConfig

    def __init__(self) -> None:
        self._core: CoreModel | None = None

    @classmethod
    def of(cls, core: CoreModel) -> Model:
        """A model of our own API."""
        model = cls()
        model._core = core
        return model

    @property
    def core(self) -> CoreModel:
        """The model of our own API.  Raises Refused while there is none."""
        if self._core is None:
            raise Refused("the model is empty: build it, or call deserialize_from_file first", Code.FAILED_PRECONDITION)
        return self._core

    # --------------------------------------------------------------------------------------------------------- files

    @guarded
    def serialize_to_file(self, path: str | os.PathLike[str]) -> None:
        """Writes the offline model file."""
        self.core.save(path)

    @guarded
    def deserialize_from_file(self, path: str | os.PathLike[str]) -> None:
        """Opens an offline model file."""
        self._core = load(path)

    @or_none
    def serialize_to_memory(self) -> bytes:
        """The bytes of the offline model file."""
        return self.core.to_bytes()

    @guarded
    def deserialize_from_memory(self, data: bytes | bytearray | memoryview, size: int | None = None) -> None:
        """Opens an offline model from its bytes, the first `size` of them."""
        view = memoryview(data).cast("B")
        self._core = from_bytes(view if size is None else view[:size])

    # ------------------------------------------------------------------------------------------------ inputs, outputs

    def _infos(self, which: str) -> Sequence[TensorInfo]:
        found: Sequence[TensorInfo] = () if self._core is None else getattr(self._core, which)
        return found

    def get_input_num(self) -> int:
        """The number of inputs."""
        return len(self._infos("inputs"))

    def get_output_num(self) -> int:
        """The number of outputs."""
        return len(self._infos("outputs"))

    def get_input_names(self) -> list[str]:
        """The names of the inputs, in order."""
        return [info.name for info in self._infos("inputs")]

    def get_output_names(self) -> list[str]:
        """The names of the outputs, in order."""
        return [info.name for info in self._infos("outputs")]

    def get_input_dimensions(self) -> list[Dims]:
        """The shapes of the inputs, -1 where a size may change."""
        return [Dims(reported(info)) for info in self._infos("inputs")]

    def get_output_dimensions(self) -> list[Dims]:
        """The shapes of the outputs, -1 where a size may change."""
        return [Dims(reported(info)) for info in self._infos("outputs")]

    @or_none
    def get_input_data_types(self) -> list[DataType]:
        """The types of the inputs."""
        return [get_datatype_by_numpy(info.dtype) for info in self._infos("inputs")]

    @or_none
    def get_output_data_types(self) -> list[DataType]:
        """The types of the outputs."""
        return [get_datatype_by_numpy(info.dtype) for info in self._infos("outputs")]

    @or_none
    def get_input_name(self, i: int) -> str:
        """The name of one input."""
        return _one(self.get_input_names(), i, "input")

    @or_none
    def get_output_name(self, i: int) -> str:
        """The name of one output."""
        return _one(self.get_output_names(), i, "output")

    @or_none
    def get_input_dimension(self, i: int) -> Dims:
        """The shape of one input."""
        return _one(self.get_input_dimensions(), i, "input")

    @or_none
    def get_output_dimension(self, i: int) -> Dims:
        """The shape of one output."""
        return _one(self.get_output_dimensions(), i, "output")

    @or_none
    def get_input_data_type(self, i: int) -> DataType:
        """The type of one input."""
        return _one([get_datatype_by_numpy(info.dtype) for info in self._infos("inputs")], i, "input")

    @or_none
    def get_output_data_type(self, i: int) -> DataType:
        """The type of one output."""
        return _one([get_datatype_by_numpy(info.dtype) for info in self._infos("outputs")], i, "output")

    # ----------------------------------------------------------------------------------------------------------- run

    @or_none
    def create_i_engine(self, config: _Configuration | None = None) -> Engine:
        """An engine for all cores that the process may use, or on the server of the configuration's session."""
        if config is not None and not isinstance(config, EngineConfig):
            raise Refused(f"an engine is configured by a Model.EngineConfig, not by {type(config).__name__}")
        if config is not None and config.rpc_session is not None:
            return Engine(config.rpc_session.model(self.core).engine())
        return Engine(self.core.engine())


def _one(values: Sequence[T], i: int, what: str) -> T:
    if not 0 <= i < len(values):
        raise Refused(f"there is no {what} {i}: the model has {len(values)}", Code.OUT_OF_RANGE)
    return values[i]
