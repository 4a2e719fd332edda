"""VOLO-D2 for ImageNet, from PyTorch."""

from magicmind.zoo.fetch import Download
from magicmind.zoo.geometry import CentreCrop
from magicmind.zoo.preparation import Preparation
from magicmind.zoo.recipe import Calibration, Reference, Sample
from magicmind.zoo.samples.figures import table
from magicmind.zoo.sources import PyTorch
from magicmind.zoo.tasks.classification import Classification

_GEOMETRY = CentreCrop(233, 224, "cubic")
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_SWAPPED = Preparation(_GEOMETRY, "rgb", _MEAN[::-1], _STD[::-1])

SAMPLE = Sample(
    name="volo_d2_pytorch",
    title="VOLO-D2 (224), ImageNet classification",
    licence="Apache-2.0 (its authors ask to be contacted for commercial use)",
    location="buildin/cv/classification/volo_d2_pytorch",
    source=PyTorch(
        Download("d2_224_85.2.pth.tar", ("https://github.com/sail-sg/volo/releases/download/volo_1/d2_224_85.2.pth.tar",)),
        traced="volo_d2.pt",
        make="volo:volo_d2",
        shape=(1, 3, 224, 224),
    ),
    task=Classification(probabilities=False, says_image=True),
    dataset="imagenet",
    shape=(224, 224),
    batches=(1, 512),
    preparation=Preparation(_GEOMETRY, "rgb", _MEAN, _STD),
    calibration=Calibration(10),
    reference=Reference(
        "gives red the statistics of blue, and calibrates with as many pictures as the batch",
        preparation=_SWAPPED,
        calibration=Calibration(0, Preparation(_GEOMETRY, "bgr", _MEAN[::-1], _STD[::-1])),
    ),
    # Only the linear layers are integers; the products of attention and the convolutions stay float.
    layers={"*patch_embed*": "float", "*network.1.proj*": "float"},
    computation_preference="auto",
    model_file="models/volo_d2_model_{precision}_{mutable}{fixed_batch}",
    output_folder="output/infer_cpp_output_{precision}_{mutable}_{batch}",
    defaults={"precision": "force_float32", "mutable": True, "batch": 128, "image_num": 1000},
    accuracy=table("top1 top5", """
        fp32 1 S4/X4 0.846022 0.974366
        fp16 1 S4/X4 0.845240 0.974540
        int8 1 S4/X4 0.845400 0.974560
    """),
)  # fmt: skip
