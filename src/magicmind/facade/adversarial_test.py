"""Every method of every class with what it cannot use: a Status that says so, or None, never an exception."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import magicmind
import magicmind.python.runtime as mm
from magicmind.facade.nodes import ROWS
from magicmind.testing.magicmind_misuse import BAD, Data, context, engine, filled, network

DATA = Path(magicmind.__file__).parent / "data"


@dataclass(frozen=True)
class Subject:
    """A class: how an object of it is made, and arguments that each method takes."""

    make: Callable[[], Any]
    methods: dict[str, Callable[[Any], tuple[Any, ...]]] = field(default_factory=dict)


NONE: Callable[[Any], tuple[Any, ...]] = lambda _: ()  # noqa: E731
FIRST: Callable[[Any], tuple[Any, ...]] = lambda _: (0,)  # noqa: E731


def _getters(*names: str) -> dict[str, Callable[[Any], tuple[Any, ...]]]:
    return dict.fromkeys(names, NONE)


NODE: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    **_getters("get_node_name", "get_node_type", "get_input_count", "get_output_count"),
    **_getters("get_precursors", "get_successors"),
    "set_node_name": lambda _: ("name",),
    "get_input": FIRST,
    "get_output": FIRST,
    "set_precision": lambda _: (0, mm.DataType.FLOAT32),
    "set_output_type": lambda _: (0, mm.DataType.FLOAT32),
    "set_precision_with_normal_param": lambda _: (0, mm.DataType.QINT8, mm.NormalQuantParam(), False),
    "set_precision_with_normal_param_per_axis": lambda _: (0, mm.DataType.QINT8, [mm.NormalQuantParam()], True),
    "update_input": lambda n: (0, n.get_input(0)),
    "set_attr": lambda _: ("k", 1),
}
PLUGIN: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "add_i_plugin_node": lambda n: ("Nothing", {"x": n.network.get_input(0)}, {"k": 1}),
    "add_i_if_node": lambda n: (n.network.get_input(0),),
    "add_i_while_node": lambda n: (n.network.get_input(0),),
}


def branch() -> Any:
    made = network()
    return made.add_i_if_node(made.get_input(0))


def loop() -> Any:
    made = network()
    return made.add_i_while_node(made.get_input(0))


SUBJECTS: dict[str, Subject] = {
    "Dims": Subject(
        lambda: mm.Dims([1, 2]),
        {**_getters("GetDims", "GetDimsNum", "GetElementCount"), "GetDimValue": FIRST},
    ),
    "Parser": Subject(
        lambda: mm.Parser(mm.ModelKind.kOnnx),
        {
            "set_model_param": lambda _: ("onnx-input-dtypes", [mm.DataType.FLOAT32]),
            "parse": lambda _: (mm.Network(), DATA / "digits.onnx"),
        },
    ),
    "Network": Subject(
        network,
        {
            **_getters("get_input_count", "get_output_count", "get_all_nodes_in_network"),
            "add_input": lambda _: (mm.DataType.FLOAT32, mm.Dims([1])),
            "get_input": FIRST,
            "get_output": FIRST,
            "mark_output": lambda n: (n.get_input(0),),
            "unmark_output": lambda n: (n.get_output(0),),
            "find_node_by_name": lambda _: ("main/activation",),
            "find_nodes_by_node_type": lambda _: ("IActivationNode",),
            "remove_input": lambda n: (n.get_input(0),),
            "remove_node": lambda n: (n.get_all_nodes_in_network()[-1],),
            **PLUGIN,
        },
    ),
    "ITensor": Subject(
        lambda: network().get_input(0),
        {
            **_getters("get_tensor_name", "get_dimension", "get_data_type", "get_producer", "get_consumers"),
            "set_dimension": lambda _: (mm.Dims([1, 4, 6, 6]),),
            "set_data_type": lambda _: (mm.DataType.FLOAT32,),
            "set_tensor_name": lambda _: ("name",),
            "set_dynamic_range": lambda _: (mm.Range(-1, 1), False),
            "set_dynamic_range_per_axis": lambda _: ([mm.Range(-1, 1)], True),
        },
    ),
    "INode": Subject(lambda: network().get_all_nodes_in_network()[0], NODE),
    "If": Subject(lambda: branch(), {**NODE, **_getters("create_then_body", "create_else_body")}),
    "While": Subject(lambda: loop(), {**NODE, **_getters("create_loop_body")}),
    "CondBody": Subject(
        lambda: branch().create_then_body(), {"add_cond_output": lambda b: (b.network.get_input(0),), **PLUGIN}
    ),
    "LoopBody": Subject(
        lambda: loop().create_loop_body(),
        {
            "add_recurrence_tensor": lambda b: (b.network.get_input(0),),
            "update_recurrence_tensor": lambda b: (b.network.get_input(0), b.network.get_input(0)),
            "add_loop_output": lambda b: (b.network.get_input(0),),
            **PLUGIN,
        },
    ),
    "BuilderConfig": Subject(
        mm.BuilderConfig,
        {
            "parse_from_string": lambda _: ("{}",),
            "parse_from_file": lambda _: ("/nowhere",),
            "set_mlu_arch": lambda _: (["native"],),
        },
    ),
    "Builder": Subject(mm.Builder, {"build_model": lambda _: ("name", mm.Network(), mm.BuilderConfig())}),
    "Calibrator": Subject(
        lambda: mm.Calibrator([Data()]),
        {
            "set_quantization_algorithm": lambda _: (mm.QuantizationAlgorithm.LINEAR_ALGORITHM,),
            "set_remote": lambda _: (mm.RemoteConfig(),),
            "calibrate": lambda _: (network(), mm.BuilderConfig()),
        },
    ),
    "CalibDataInterface": Subject(Data, _getters("next", "reset", "get_shape", "get_data_type", "get_sample")),
    "Model": Subject(
        mm.Model,
        {
            **_getters(
                "get_input_num",
                "get_output_num",
                "get_input_names",
                "get_output_names",
                "get_input_dimensions",
                "get_output_dimensions",
                "get_input_data_types",
                "get_output_data_types",
                "serialize_to_memory",
            ),
            "deserialize_from_memory": lambda _: (b"", 0),
            **dict.fromkeys(
                (
                    "get_input_name",
                    "get_output_name",
                    "get_input_dimension",
                    "get_output_dimension",
                    "get_input_data_type",
                    "get_output_data_type",
                ),
                FIRST,
            ),
            "serialize_to_file": lambda _: ("/nowhere/model",),
            "deserialize_from_file": lambda _: ("/nowhere/model",),
            "create_i_engine": lambda _: (mm.Model.EngineConfig(),),
        },
    ),
    "Engine": Subject(
        engine,
        {
            **_getters("create_i_context", "query_const_data_size"),
            "query_context_max_workspace_size": lambda _: ([mm.Dims([1, 4, 6, 6])],),
        },
    ),
    "EngineConfig": Subject(
        mm.EngineConfig, {"set_device_type": lambda _: ("MLU",), "set_const_data_init": lambda _: (True,)}
    ),
    "IRpcServer": Subject(lambda: mm.remote.create_rpc_server(0), {**_getters("shutdown"), "handle_rpcs_loop": NONE}),
    "IRpcSession": Subject(
        lambda: mm.remote.IRpcSession("127.0.0.1:1", {}),
        {**_getters("connected", "destroy"), "get_device_by_id": FIRST},
    ),
    "Context": Subject(
        context,
        {
            **_getters("create_inputs", "create_input_tensors", "create_output_tensors"),
            "infer_output_shape": lambda _: ([filled()], []),
            "set_workspace": lambda _: (0, 0),
            "set_context_dump_info": lambda _: (None,),
            "create_outputs": lambda c: (c.create_inputs(), True),
            "enqueue": lambda _: ([filled()], [], mm.Device().create_queue(), False),
        },
    ),
    "Tensor": Subject(
        filled,
        {
            **_getters("asnumpy", "data_address", "get_data_type", "get_dimension", "get_dimensions", "get_size"),
            **_getters("get_layout", "get_memory_location", "get_mutable_data", "get_name"),
            "set_dimensions": lambda _: (mm.Dims([1, 4, 6, 6]),),
            "set_data": lambda t: (t.data_address(),),
            "set_capacity": lambda _: (1 << 20,),
            "from_numpy": lambda _: (np.zeros((1, 4, 6, 6)),),
            "memcpy_from_host": lambda _: (np.zeros((1, 4, 6, 6)),),
            "to": lambda _: (mm.Device(),),
            "resize": lambda _: ([1, 4, 6, 6],),
            "set_data_address": lambda t: (t.data_address(), [1, 4, 6, 6]),
            "reshape": lambda _: ([4, 36],),
        },
    ),
    "Device": Subject(mm.Device, _getters("active", "create_queue")),
    "Queue": Subject(lambda: mm.Device().create_queue(), _getters("sync")),
    "System": Subject(mm.System, _getters("device_count", "initialize", "destory", "destroy")),
    "Profiler": Subject(
        lambda: mm.Profiler(None, DATA / "digits.onnx" / "no folder"),
        {**_getters("start", "stop", "step_end"), "step_begin": FIRST},
    ),
    "LoadPluginLibrary": Subject(mm.LoadPluginLibrary, {"load": lambda _: ("/nowhere/plugin.py",)}),
    "Status": Subject(mm.Status, _getters("ok", "error_message")),
}

OUR_OWN = {
    "Network": {
        "add_node", "close", "dims_of", "dtype_of", "fill", "handle", "name_of", "next_node", "nodes_with_precision",
        "output_type", "realise", "require_empty", "require_open", "set_dims", "set_dtype",
        "set_name", "set_range", "shapes", "tensor", "touch",
    },
    "INode": {"emit", "reads"},
    "BuilderConfig": {"value"},
    "Model": {"of"},
    "Status": {"OK", "of"},
    "Tensor": {"of_model", "take"},
    "IRpcSession": {"model", "rpc_connect"},
    **{key: {"emit", "reads", "grow"} for key in ("If", "While")},
    **{key: {"add_node", "handle", "tensor", "reads"} for key in ("CondBody", "LoopBody")},
}  # fmt: skip
"""What the modules of the facade call, no program."""


def _methods(kind: type) -> set[str]:
    return {
        name
        for name, found in inspect.getmembers(kind)
        if not name.startswith("_") and inspect.isroutine(found) and not name.startswith("add_i_")
    }


def test_every_class_is_listed() -> None:
    classes = {found.__name__ for found in vars(mm).values() if isinstance(found, type) and not issubclass(found, Enum)}
    values = {"NormalQuantParam", "ProfilerOptions", "Range", "RemoteConfig", "UniformQuantParam"}
    assert classes - values <= set(SUBJECTS), "those hold values alone"


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_method_is_listed(name: str) -> None:
    methods = {method for method in SUBJECTS[name].methods if not method.startswith("add_i_")} - {"error_message"}
    assert _methods(type(SUBJECTS[name].make())) - OUR_OWN.get(name, set()) == methods


def _calls(subject: Subject, method: str) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """(what is wrong, arguments, object): each argument wrong alone, all wrong."""
    count = len(subject.methods[method](subject.make()))
    for what, bad in BAD.items():
        for which in [*range(count), None]:
            if which is None and count < 2:
                continue
            target = subject.make()
            good = list(subject.methods[method](target))
            wrong = [bad() if i == which or which is None else value for i, value in enumerate(good)]
            yield f"{what} as argument {which}", tuple(wrong), target


def _outcome(call: Callable[[], Any]) -> str:
    """What a call did wrong, or nothing."""
    try:
        found = call()
    except Exception as error:
        return f"raises {type(error).__name__}: {error!s:.80}"
    if isinstance(found, mm.Status) and not found.ok() and len(found.error_message) < 8:
        return f"says no more than {found}"
    return ""


@pytest.mark.parametrize(("name", "method"), [(n, m) for n, s in SUBJECTS.items() for m in s.methods])
def test_arguments_that_cannot_be_used(name: str, method: str) -> None:
    subject = SUBJECTS[name]
    problems = []
    for what, arguments, target in _calls(subject, method):
        problem = _outcome(lambda: getattr(target, method)(*arguments))  # noqa: B023
        if problem:
            problems.append(f"{what}: {problem}")
    assert not problems, f"{name}.{method}\n" + "\n".join(problems)


CONSTRUCTORS: dict[str, tuple[Callable[..., Any], int, str]] = {
    "Dims": (mm.Dims, 1, "GetDims"),
    "Parser": (mm.Parser, 1, "parse"),
    "Calibrator": (mm.Calibrator, 1, "calibrate"),
    "Tensor": (mm.Tensor, 3, "from_numpy"),
    "Profiler": (mm.Profiler, 2, "stop"),
}


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_what_constructors_take_is_refused_where_it_is_used(name: str) -> None:
    make, count, method = CONSTRUCTORS[name]
    subject, problems = SUBJECTS[name], []
    for what, bad in BAD.items():
        made = make(*[bad() for _ in range(count)])
        found = getattr(made, method)(*subject.methods[method](subject.make()))
        if isinstance(found, mm.Status) and found.ok():
            problems.append(what)
    assert not problems


def test_tensors_that_have_no_memory() -> None:
    for tensor in (mm.Tensor([2**40, 2**20]), mm.Tensor("x"), mm.Tensor([1], "x")):  # type: ignore[arg-type]
        assert tensor.data_address() == 0
        assert not tensor.from_numpy(np.zeros(3)).ok() and tensor.asnumpy() is None
    assert mm.Tensor([-1]).data_address() == 0


def test_attributes_that_cannot_be_used() -> None:
    for what, bad in BAD.items():
        settings = mm.BuilderConfig()
        if what != "a broken object":
            settings.mlu_archs = bad()
        device = mm.Device()
        device.id = bad()
        assert not device.active().ok(), what
        remote = mm.RemoteConfig()
        remote.address = bad()
        assert mm.Calibrator([]).set_remote(remote).ok() is (what == "a text"), what  # a host's name
    settings = mm.BuilderConfig()
    settings.mlu_archs = 5  # type: ignore[assignment]
    builder = mm.Builder()
    assert builder.build_model("n", network(), settings) is None and "'5'" in str(builder.status)


def test_helpers() -> None:
    for what, bad in BAD.items():
        assert mm.get_numpy_dtype_by_datatype(bad()) is None, what
        found = mm.get_datatype_by_numpy(bad())
        assert found is None or isinstance(found, mm.DataType), what  # numpy finds a dtype in most texts
        assert mm.range_to_uniform_quant_param(bad(), bad(), bad(), bad()) is None, what
        assert mm.uniform_quant_param_to_range(bad(), bad(), bad()) is None, what
        assert mm.find_irt_tensor_by_name(bad(), "x") is None and mm.data_type_size(bad()) is None, what
        assert what == "a type" or mm.type_enum_to_string(bad()) is None, what
        assert mm.type_string_to_enum(bad()) is None, what
        assert what == "a layout" or mm.layout_enum_to_string(bad()) is None, what
        assert mm.remote.IRpcSession.rpc_connect(bad()) is None, what
        assert what == "a number" or mm.remote.create_rpc_server(bad()) is None, what  # that is a port
        assert mm.normal_to_uniform_cast(bad()) is None and mm.uniform_to_normal_cast(bad()) is None, what


def test_dumps_that_cannot_be_written() -> None:
    for bad in BAD.values():
        assert not context().set_context_dump_info(mm.Context.ContextDumpInfo(bad(), bad(), bad(), bad())).ok()


# --------------------------------------------------------------------------------------------------------------- nodes

SOME = tuple(what for i, what in enumerate(BAD) if i % 3 != 1)


def _looked_at(tensor: mm.ITensor | None) -> None:
    if tensor is not None:
        tensor.get_dimension(), tensor.get_data_type(), tensor.get_tensor_name()


@pytest.mark.filterwarnings("ignore")  # numpy warns of some of these
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_operands_and_settings_of_nodes(row: Any) -> None:
    words, problems = row.operands.split(), []
    slots = [*range(len(words)), *row.setters]
    for k, slot in enumerate(slots):
        for what in SOME[k % 3 :: 3]:
            made = mm.Network()
            tensor = made.add_input(mm.DataType.FLOAT32, mm.Dims([1, 4, 6, 6]))
            operands = [[tensor] if word.endswith("*") else 1 if word.startswith(".") else tensor for word in words]
            if isinstance(slot, int):
                operands[slot] = BAD[what]()

            def use() -> Any:
                node = getattr(made, f"add_i_{row.name}_node")(*operands)  # noqa: B023
                if node is None:
                    return None
                status = None if isinstance(slot, int) else getattr(node, f"set_{slot}")(BAD[what]())  # noqa: B023
                _looked_at(node.get_output(0))
                return status

            problem = _outcome(use)
            if problem:
                problems.append(f"{what} as {slot}: {problem}")
    assert not problems, "\n".join(problems)
