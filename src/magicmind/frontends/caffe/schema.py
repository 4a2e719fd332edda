"""Caffe's messages as classes, made from the tables of `schema_text.py` when this module is imported."""

from __future__ import annotations

from typing import Any

from magicmind.frontends.caffe.schema_text import TEXT, UNPACKED, WEIGHTS
from magicmind.frontends.protobuf import messages

_TEXT = messages(TEXT, "magicmind.caffe")

Net: Any = _TEXT["Net"]
"""A network as text has it."""
Layer: Any = _TEXT["Layer"]
"""A layer of the current format."""
V1_TYPE: Any = _TEXT["V1TypeScope"].DESCRIPTOR.enum_types_by_name["V1Type"].values_by_number
"""The layer types of the format before, by number."""
WeightsNet: Any = messages(WEIGHTS, "magicmind.caffe.weights")["Net"]
"""The part of a binary network that holds weights."""
UnpackedNet: Any = messages(UNPACKED, "magicmind.caffe.unpacked")["Net"]
"""The same where numbers are not packed."""
