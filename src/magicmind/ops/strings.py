"""Operators on strings; all are host steps.

ONNX operators StringConcat-20, StringSplit-20, RegexFullMatch-20, StringNormalizer-10, TfIdfVectorizer-9.
"""

from __future__ import annotations

import onnx_ir

from magicmind.errors import ShapeError
from magicmind.ir.types import TensorType
from magicmind.ops.registry import NodeView, Op
from magicmind.ops.shapes import broadcast

_STRING = onnx_ir.DataType.STRING

string_concat = Op("StringConcat").host()
string_split = Op("StringSplit").host()
regex_full_match = Op("RegexFullMatch").host()
string_normalizer = Op("StringNormalizer").host()
tf_idf_vectorizer = Op("TfIdfVectorizer").host()


@string_concat.infer
def infer_concat(node: NodeView) -> list[TensorType]:
    """Element by element, with broadcasting."""
    return [TensorType(_STRING, broadcast(node.shape(0), node.shape(1)))]


@string_split.infer
def infer_split(node: NodeView) -> list[TensorType]:
    """A new last axis for the parts, as long as the most parts of any element; how many each has."""
    x = node.input(0)
    return [
        TensorType(_STRING, (*x.dims, node.unknown(0, x.rank))),
        TensorType(onnx_ir.DataType.INT64, x.dims),
    ]


@regex_full_match.infer
def infer_match(node: NodeView) -> list[TensorType]:
    """A flag per element."""
    return [TensorType(onnx_ir.DataType.BOOL, node.shape(0))]


@string_normalizer.infer
def infer_normalizer(node: NodeView) -> list[TensorType]:
    """[C] or [1, C] without stop words: as many as the data leaves."""
    x = node.input(0)
    if x.rank not in (1, 2):
        raise ShapeError(f"input 0 has rank {x.rank}; 1 or 2 is needed")
    return [TensorType(_STRING, (*x.dims[:-1], node.unknown(0, x.rank - 1)))]


@tf_idf_vectorizer.infer
def infer_tf_idf(node: NodeView) -> list[TensorType]:
    """One place per n-gram in the last axis, instead of the words."""
    x = node.input(0)
    places = max(node.ints_attr("ngram_indexes") or [0]) + 1
    return [TensorType(onnx_ir.DataType.FLOAT, (*x.dims[:-1], places))]
