"""The messages of TensorFlow's GraphDef that inference needs, with the field numbers of the public .proto files.

Fields that are not listed (devices, versions of single operators, debug information) are skipped. Names are declared as
text, contents of strings as bytes.
"""

from __future__ import annotations

from typing import Any

from magicmind.frontends.protobuf import messages

_TABLE = """
enum DataType DT_INVALID DT_FLOAT DT_DOUBLE DT_INT32 DT_UINT8 DT_INT16 DT_INT8 DT_STRING DT_COMPLEX64 DT_INT64 \
DT_BOOL DT_QINT8 DT_QUINT8 DT_QINT32 DT_BFLOAT16 DT_QINT16 DT_QUINT16 DT_UINT16 DT_COMPLEX128 DT_HALF DT_RESOURCE \
DT_VARIANT DT_UINT32 DT_UINT64 DT_FLOAT8_E5M2 DT_FLOAT8_E4M3FN DT_INT4=29 DT_UINT4 DT_FLOAT_REF=101 DT_DOUBLE_REF \
DT_INT32_REF DT_UINT8_REF DT_INT16_REF DT_INT8_REF DT_STRING_REF DT_INT64_REF=109 DT_BOOL_REF DT_HALF_REF=119 \
DT_RESOURCE_REF

message Dim: size@1 int64, name@2 string
message Shape: dim@2 Dim*, unknown_rank@3 bool
message Tensor: dtype@1 DataType, tensor_shape@2 Shape, version_number@3 int32, tensor_content@4 bytes, \
float_val@5 float*, double_val@6 double*, int_val@7 int32*, string_val@8 bytes*, scomplex_val@9 float*, \
int64_val@10 int64*, bool_val@11 bool*, dcomplex_val@12 double*, half_val@13 int32*, uint32_val@16 uint32*, \
uint64_val@17 uint64*
message List: s@2 bytes*, i@3 int64*, f@4 float*, b@5 bool*, type@6 DataType*, shape@7 Shape*, tensor@8 Tensor*, \
func@9 Function*
message Function: name@1 string, attr@2 Attribute*
message Value: list@1 List, s@2 bytes, i@3 int64, f@4 float, b@5 bool, type@6 DataType, shape@7 Shape, \
tensor@8 Tensor, placeholder@9 string, func@10 Function
message Attribute: key@1 string, value@2 Value
message NodeDef: name@1 string, op@2 string, input@3 string*, device@4 string, attr@5 Attribute*
message Argument: name@1 string, type@3 DataType
message Signature: name@1 string, input_arg@2 Argument*, output_arg@3 Argument*
message Return: key@1 string, value@2 string
message FunctionDef: signature@1 Signature, node_def@3 NodeDef*, ret@4 Return*
message Library: function@1 FunctionDef*
message Versions: producer@1 int32
message GraphDef: node@1 NodeDef*, library@2 Library, version@3 int32, versions@4 Versions
"""

_CLASSES = messages(_TABLE, "magicmind.tensorflow")

GraphDef: Any = _CLASSES["GraphDef"]
"""A graph with its library of functions."""
NodeDef: Any = _CLASSES["NodeDef"]
"""One node."""
DATA_TYPES: Any = _CLASSES["DataTypeScope"].DESCRIPTOR.enum_types_by_name["DataType"].values_by_name
"""The element types by name."""
