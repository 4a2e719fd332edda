"""DeepLab v3+ (MobileNetV2, depth 0.5) that finds people, from TensorFlow."""

from magicmind.zoo.fetch import Download
from magicmind.zoo.geometry import LongSide, Stretch
from magicmind.zoo.preparation import Preparation
from magicmind.zoo.recipe import Sample
from magicmind.zoo.sources import TensorFlow
from magicmind.zoo.tasks.segmentation import Segmentation

_RAW = "https://github.com/anilsathyan7/Portrait-Segmentation/raw/dbf69b043cf7/models/deeplab_dm05_513"

SAMPLE = Sample(
    name="deeplab_person_tf",
    title="DeepLab v3+ (MobileNetV2, depth 0.5), people",
    licence="MIT",
    source=TensorFlow(
        Download("frozen_inference_graph.pb", (f"{_RAW}/frozen_inference_graph.pb",),
                 "8fdbc79139bfd891c2941087c56951472909c8e50aa70332b444c66fa703ad6e"),
        ("SemanticPredictions",),
    ),
    task=Segmentation(("background", "person")),
    dataset="pictures",
    shape=(513, 513),
    mutable_shape=("100..513", "100..513"),
    batches=None,
    channels_last=True,
    preparation=Preparation(LongSide(513, "area", least=100), "rgb"),
    fixed_preparation=Preparation(Stretch(513, 513, "area"), "rgb"),
    model_file="models/deeplab_person_tf_model_{precision}_{mutable}",
    output_folder="output/infer_output_{precision}_{mutable}",
    defaults={"precision": "force_float32", "mutable": True, "batch": 1, "image_num": -1},
)  # fmt: skip
