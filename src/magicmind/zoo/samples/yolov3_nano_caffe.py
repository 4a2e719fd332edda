"""MobileNetV2-YOLOv3-Nano for the classes of PASCAL CLASSES, from Caffe."""

from magicmind.evaluation.voc import CLASSES
from magicmind.zoo.fetch import Download
from magicmind.zoo.geometry import Stretch
from magicmind.zoo.preparation import Preparation
from magicmind.zoo.recipe import Published, Sample
from magicmind.zoo.sources import Caffe
from magicmind.zoo.tasks.decode import YoloV3
from magicmind.zoo.tasks.detection import Detection

_RAW = "https://github.com/dog-qiuqiu/MobileNet-Yolo/raw/86c05bfc4e50/darknet2caffe/sample"
_NET = "MobileNetV2-YOLOv3-Nano-voc"
_ANCHORS = (((189, 126), (137, 236), (265, 259)), ((26, 48), (67, 84), (72, 175)))

SAMPLE = Sample(
    name="yolov3_nano_caffe",
    title="MobileNetV2-YOLOv3-Nano, detection of 20 classes",
    licence="public domain in effect (YOLO licence)",
    source=Caffe(
        Download(f"{_NET}.prototxt", (f"{_RAW}/{_NET}.prototxt",),
                 "a976e82255f20c9c011c901ef8babd32c7871f568f9b05857d7255c494345247"),
        Download(f"{_NET}.caffemodel", (f"{_RAW}/{_NET}.caffemodel",),
                 "6e86e5997dc7eba602db4253f3652ecdf2b135d6563ac896b2e44e260bfa0ae6"),
    ),
    task=Detection(YoloV3(320, _ANCHORS, (1.1, 1.05)), CLASSES, confidence=0.1),
    dataset="coco",
    shape=(320, 320),
    preparation=Preparation(Stretch(320, 320), "rgb", (0, 0, 0), (255, 255, 255)),
    model_file="models/yolov3_nano_caffe_model_{precision}_{mutable}_{batch}",
    output_folder="output/infer_output_{precision}_{mutable}_{batch}",
    defaults={"precision": "force_float32", "mutable": False, "batch": 1, "image_num": -1},
    accuracy=(Published("force_float32", 1, "OpenCV", {"mAP50": 0.867}),),
    notes=("The published figure is of 60 pictures of VOC, AP over all points of the curve.",),
)  # fmt: skip
