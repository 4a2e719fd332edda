"""The classes behind the API: the same objects as in `magicmind.python.runtime`."""

from magicmind.facade.config import BuilderConfig
from magicmind.facade.dims import Dims
from magicmind.facade.handles import INode, ITensor
from magicmind.facade.network import Network
from magicmind.facade.status import Code, Status
from magicmind.facade.tensor import Tensor
from magicmind.python.cc._pywrap_runtime import enums

__all__ = ["BuilderConfig", "Code", "Dims", "INode", "ITensor", "Network", "Status", "Tensor", "enums"]
