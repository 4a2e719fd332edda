"""numpy dtypes and DataType."""

from magicmind.facade.enums import get_datatype_by_numpy, get_numpy_dtype_by_datatype

__all__ = ["get_datatype_by_numpy", "get_numpy_dtype_by_datatype"]
