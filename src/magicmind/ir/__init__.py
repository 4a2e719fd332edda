"""The unified graph: types, symbolic dims and scalar programs on onnx-ir."""
