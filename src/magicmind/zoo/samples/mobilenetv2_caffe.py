"""MobileNetV2 for ImageNet, from Caffe."""

from magicmind.zoo.fetch import Download
from magicmind.zoo.geometry import CentreCrop
from magicmind.zoo.preparation import Preparation
from magicmind.zoo.recipe import Calibration, Reference, Sample
from magicmind.zoo.samples.figures import table
from magicmind.zoo.sources import Caffe
from magicmind.zoo.tasks.classification import Classification

_RAW = "https://raw.githubusercontent.com/shicai/MobileNet-Caffe/master"
_MEAN, _STD = (103.939002991, 116.778999329, 123.680000305), (1 / 0.017,) * 3

SAMPLE = Sample(
    name="mobilenetv2_caffe",
    title="MobileNetV2, ImageNet classification",
    licence="BSD-3-Clause",
    location="buildin/cv/classification/mobilenetv2_caffe",
    source=Caffe(
        Download("mobilenet_v2_deploy.prototxt", (f"{_RAW}/mobilenet_v2_deploy.prototxt",),
                 "06a0820a5edc6d2c24e83e0b95824d0dae464ced3d5db82f51e461098a03b887"),
        Download("mobilenet_v2.caffemodel", (f"{_RAW}/mobilenet_v2.caffemodel",), "a3124ce7"),
        random="mobilenet_v2:mobilenet_v2",
    ),
    task=Classification(probabilities=True, says_image=True),
    dataset="imagenet",
    shape=(224, 224),
    preparation=Preparation(CentreCrop(256, 224, rounding="down"), "bgr", _MEAN, _STD),
    calibration=Calibration(32),
    reference=Reference(
        "calibrates with as many pictures as the batch, their crop 16 pixels off the middle",
        calibration=Calibration(0, Preparation(CentreCrop(256, 224, corner_of=256), "bgr", _MEAN, _STD)),
    ),
    model_file="mm_model/{precision}_{mutable}_{batch}",
    output_folder="output/{precision}_{mutable}_{batch}",
    defaults={"precision": "force_float32", "mutable": False, "batch": 1, "image_num": 1000},
    accuracy=table("top1 top5", """
        fp32 1 S4 0.727455 0.912826
        fp32 4 S4 0.727912 0.912651
        fp32 8 S4 0.726815 0.911290
        fp16 1 S4 0.728457 0.912826
        fp16 4 S4 0.728916 0.912651
        fp16 8 S4 0.727823 0.911290
        int8 1 S4 0.7204 0.9078
        int8 4 S4 0.7248 0.9076
        int8 8 S4 0.7227 0.9112
        fp32 1 X4 0.7274 0.9128
        fp32 4 X4 0.7279 0.9126
        fp32 8 X4 0.7268 0.9112
        fp16 1 X4 0.7284 0.9128
        fp16 4 X4 0.7289 0.9126
        fp16 8 X4 0.7278 0.9112
        int8 1 X4 0.7204 0.9078
        int8 4 X4 0.7248 0.9076
        int8 8 X4 0.7227 0.9112
    """),
    throughput=table("qps average p95 p99", """
        fp32 1 S4 510.669 1.9469 1.949 1.95
        fp32 4 S4 1657.69 2.4014 2.406 2.408
        fp32 8 S4 1980.05 4.0286 4.035 4.038
        fp16 1 S4 1282.29 0.7687 0.77 0.77
        fp16 4 S4 2653.99 0.66002 1.532 1.563
        fp16 8 S4 4485.59 1.7719 1.775 1.784
        int8 4 S4 1486.99 7.1393 0.684 0.719
        int8 1 S4 3051.86 1.2993 1.301 1.302
        int8 8 S4 5120.48 1.5508 1.553 1.554
        fp32 1 X4 512.515 1.9413 1.943 1.945
        fp32 4 X4 1564.34 2.547 2.552 2.554
        fp32 8 X4 2868.95 2.7785 2.784 2.787
        fp16 1 X4 1277.69 0.76645 0.768 0.769
        fp16 4 X4 2583.19 1.5334 1.537 1.538
        fp16 8 X4 5110.23 1.5557 1.558 1.559
        int8 1 X4 1508.74 0.65242 0.653 0.654
        int8 4 X4 2991.76 1.3226 1.324 1.325
        int8 8 X4 5921.19 1.341 1.343 1.353
    """),
    notes=(
        "The published accuracies are of 998, 996 and 992 pictures: the reference never ran its last batch.",
        "The published int8 rows of batch 1 and 4 on the S4 have their names swapped.",
    ),
)  # fmt: skip
