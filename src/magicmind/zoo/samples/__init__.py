"""The samples, one module each; `SAMPLES` finds them by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module

from magicmind.errors import Error
from magicmind.zoo.recipe import Sample

NAMES = (
    "mobilenetv2_caffe",
    "resnet50_onnx",
    "deeplabv3_tf",
    "volo_d2_pytorch",
    "centernet_pytorch",
    "squeezenet_caffe",
    "yolov3_nano_caffe",
    "fastestdet_onnx",
    "rfb320_onnx",
    "deeplab_person_tf",
)


class _Samples(Mapping[str, Sample]):
    def __getitem__(self, name: str) -> Sample:
        if name not in NAMES:
            near = get_close_matches(name, NAMES, 1, 0.3)
            hint = f"did you mean {near[0]}?" if near else f"samples: {', '.join(NAMES)}"
            raise Error(f"there is no sample {name!r}", hint=hint)
        found: Sample = import_module(f"magicmind.zoo.samples.{name}").SAMPLE
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


SAMPLES = _Samples()
