"""Two inputs of different rank and type, calibrated together; only the first one's size may vary."""

import argparse

import magicmind.python.runtime as mm
import numpy as np
from common import MMRunner
from magicmind.python.runtime import BuilderConfig, ModelKind, Network
from magicmind.python.runtime.parser import Parser


class Feed(mm.CalibDataInterface):
    def __init__(self, arrays, dtype):
        super().__init__()
        self.arrays, self.dtype, self.at = arrays, dtype, 0

    def get_shape(self):
        return mm.Dims(self.arrays[0].shape)

    def get_data_type(self):
        return self.dtype

    def get_sample(self):
        return self.arrays[self.at - 1]

    def next(self):
        self.at += 1
        return mm.Status.OK() if self.at <= len(self.arrays) else mm.Status(mm.Code.OUT_OF_RANGE, "end")

    def reset(self):
        self.at = 0
        return mm.Status.OK()


def main():
    parser = argparse.ArgumentParser()
    for flag in ("onnx", "data", "precision", "mm_model", "results"):
        parser.add_argument(f"--{flag}")
    args = parser.parse_args()
    data = np.load(args.data)
    network, config = Network(), BuilderConfig()
    Parser(ModelKind.kOnnx).parse(network, args.onnx)
    assert config.parse_from_string('{"precision_config": {"precision_mode": "%s"}}' % args.precision).ok()
    low, high = [1, 3, 16, 16], [8, 3, 16, 16]
    assert config.parse_from_string('{"dim_range": {"0": {"min": %s, "max": %s}}}' % (low, high)).ok()
    images = [image[None].astype(np.float64) for image in data["images"]]
    texts = [data["text"].astype(np.float64) for _ in images]
    feeds = [Feed(images, mm.DataType.FLOAT32), Feed(texts, mm.DataType.INT32)]
    for node in network.get_all_nodes_in_network():
        if any(op in node.get_node_name() for op in ("Sqrt_", "Mul_")):
            for i in range(node.get_input_count()):
                if node.get_input(i).get_data_type() in (mm.DataType.FLOAT16, mm.DataType.FLOAT32):
                    node.set_precision(i, mm.DataType.FLOAT32)
            for i in range(node.get_output_count()):
                node.set_output_type(i, mm.DataType.FLOAT32)
    calibrator = mm.Calibrator(feeds)
    assert calibrator.set_quantization_algorithm(mm.QuantizationAlgorithm.LINEAR_ALGORITHM).ok()
    assert calibrator.calibrate(network, config).ok()  # in every precision
    model = mm.Builder().build_model("towers", network, config)
    assert model is not None
    assert model.serialize_to_file(args.mm_model).ok()
    run = MMRunner(args.mm_model)
    np.save(args.results, run([data["images"].astype(np.float64), data["text"].astype(np.int64)])[0])


if __name__ == "__main__":
    main()
