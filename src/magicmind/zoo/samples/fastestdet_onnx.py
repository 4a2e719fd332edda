"""FastestDet for the classes of CLASSES, from ONNX."""

from magicmind.evaluation.coco import CLASSES
from magicmind.zoo.fetch import Download
from magicmind.zoo.geometry import Stretch
from magicmind.zoo.preparation import Preparation
from magicmind.zoo.recipe import Published, Sample
from magicmind.zoo.sources import Onnx
from magicmind.zoo.tasks.decode import FastestDet
from magicmind.zoo.tasks.detection import Detection

_RAW = "https://github.com/dog-qiuqiu/FastestDet/raw/50473cd155cb/example/onnx-runtime"

SAMPLE = Sample(
    name="fastestdet_onnx",
    title="FastestDet, detection of 80 classes",
    licence="BSD-3-Clause",
    source=Onnx(
        Download("FastestDet.onnx", (f"{_RAW}/FastestDet.onnx",),
                 "31cb14c017fce347cb4c846ec62fdf00d76bb3beecdf4be21e7116ac67feb880"),
    ),
    task=Detection(FastestDet(352), CLASSES, confidence=0.05, shown=0.5, clipped=False),
    dataset="coco",
    shape=(352, 352),
    batches=None,  # the file reshapes for one picture
    preparation=Preparation(Stretch(352, 352, "area"), "bgr", (0, 0, 0), (255, 255, 255)),
    model_file="models/fastestdet_onnx_model_{precision}",
    output_folder="output/infer_output_{precision}",
    defaults={"precision": "force_float32", "mutable": False, "batch": 1, "image_num": -1},
    accuracy=(Published("force_float32", 1, "onnxruntime", {"mAP50": 0.581}),),
    notes=("The published figure is of 60 pictures of VOC, AP over all points of the curve.",),
)  # fmt: skip
