"""GraphDefs made by hand: what tests of the TensorFlow front-end read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magicmind.compiler import build
from magicmind.frontends.tensorflow.graphdef import records
from magicmind.frontends.tensorflow.source import TensorFlowSource
from magicmind.frontends.tensorflow.write import GraphWriter
from magicmind.graph import SourceGraph

Array = np.ndarray[Any, Any]


def f32(numbers: Any) -> Array:
    """Numbers as float32."""
    return np.asarray(numbers, np.float32)


class GraphBuilder(GraphWriter):
    """A GraphDef that can be run."""

    def graph(self, outputs: Sequence[str] | None = None, **options: Any) -> SourceGraph:
        """The graph as `parse` would give it; options are `inputs` and `input_shapes`."""
        source = TensorFlowSource(records(self.message), options.get("inputs"), outputs)
        shapes = options.get("input_shapes")
        return SourceGraph.of(source, shapes, may_wait=shapes is None)

    def run(self, outputs: Sequence[str], **feeds: Array) -> list[Array]:
        """The outputs of the compiled graph."""
        shapes = {name: x.shape for name, x in feeds.items()}
        with build(self.graph(outputs, input_shapes=shapes)) as model:
            found = model.session(threads=1).run(feeds)
        return [found[name] for name in outputs]
