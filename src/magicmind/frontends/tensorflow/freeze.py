"""SavedModel folders and Keras files as frozen graphs, by TensorFlow itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

from magicmind.errors import ModelFormatError, UnsupportedOperatorError
from magicmind.frontends.tensorflow.importers.lookup import TABLE
from magicmind.ir.shape_spec import ShapeSpecs, by_name

_WRITES = ("Assign", "ResourceScatter")
"""How the operators begin that change variables."""
_COLOURS = re.compile(r"\x1b\[\d*m")
_CAUSE = re.compile(r"[A-Z]\w*(Error|Exception): ")


def freeze(path: Path, signature: str, shapes: ShapeSpecs | None = None) -> tuple[bytes, list[str], list[str]]:
    """The serialised GraphDef of a file, the names of its inputs, and those of its outputs.

    `shapes` are those that the user gives: Keras has layers that it cannot write for open sizes.
    Raises ModelFormatError for files that TensorFlow cannot load and signatures that are not there.
    """
    try:
        if path.is_dir():
            owner = tf.saved_model.load(str(path))
            function = _signature(owner, path, signature)
        else:
            owner = tf.keras.models.load_model(str(path), compile=False)
            function = _keras_function(owner, shapes)
        frozen = freeze_function(function)
        del owner  # until here: a function does not keep its variables
    except (ModelFormatError, UnsupportedOperatorError):
        raise
    except Exception as error:  # whatever TensorFlow raises on damaged files
        raise ModelFormatError(f"{path} cannot be loaded by TensorFlow: {_reason(error)}") from error
    return frozen


def _reason(error: Exception) -> str:
    """The line of an error that says what is wrong; Keras puts the code it was running in front."""
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    first = next((i for i, line in enumerate(lines) if _CAUSE.match(line)), 0) if lines[0] == "in user code:" else 0
    return " ".join(lines[first : first + 2 if "Exception encountered" in lines[first] else first + 1])


def freeze_function(function: Any) -> tuple[bytes, list[str], list[str]]:
    """Likewise for a concrete function: its variables become constants, its control flow stays functions.

    These are the steps of `convert_variables_to_constants_v2` but its last, which makes a function of the result: that
    fails for the second network of a process whose loops TensorFlow gives the names of the first one's.
    """
    data = convert_to_constants._FunctionConverterDataInEager(
        func=function, lower_control_flow=False, aggressive_inlining=False
    )
    graph, frozen = convert_to_constants._replace_variables_by_constants(converter_data=data)
    written = sorted({node.op for node in graph.node if node.op.startswith(_WRITES)})
    if written:
        raise UnsupportedOperatorError(
            f"the network keeps a state from call to call ({', '.join(written)}), which a frozen graph cannot",
            hint="make its layers stateless (stateful=False), with states as inputs and outputs where they matter",
        )
    constants = {function.graph.internal_captures[i].name for i in frozen}
    inputs = [t.name for t in function.inputs if t.name not in constants and t.dtype != tf.resource]
    _write_tables(graph, function)
    return graph.SerializeToString(), inputs, [t.name for t in function.outputs]


def _write_tables(graph: Any, function: Any) -> None:
    """Puts keys and values of tables where the graph takes the tables from."""
    nodes = [*graph.node, *(node for made in graph.library.function for node in made.node_def)]
    kinds = {(n.attr["Tin"].type, n.attr["Tout"].type) for n in nodes if n.op == "LookupTableFindV2"}
    handles = {inner.op.name: outer for outer, inner in function.graph.captures if inner.dtype == tf.resource}
    for node in list(graph.node):
        contents = _contents(handles[node.name], kinds) if node.name in handles and node.op == "Placeholder" else None
        if contents is None:
            continue
        names = [f"{node.name}/{what}" for what in ("keys", "values")]
        for name, array in zip(names, contents, strict=True):
            made = graph.node.add(name=name, op="Const")
            made.attr["dtype"].type = array.dtype.as_datatype_enum
            made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
        node.op = TABLE
        node.input[:] = names


def _contents(handle: Any, kinds: Iterable[tuple[int, int]]) -> Any:
    """Keys and values of a table that has one of these pairs of types; None for another resource."""
    for keys, values in kinds:
        types = {"Tkeys": tf.as_dtype(keys), "Tvalues": tf.as_dtype(values)}
        try:
            return tf.raw_ops.LookupTableExportV2(table_handle=handle, **types)
        except tf.errors.OpError:  # other types, or no table
            continue
    return None


def _keras_function(model: Any, shapes: ShapeSpecs | None) -> Any:
    """The model as its file says, or for the sizes that are given where Keras cannot do it for all."""
    try:
        return keras_function(model)
    except Exception:  # whatever Keras raises
        given = by_name(shapes, [_name(t) for t in model.inputs])
        if not given:
            raise
        return keras_function(model, {name: [d if isinstance(d, int) else None for d in given[name]] for name in given})


def _name(tensor: Any) -> str:
    return str(tensor.name).partition(":")[0]


def keras_function(model: Any, shapes: Mapping[str, Sequence[int | None]] = MappingProxyType({})) -> Any:
    """A Keras model, called for inference, as a concrete function; `shapes` take the place of its inputs' own."""
    specs = [tf.TensorSpec(shapes.get(_name(t), t.shape), t.dtype, name=_name(t)) for t in model.inputs]
    call = tf.function(lambda *xs: model(list(xs) if len(xs) > 1 else xs[0], training=False))
    return call.get_concrete_function(*specs)


def _signature(loaded: Any, path: Path, name: str) -> Any:
    if name not in loaded.signatures:
        known = ", ".join(map(repr, loaded.signatures)) or "none"
        raise ModelFormatError(f"{path} has no signature {name!r}", hint=f"it has {known}; give signature=...")
    return loaded.signatures[name]
