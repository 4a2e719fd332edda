"""Common style: an ONNX network of any kind, calibrated with a directory of arrays, then run by the runner class."""

import glob

import common
import magicmind.python.runtime as mm
import numpy as np


class Arrays(mm.CalibDataInterface):
    """Samples of one input; float64, and with an axis too many, as some programs have them."""

    def __init__(self, files, key, shape, scale):
        super().__init__()
        self.files, self.key, self.shape, self.scale = files, key, mm.Dims(shape), scale
        self.at = 0

    def next(self):
        if self.at >= len(self.files):
            return mm.Status(mm.Code.OUT_OF_RANGE, "End reached")
        image = np.load(self.files[self.at])[self.key].astype(np.float64)
        self.sample = ((image - self.scale[0]) / self.scale[1]).transpose(2, 0, 1)[None, None]
        self.at += 1
        return mm.Status.OK()

    def get_shape(self):
        return self.shape

    def get_data_type(self):
        return mm.DataType.FLOAT32

    def get_sample(self):
        return self.sample

    def reset(self):
        self.at = 0
        return mm.Status.OK()


def main():
    parser = common.arguments()
    parser.add_argument("--samples", type=str)
    parser.add_argument("--results", type=str, required=True)
    args = parser.parse_args()
    network = common.parse_onnx(args)
    common.config_network(network, args)
    config = common.get_builder_config(args)
    files = sorted(glob.glob(args.samples + "/*.npz"))
    if "qint" in args.precision:
        shape = network.get_input(0).get_dimension()
        calibrator = mm.Calibrator([Arrays(files, "input_u8", shape.GetDims(), (127.0, 128.0))])
        assert calibrator.set_quantization_algorithm(mm.QuantizationAlgorithm.LINEAR_ALGORITHM).ok()
        assert calibrator.calibrate(network, config).ok()
    common.build_and_serialize(network, config, args)
    run = common.MMRunner(args.magicmind_model)
    found = {}
    for number, file in enumerate(files):
        pixels = np.load(file)["input_u8"].astype(np.float64)
        for i, output in enumerate(run([pixels[None]])):
            found[f"{number}.{i}"] = output
    np.savez(args.results, **found)


if __name__ == "__main__":
    main()
