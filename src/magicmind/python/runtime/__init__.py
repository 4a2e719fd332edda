"""`import magicmind.python.runtime as mm`: the MagicMind-compatible API.

docs/guide/from-magicmind.md says what maps to what.
"""

from magicmind.facade.builder import Builder
from magicmind.facade.calibrator import CalibDataInterface, Calibrator, RemoteConfig
from magicmind.facade.config import BuilderConfig
from magicmind.facade.device import Device, Queue, System
from magicmind.facade.diagnostics import (
    DeviceTracerLevel,
    HostTracerLevel,
    LoadPluginLibrary,
    Profiler,
    ProfilerOptions,
)
from magicmind.facade.diagnostics import Profiler as IProfiler
from magicmind.facade.dims import Dims
from magicmind.facade.dumps import DumpMode, FileFormat
from magicmind.facade.engine import Context, Engine
from magicmind.facade.handles import INode, ITensor
from magicmind.facade.irt_tensor import (
    data_type_size,
    find_irt_tensor_by_name,
    layout_enum_to_string,
    type_enum_to_string,
    type_string_to_enum,
)
from magicmind.facade.model import EngineConfig, Model
from magicmind.facade.network import Network
from magicmind.facade.parser import Parser
from magicmind.facade.quantities import (
    NormalQuantParam,
    Range,
    UniformQuantParam,
    normal_to_uniform_cast,
    range_to_uniform_quant_param,
    uniform_quant_param_to_range,
    uniform_to_normal_cast,
)
from magicmind.facade.status import Status
from magicmind.facade.tensor import Tensor
from magicmind.python.common.types import get_datatype_by_numpy, get_numpy_dtype_by_datatype
from magicmind.python.runtime import enums, model, parser, remote, resources
from magicmind.python.runtime.enums import *  # noqa: F403
from magicmind.python.runtime.enums import __all__ as _enumerations

__all__ = [
    "BuilderConfig", "Builder", "CalibDataInterface", "Calibrator", "Context", "Device", "DeviceTracerLevel", "Dims",
    "DumpMode", "Engine", "EngineConfig", "FileFormat", "HostTracerLevel", "INode", "IProfiler", "ITensor",
    "LoadPluginLibrary", "Model", "Network", "NormalQuantParam", "Parser", "Profiler", "ProfilerOptions", "Queue",
    "Range", "RemoteConfig", "Status", "System", "Tensor", "UniformQuantParam", "data_type_size", "enums",
    "find_irt_tensor_by_name", "get_datatype_by_numpy", "get_numpy_dtype_by_datatype", "layout_enum_to_string", "model",
    "normal_to_uniform_cast", "parser", "range_to_uniform_quant_param", "remote", "resources", "type_enum_to_string",
    "type_string_to_enum", "uniform_quant_param_to_range", "uniform_to_normal_cast", *_enumerations,
]  # fmt: skip
