"""Old style: a Caffe classifier, calibrated when the mode asks for it, built for bytes in NHWC."""

import argparse

import cv2
import magicmind.python.runtime as mm
import numpy as np
from magicmind.python.runtime.parser import Parser

MEAN = np.array([104.0, 117.0, 123.0])


class ImageData(mm.CalibDataInterface):
    def __init__(self, files, batch_size, size):
        super().__init__()
        self.files, self.batch_size, self.size = files, batch_size, size
        self.shape = mm.Dims([batch_size, 3, size, size])
        self.dtype = mm.DataType.FLOAT32
        self.reset()

    def get_shape(self):
        return self.shape

    def get_data_type(self):
        return self.dtype

    def get_sample(self):
        return self.sample

    def next(self):
        first, last = self.at, self.at + self.batch_size
        if last > len(self.files):
            return mm.Status(mm.Code.OUT_OF_RANGE, "Data end reached")
        images = [preprocess(f, self.size) for f in self.files[first:last]]
        self.sample = np.ascontiguousarray(np.array(images).transpose(0, 3, 1, 2) - MEAN.reshape(3, 1, 1))
        self.at = last
        return mm.Status.OK()

    def reset(self):
        self.at = 0
        return mm.Status.OK()


def preprocess(path, size):
    return cv2.resize(cv2.imread(path), (size, size))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--caffe_model", type=str, required=True)
    parser.add_argument("--prototxt", type=str, required=True)
    parser.add_argument("--output_model", type=str, required=True)
    parser.add_argument("--file_list", type=str, required=True)
    parser.add_argument("--quant_mode", type=str, default="force_float32")
    parser.add_argument("--shape_mutable", type=str, default="true")
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--device_id", type=int, default=0)
    parser.add_argument("--size", type=int, default=227)
    args = parser.parse_args()

    network = mm.Network()
    config = mm.BuilderConfig()
    caffe = Parser(mm.ModelKind.kCaffe)
    assert caffe.parse(network, args.caffe_model, args.prototxt).ok()
    assert network.get_input(0).set_dimension(mm.Dims((args.batch_size, 3, args.size, args.size))).ok()
    assert config.parse_from_string('{"archs":[{"mtp_372": [6,8]}]}').ok()
    assert config.parse_from_string('{"precision_config": {"precision_mode": "%s"}}' % args.quant_mode).ok()
    assert config.parse_from_string('{"opt_config":{"type64to32_conversion":true,"conv_scale_fold":true}}').ok()
    if args.shape_mutable == "true":
        assert config.parse_from_string('{"graph_shape_mutable": true}').ok()
        low, high = [1, 3, args.size, args.size], [64, 3, args.size, args.size]
        assert config.parse_from_string('{"dim_range": {"0": {"min": %s, "max": %s}}}' % (str(low), str(high))).ok()
    else:
        assert config.parse_from_string('{"graph_shape_mutable": false}').ok()
    assert config.parse_from_string('{"convert_input_layout": {"0": {"src": "NCHW", "dst": "NHWC"}}}').ok()
    assert config.parse_from_string(
        '{"insert_bn_before_firstnode": {"0": {"mean": %s, "var": [1.0, 1.0, 1.0]}}}' % str(MEAN.tolist())
    ).ok()
    if args.quant_mode.find("qint") != -1:
        with mm.System() as system:
            assert args.device_id < system.device_count()
            device = mm.Device()
            device.id = args.device_id
            assert device.active().ok()
        with open(args.file_list) as lines:
            files = [line.split()[0] for line in lines]
        calibrator = mm.Calibrator([ImageData(files, args.batch_size, args.size)])
        assert calibrator.set_quantization_algorithm(mm.QuantizationAlgorithm.LINEAR_ALGORITHM).ok()
        assert calibrator.calibrate(network, config).ok()
    model = mm.Builder().build_model("classifier", network, config)
    assert model is not None
    assert model.serialize_to_file(args.output_model).ok()
    print("input type", model.get_input_data_type(0))


if __name__ == "__main__":
    main()
