"""Frozen graphs by TensorFlow itself: every tensor it can fetch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from magicmind.errors import Error
from magicmind.frameworks import Array
from magicmind.frontends.tensorflow.layout import CHANNELS_FIRST, order_first

_STATEFUL = ("Placeholder", "Const", "NoOp", "Enter", "Exit", "NextIteration", "Merge", "Switch", "LoopCond")


def evaluate(path: Path, options: Mapping[str, Any], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The first result of every node outside of loops, by the node's name; images with the channels first too."""
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(path.read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    wanted = {op.name: op.outputs[0] for op in graph.get_operations() if _is_plain(op)}
    fed = {f"{name.partition(':')[0]}:{name.partition(':')[2] or 0}": array for name, array in feeds.items()}
    try:
        with tf.compat.v1.Session(graph=graph) as session:
            found = session.run(wanted, feed_dict=fed)
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise Error(f"TensorFlow cannot run {path}: {str(error).splitlines()[0]}") from error
    plain = {name: np.asarray(array) for name, array in found.items()}
    turned = {
        f"{name}{CHANNELS_FIRST}": array.transpose(order_first(array.ndim))
        for name, array in plain.items()
        if array.ndim >= 3
    }
    return plain | turned


def _is_plain(op: Any) -> bool:
    """Whether a node's result is a tensor that exists once."""
    plain = bool(op.outputs) and op.type not in _STATEFUL and op._get_control_flow_context() is None
    return plain and op.outputs[0].dtype not in (tf.resource, tf.variant, tf.string)
