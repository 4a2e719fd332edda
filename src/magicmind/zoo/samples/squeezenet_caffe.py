"""SqueezeNet v1.0 for ImageNet, from Caffe, with the weights of Deep Compression."""

from magicmind.zoo.fetch import Download
from magicmind.zoo.geometry import Stretch
from magicmind.zoo.preparation import Preparation
from magicmind.zoo.recipe import Published, Sample
from magicmind.zoo.sources import Caffe
from magicmind.zoo.tasks.classification import Classification

_ORIGIN = "https://github.com/songhan/SqueezeNet-Deep-Compression (decode compressed_SqueezeNet.net)"

SAMPLE = Sample(
    name="squeezenet_caffe",
    title="SqueezeNet v1.0, ImageNet classification",
    licence="BSD-2-Clause",
    source=Caffe(
        Download("deploy.prototxt", (),
                 "3bcb0e792e2b50ddeb955b178ba6742e28d8950956915348eba355652040674c",
                 origin=_ORIGIN),
        Download("squeezenet_v1_0.caffemodel", (),
                 "91a37ae569a701f76139cb9e1485a1b2fdc4e4099a92ab97aff3587ad54f9241",
                 origin=_ORIGIN),
    ),
    task=Classification(probabilities=False, says_image=True),
    dataset="imagenet",
    shape=(227, 227),
    preparation=Preparation(Stretch(227, 227), "bgr", (104, 117, 123), (1, 1, 1)),
    model_file="models/squeezenet_caffe_model_{precision}_{mutable}_{batch}",
    output_folder="output/infer_output_{precision}_{mutable}_{batch}",
    defaults={"precision": "force_float32", "mutable": False, "batch": 1, "image_num": 200},
    accuracy=(Published("force_float32", 1, "OpenCV", {"top1": 0.690, "top5": 0.865}),),
    notes=("The published figures are of 200 sample pictures, one for every fifth class.",),
)  # fmt: skip
