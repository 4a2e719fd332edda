"""Calibration: a program's own data objects, and the ranges that are found with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from magicmind.facade.config import BuilderConfig
from magicmind.facade.dims import Dims
from magicmind.facade.enums import DataType, QuantizationAlgorithm, get_numpy_dtype_by_datatype
from magicmind.facade.network import Network
from magicmind.facade.status import LOG, Code, Refused, Status, guarded
from magicmind.remote.address import Address

if TYPE_CHECKING:
    from magicmind.quant.table import Scales

Array = np.ndarray[Any, np.dtype[Any]]


class RemoteConfig:
    """Where a remote server is: `address` is "host:port"."""

    def __init__(self) -> None:
        self.address = ""
        self.device_id = 0


class CalibDataInterface:
    """What programs subclass to hand out the samples of one input, one after another."""

    def next(self) -> Status:
        """Goes to the next sample; OUT_OF_RANGE at the end."""
        return Status(Code.OUT_OF_RANGE, "this class gives no samples: subclass it")

    def get_shape(self) -> Dims:
        """The shape of the sample."""
        return Dims()

    def get_data_type(self) -> DataType:
        """The type of the sample."""
        return DataType.FLOAT32

    def get_sample(self) -> Any:
        """The sample, an array."""
        return None

    def reset(self) -> Status:
        """Goes back to the start."""
        return Status.OK()


class Samples:
    """The samples of all inputs together, as often as they are asked for; each pass begins with `reset`."""

    def __init__(self, data: Sequence[Any], names: Sequence[str], dtypes: Sequence[np.dtype[Any]]) -> None:
        self._data, self._names, self._dtypes = data, names, dtypes
        self._begun: Iterator[dict[str, Array]] | None = None

    def __iter__(self) -> Iterator[dict[str, Array]]:
        begun, self._begun = self._begun, None
        return self._pass() if begun is None else begun

    def first(self) -> dict[str, Array]:
        """The first sample; the next pass begins with it.  Raises Refused when there is none."""
        rest = self._pass()
        sample = next(rest, None)
        if sample is None:
            raise Refused(
                "the calibration data ended before its first sample",
                Code.OUT_OF_RANGE,
                hint="a batch is larger than the number of files, or the list of files is empty",
            )
        self._begun = chain([sample], rest)
        return sample

    def _pass(self) -> Iterator[dict[str, Array]]:
        for data in self._data:
            data.reset()
        while self._advanced():
            yield {
                name: taken(data).astype(dtype, copy=False)
                for data, name, dtype in zip(self._data, self._names, self._dtypes, strict=True)
            }

    def _advanced(self) -> bool:
        """Whether all have a next sample.  Raises Refused for data that fails otherwise."""
        results = [data.next() for data in self._data]
        for status in results:
            if not isinstance(status, Status):
                raise Refused(f"next() of the calibration data returns {type(status).__name__}, not a Status")
            if not status.ok() and status.code is not Code.OUT_OF_RANGE:
                raise Refused(f"the calibration data fails: {status.error_message}", status.code)
        return all(status.ok() for status in results)


def taken(data: Any) -> Array:
    """The current sample: a buffer of the declared type, of which the first elements fill the declared shape.

    Whatever the array's own shape, size beyond what is declared, type and order in memory. Raises Refused for one that
    is too small.
    """
    dims = data.get_shape()
    shape = tuple(dims if isinstance(dims, Dims) else Dims(dims))
    array = np.asarray(data.get_sample())
    count = prod(shape)
    if array.size < count or array.dtype.kind not in "biuf":
        raise Refused(f"a sample is {array.dtype}{list(array.shape)}, declared as {list(shape)}")
    with np.errstate(all="ignore"):
        typed = array.astype(get_numpy_dtype_by_datatype(data.get_data_type()), order="C", copy=False)
    return np.ascontiguousarray(typed).reshape(-1)[:count].reshape(shape)


@dataclass(frozen=True)
class Calibration:
    """What a network knows of its ranges: the data, and the scales as soon as they are found."""

    samples: Samples
    algorithm: QuantizationAlgorithm
    remote: str = ""
    """The address of the server that measures; empty: here."""
    scales: Scales | None = None


class Calibrator:
    """Finds the ranges of a network's tensors. `data`: one object for every input, or the only one."""

    def __init__(self, data: Any) -> None:
        self._data: list[Any] = list(data) if isinstance(data, (list, tuple)) else [data]
        self._algorithm = QuantizationAlgorithm.LINEAR_ALGORITHM
        self._remote: RemoteConfig | None = None

    @guarded
    def set_quantization_algorithm(self, algorithm: QuantizationAlgorithm) -> None:
        """How ranges are found."""
        if not isinstance(algorithm, QuantizationAlgorithm) or algorithm is QuantizationAlgorithm.INVALID:
            raise Refused(f"{algorithm!r:.60} is no algorithm: LINEAR_ALGORITHM or EQNM_ALGORITHM")
        self._algorithm = algorithm

    @guarded
    def set_remote(self, remote: RemoteConfig) -> None:
        """Calibrates on another machine."""
        if not isinstance(remote, RemoteConfig) or not isinstance(remote.address, str) or not remote.address:
            raise Refused("set_remote takes a RemoteConfig whose address is host:port")
        Address.parse(remote.address)
        self._remote = remote

    @guarded
    def calibrate(self, network: Network, config: BuilderConfig | None = None) -> None:
        """Runs the network, as it was parsed, on the data, and leaves the ranges in it."""
        if not isinstance(network, Network):
            raise Refused(f"calibrate takes a Network, not {type(network).__name__}")
        if config is not None and not isinstance(config, BuilderConfig):
            raise Refused(f"calibrate takes a BuilderConfig, not {type(config).__name__}")
        network.require_open()
        config = config or BuilderConfig()
        if self._algorithm is QuantizationAlgorithm.EQNM_ALGORITHM and (
            config.value("precision_config.activation_quant_algo") == "asymmetric"
        ):
            raise Refused("EQNM_ALGORITHM is for symmetric quantisation; activation_quant_algo is asymmetric")
        samples = self._samples(network)
        samples.first()  # also where no ranges are needed: what is no data is said
        remote = "" if self._remote is None else self._remote.address
        calibration = Calibration(samples, self._algorithm, remote)
        if config.precision.startswith("qint"):
            from magicmind.facade.ranges import measured

            calibration = measured(network, config, calibration)
        else:
            LOG.info("calibration: the precision is %s; ranges are measured when a build needs them", config.precision)
        network.calibration = calibration

    def _samples(self, network: Network) -> Samples:
        inputs = network.inputs
        if len(self._data) != len(inputs):
            raise Refused(f"{len(self._data)} objects with calibration data for a network of {len(inputs)} inputs")
        missing = [m for d in self._data for m in _METHODS if not callable(getattr(d, m, None))]
        if missing:
            raise Refused(f"the calibration data has no method {missing[0]}: subclass CalibDataInterface")
        dtypes = [get_numpy_dtype_by_datatype(i.dtype) for i in inputs]
        return Samples(self._data, [i.shown_name for i in inputs], dtypes)


_METHODS = ("next", "get_shape", "get_data_type", "get_sample", "reset")
