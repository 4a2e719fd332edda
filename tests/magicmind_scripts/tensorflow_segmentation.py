"""Old style: a TensorFlow graph with its own preprocessing, calibrated by a subclass of the calibrator."""

import argparse

import magicmind.python.runtime
import magicmind.python.runtime.parser
import numpy as np
from magicmind.python.common.types import get_datatype_by_numpy

mm = magicmind.python.runtime


class FixedCalibData(mm.CalibDataInterface):
    def __init__(self, images):
        super().__init__()
        self.images = images
        self.index = 0

    def next(self):
        if self.index >= len(self.images):
            return mm.Status(mm.Code.OUT_OF_RANGE, "Data end reached")
        self.data = self.images[self.index]
        self.shape_ = mm.Dims(self.data.shape)
        self.type_ = get_datatype_by_numpy(self.data.dtype)
        self.index += 1
        return mm.Status()

    def get_shape(self):
        return self.shape_

    def get_data_type(self):
        return self.type_

    def get_sample(self):
        return self.data

    def reset(self):
        self.index = 0
        return mm.Status()


class FixedCalibrator(mm.Calibrator):
    def __init__(self, data, algorithm):
        super().__init__(data)
        assert self.set_quantization_algorithm(algorithm).ok()

    def calibrate(self, network, builder_config=None):
        return super().calibrate(network, builder_config)


def check(status):
    assert status.ok(), str(status)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tf_model", required=True)
    parser.add_argument("--sample", required=True)
    parser.add_argument("--output_model_path", required=True)
    parser.add_argument("--quant_mode", default="force_float32")
    args = parser.parse_args()
    image = np.load(args.sample)["ImageTensor"]

    network = mm.Network()
    reader = mm.parser.Parser(mm.ModelKind.kTensorflow)
    check(reader.set_model_param("tf-model-type", "tf-graphdef-file"))
    check(reader.set_model_param("tf-graphdef-inputs", ["ImageTensor:0"]))
    check(reader.set_model_param("tf-graphdef-outputs", ["SemanticPredictions:0"]))
    check(reader.set_model_param("tf-infer-shape", True))
    check(reader.parse(network, args.tf_model))
    check(network.get_input(0).set_dimension(mm.Dims(image.shape)))
    config = mm.BuilderConfig()
    check(config.parse_from_string('{"graph_shape_mutable": false}'))
    check(config.parse_from_string('{"precision_config": {"precision_mode": "%s"}}' % args.quant_mode))
    check(config.parse_from_string('{"opt_config": {"type64to32_conversion": true, "conv_scale_fold": true}}'))
    if "qint" in args.quant_mode:
        calibrator = FixedCalibrator(FixedCalibData([image]), mm.QuantizationAlgorithm.LINEAR_ALGORITHM)
        check(calibrator.calibrate(network, config))
    model = mm.Builder().build_model("deeplab", network, config)
    assert model is not None
    check(model.serialize_to_file(args.output_model_path))


if __name__ == "__main__":
    main()
