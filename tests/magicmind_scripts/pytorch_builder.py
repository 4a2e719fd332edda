"""Old style: a TorchScript network; in integer modes the layers named conv or matmul are raised to float16."""

import argparse

import magicmind.python.runtime as mm
import numpy as np
from magicmind.python.runtime.parser import Parser


class Random(mm.CalibDataInterface):
    def __init__(self, shape, count):
        super().__init__()
        self.shape, self.count, self.done = shape, count, 0
        self.random = np.random.default_rng(0)

    def next(self):
        if self.done == self.count:
            return mm.Status(mm.Code.OUT_OF_RANGE, "End")
        self.done += 1
        self.sample = self.random.standard_normal(self.shape).astype(np.float32)
        return mm.Status.OK()

    def get_shape(self):
        return mm.Dims(self.shape)

    def get_data_type(self):
        return mm.DataType.FLOAT32

    def get_sample(self):
        return self.sample

    def reset(self):
        self.done = 0
        return mm.Status.OK()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pt_model", required=True)
    parser.add_argument("--mm_model", required=True)
    parser.add_argument("--precision", default="force_float32")
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--input_height", type=int, default=64)
    parser.add_argument("--input_width", type=int, default=64)
    args = parser.parse_args()
    shape = (args.batch_size, 3, args.input_height, args.input_width)

    network = mm.Network()
    reader = Parser(mm.ModelKind.kPytorch)
    reader.set_model_param("pytorch-input-dtypes", [mm.DataType.FLOAT32])
    assert reader.parse(network, args.pt_model).ok()
    raised = 0
    if args.precision.find("qint") != -1:
        for node in network.get_all_nodes_in_network():
            name = node.get_node_name()
            if name.find("conv") == -1 and name.find("matmul") == -1:
                continue
            raised += 1
            for i in range(node.get_input_count()):
                if node.get_input(i).get_data_type() == mm.DataType.FLOAT32:
                    assert node.set_precision(i, mm.DataType.FLOAT16).ok()
            for i in range(node.get_output_count()):
                if node.get_output(i).get_data_type() == mm.DataType.FLOAT32:
                    assert node.set_output_type(i, mm.DataType.FLOAT16).ok()
    assert network.get_input(0).set_dimension(mm.Dims(shape)).ok()
    config = mm.BuilderConfig()
    assert config.parse_from_string('{"archs": ["mtp_372"]}').ok()
    assert config.parse_from_string('{"precision_config": {"precision_mode": "%s"}}' % args.precision).ok()
    assert config.parse_from_string('{"graph_shape_mutable": false, "compute_determinism": true}').ok()
    assert config.parse_from_string('{"cross_compile_toolchain_path": "/nowhere/gcc-linaro/"}').ok()
    assert config.parse_from_string('{"convert_input_layout": {"0": {"src": "NCHW", "dst": "NHWC"}}}').ok()
    bn = {"0": {"mean": [103.53, 116.28, 123.675], "var": [3291.89, 3262.69, 3409.98]}}
    assert config.parse_from_string(str({"insert_bn_before_firstnode": bn}).replace("'", '"')).ok()
    if args.precision.find("qint") != -1:
        calibrator = mm.Calibrator([Random(shape, 4)])
        assert calibrator.set_quantization_algorithm(mm.QuantizationAlgorithm.LINEAR_ALGORITHM).ok()
        assert calibrator.calibrate(network, config).ok()
    model = mm.Builder().build_model("net", network, config)
    assert model is not None
    assert model.serialize_to_file(args.mm_model).ok()
    print("input type:", model.get_input_data_type(0), "raised:", raised)


if __name__ == "__main__":
    main()
