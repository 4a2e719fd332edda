"""ResNet-50 v1 for ImageNet, from ONNX."""

from magicmind.zoo.fetch import Download
from magicmind.zoo.geometry import CentreCrop
from magicmind.zoo.preparation import Preparation
from magicmind.zoo.recipe import Calibration, Sample
from magicmind.zoo.samples.figures import table
from magicmind.zoo.sources import Onnx
from magicmind.zoo.tasks.classification import Classification

_MODELS = "https://github.com/onnx/models/raw/main"
_PATH = "vision/classification/resnet/model/resnet50-v1-7.onnx"

SAMPLE = Sample(
    name="resnet50_onnx",
    title="ResNet-50 v1, ImageNet classification",
    licence="Apache-2.0",
    location="buildin/cv/classification/resnet50_onnx",
    source=Onnx(
        Download("resnet50-v1-7.onnx", (f"{_MODELS}/{_PATH}", f"{_MODELS}/validated/{_PATH}")),
        random="resnet50:resnet50_v1",
    ),
    task=Classification(probabilities=False, says_image=False),
    dataset="imagenet",
    shape=(224, 224),
    preparation=Preparation(
        CentreCrop(256, 224, "pil_linear", "pillow"), "rgb",
        (0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255),
        reader="pillow", inside=False,
    ),
    calibration=Calibration(10),
    model_file="models/resnet50_onnx_model_{precision}_{mutable}_{batch}",
    output_folder="output/infer_python_output_{precision}_{mutable}_{batch}",
    defaults={"precision": "force_float32", "mutable": True, "batch": 1, "image_num": 1000},
    accuracy=table("top1 top5", """
        fp32 1 S4/X4 0.755756 0.926927
        fp16 1 S4/X4 0.755756 0.926927
        int8 1 S4/X4 0.740741 0.921922
    """),
    throughput=table("qps", """
        fp32 1 S4 193.47
        fp32 4 S4 640.334
        fp32 8 S4 786.004
        fp16 1 S4 587.342
        fp16 4 S4 1947.97
        fp16 8 S4 2404.88
        int8 1 S4 1125.71
        int8 4 S4 4189.73
        int8 8 S4 5782.66
        fp32 1 X4 194.266
        fp32 4 X4 590.223
        fp32 8 X4 1026.66
        fp16 1 X4 573.044
        fp16 4 X4 1762.06
        fp16 8 X4 3253.08
        int8 1 X4 1267.76
        int8 4 X4 3747.53
        int8 8 X4 6966.43
    """),
    notes=("The published accuracies are of the first 999 pictures.",),
)  # fmt: skip
