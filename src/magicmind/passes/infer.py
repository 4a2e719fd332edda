"""Type inference as a pass of the pipeline."""

from __future__ import annotations

import onnx_ir

from magicmind.passes.infer_types import infer_types
from magicmind.passes.infra import Pass


class InferTypes(Pass):
    """Writes dtype and shape on every value, with symbolic dims where they are not numbers."""

    def call(self, model: onnx_ir.Model) -> bool:
        return infer_types(model)
