"""SavedModel folders and Keras files as frozen graphs, by TensorFlow itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

from magicmind.errors import ModelFormatError


def freeze(path: Path, signature: str) -> tuple[bytes, list[str], list[str]]:
    """The serialised GraphDef of a file, the names of its inputs, and those of its outputs.

    Raises ModelFormatError for files that TensorFlow cannot load and signatures that are not there.
    """
    try:
        if path.is_dir():
            owner = tf.saved_model.load(str(path))
            function = _signature(owner, path, signature)
        else:
            owner = tf.keras.models.load_model(str(path), compile=False)
            function = keras_function(owner)
        frozen = freeze_function(function)
        del owner  # until here: a function does not keep its variables
    except ModelFormatError:
        raise
    except Exception as error:  # whatever TensorFlow raises on damaged files
        raise ModelFormatError(f"{path} cannot be loaded by TensorFlow: {str(error).splitlines()[0]}") from error
    return frozen


def freeze_function(function: Any) -> tuple[bytes, list[str], list[str]]:
    """Likewise for a concrete function: its variables become constants, its control flow stays functions.

    These are the steps of `convert_variables_to_constants_v2` but its last, which makes a function of the result: that
    fails for the second network of a process whose loops TensorFlow gives the names of the first one's.
    """
    data = convert_to_constants._FunctionConverterDataInEager(
        func=function, lower_control_flow=False, aggressive_inlining=False
    )
    graph, frozen = convert_to_constants._replace_variables_by_constants(converter_data=data)
    constants = {function.graph.internal_captures[i].name for i in frozen}
    inputs = [t.name for t in function.inputs if t.name not in constants and t.dtype != tf.resource]
    return graph.SerializeToString(), inputs, [t.name for t in function.outputs]


def keras_function(model: Any) -> Any:
    """A Keras model, called for inference, as a concrete function."""
    specs = [tf.TensorSpec(t.shape, t.dtype, name=t.name.partition(":")[0]) for t in model.inputs]
    call = tf.function(lambda *xs: model(list(xs) if len(xs) > 1 else xs[0], training=False))
    return call.get_concrete_function(*specs)


def _signature(loaded: Any, path: Path, name: str) -> Any:
    if name not in loaded.signatures:
        known = ", ".join(map(repr, loaded.signatures)) or "none"
        raise ModelFormatError(f"{path} has no signature {name!r}", hint=f"it has {known}; give signature=...")
    return loaded.signatures[name]
