"""CenterNet (DLA-34) for CLASSES, from PyTorch."""

from magicmind.evaluation.coco import CLASSES
from magicmind.zoo.fetch import Download
from magicmind.zoo.geometry import Fit, Stretch
from magicmind.zoo.preparation import Preparation
from magicmind.zoo.recipe import Calibration, Reference, Sample
from magicmind.zoo.samples.figures import table
from magicmind.zoo.sources import PyTorch
from magicmind.zoo.tasks.decode import CenterNet
from magicmind.zoo.tasks.detection import Detection

_MEAN = (0.40789654 * 255, 0.44719302 * 255, 0.47026115 * 255)
_STD = (0.28863828 * 255, 0.27408164 * 255, 0.27809835 * 255)
_ID = "18yBxWOlhTo32_swSug_HM4q3BeWgxp_N"

SAMPLE = Sample(
    name="centernet_pytorch",
    title="CenterNet (DLA-34), detection of 80 classes",
    licence="MIT, DLA part BSD-3-Clause",
    location="buildin/cv/detection/centernet_pytorch",
    source=PyTorch(
        Download(
            "ctdet_coco_dlav0_1x.pth",
            (f"https://drive.usercontent.google.com/download?id={_ID}&export=download&confirm=t",
             f"https://drive.google.com/uc?id={_ID}&export=download&confirm=t"),
            origin=f"https://drive.google.com/uc?id={_ID}",
        ),
        traced="ctdet_coco_dlav0_1x_traced_1bs.pt",
        make="centernet:centernet",
        shape=(1, 3, 512, 512),
        outputs=("hm_max", "heatmap", "wh", "reg"),
    ),
    task=Detection(CenterNet(), CLASSES),
    dataset="coco",
    shape=(512, 512),
    preparation=Preparation(Fit(512), "bgr", _MEAN, _STD),
    calibration=Calibration(10),
    reference=Reference(
        "stretches pictures, feeds RGB where the network was trained on BGR, cuts boxes to whole cells of 4 pixels, "
        "and calibrates with as many pictures as the batch",
        preparation=Preparation(Stretch(512, 512), "rgb", _MEAN, _STD),
        calibration=Calibration(0),
        task=Detection(CenterNet(whole=True), CLASSES, whole=True),
    ),
    model_file="models/centernet_pytorch_model_{precision}_{mutable}_{batch}",
    output_folder="output/infer_cpp_output_{precision}_{mutable}_{batch}",
    defaults={"precision": "force_float32", "mutable": True, "batch": 1, "image_num": 1000},
    accuracy=table("mAP mAP50", """
        fp32 1 S4/X4 0.214 0.367
        fp16 1 S4/X4 0.214 0.366
        int8 1 S4/X4 0.183 0.329
    """),
    throughput=table("qps", """
        fp32 1 S4 38.3222
        fp32 4 S4 101.571
        fp32 8 S4 96.5939
        fp16 1 S4 115.252
        fp16 4 S4 318.38
        fp16 8 S4 316.23
        int8 1 S4 219.13
        int8 4 S4 759.791
        int8 8 S4 812.749
        fp32 1 X4 39.2093
        fp32 4 X4 139.214
        fp32 8 X4 242.72
        fp16 1 X4 115.84
        fp16 4 X4 409.408
        fp16 8 X4 737.179
        int8 1 X4 227.525
        int8 4 X4 740.679
        int8 8 X4 1285.24
    """),
    notes=(
        "The published accuracies are of the first 1000 pictures, with the reference's pre- and post-processing "
        "(--compat).",
    ),
)  # fmt: skip
