"""DeepLabV3 with MobileNetV2 for the classes of PASCAL VOC, from TensorFlow."""

from magicmind.evaluation.segmentation import CLASSES
from magicmind.zoo.fetch import Download
from magicmind.zoo.geometry import LongSide, Stretch
from magicmind.zoo.preparation import Preparation
from magicmind.zoo.recipe import Calibration, Reference, Sample
from magicmind.zoo.samples.figures import table
from magicmind.zoo.sources import TensorFlow
from magicmind.zoo.tasks.segmentation import Segmentation

_ARCHIVE = "deeplabv3_mnv2_pascal_train_aug_2018_01_29.tar.gz"

SAMPLE = Sample(
    name="deeplabv3_tf",
    title="DeepLabV3 (MobileNetV2), segmentation into 21 classes",
    licence="Apache-2.0",
    location="buildin/cv/segmentation/deeplabv3_tf",
    source=TensorFlow(
        Download(
            "frozen_inference_graph.pb",
            (f"http://download.tensorflow.org/models/{_ARCHIVE}",
             f"https://storage.googleapis.com/download.tensorflow.org/models/{_ARCHIVE}"),
            size=23_882_985,
            member="deeplabv3_mnv2_pascal_train_aug/frozen_inference_graph.pb",
        ),
        ("SemanticPredictions",),
        random="deeplab:deeplab",
    ),
    task=Segmentation(CLASSES),
    dataset="voc",
    shape=(513, 513),
    mutable_shape=("100..513", "100..513"),
    batches=None,
    channels_last=True,
    preparation=Preparation(LongSide(513, "area", least=100), "rgb"),
    fixed_preparation=Preparation(Stretch(513, 513, "area"), "rgb"),
    calibration=Calibration(10),
    reference=Reference(
        "calibrates with two pictures, resampled by Pillow's Lanczos",
        calibration=Calibration(
            2, Preparation(LongSide(513, "pil_lanczos", "down", least=100), "rgb", reader="pillow")
        ),
    ),
    model_file="models/deeplabv3_tf_model_{precision}_{mutable}",
    output_folder="output/infer_cpp_output_{precision}_{mutable}",
    defaults={"precision": "force_float32", "mutable": True, "batch": 1, "image_num": 1000},
    accuracy=table("mIoU", """
        fp32 - S4 0.7665120921136525
        fp16 - S4 0.7663800619173691
        int8 - S4 0.7630175641817623
    """),
    throughput=table("qps", """
        fp32 1 S4 41.9964
        fp16 1 S4 46.2465
        int8 1 S4 47.1758
    """),
    notes=("The published figures are of models with mutable height and width, on the first 1000 pictures.",),
)  # fmt: skip
