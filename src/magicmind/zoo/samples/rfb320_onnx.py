"""The ultra-light face detector RFB-320, from ONNX."""

from magicmind.zoo.fetch import Download
from magicmind.zoo.geometry import Stretch
from magicmind.zoo.preparation import Preparation
from magicmind.zoo.recipe import Sample
from magicmind.zoo.sources import Onnx
from magicmind.zoo.tasks.decode import Corners
from magicmind.zoo.tasks.detection import Detection

_RAW = "https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB/raw/dffdddda9794/models/onnx"

SAMPLE = Sample(
    name="rfb320_onnx",
    title="Ultra-light detector RFB-320, faces",
    licence="MIT",
    source=Onnx(
        Download("version-RFB-320.onnx", (f"{_RAW}/version-RFB-320.onnx",),
                 "34cd7e60aeff28744c657de7a3dc64e872d506741de66987f3426f2b79f88017"),
    ),
    task=Detection(Corners(320, 240), ("face",), confidence=0.7, boxes=1000, shown=0.7),
    dataset="pictures",
    shape=(240, 320),
    preparation=Preparation(Stretch(320, 240), "rgb", (127, 127, 127), (128, 128, 128)),
    model_file="models/rfb320_onnx_model_{precision}_{mutable}_{batch}",
    output_folder="output/infer_output_{precision}_{mutable}_{batch}",
    defaults={"precision": "force_float32", "mutable": False, "batch": 1, "image_num": -1},
)  # fmt: skip
