"""A network of clips: five axes, converted layouts of input and output, weights per axis, more data than declared."""

import argparse

import magicmind.python.runtime as mm
import numpy as np
from common import MMRunner
from magicmind.python.runtime.parser import Parser


class Clips(mm.CalibDataInterface):
    """Hands out the array of all clips; the declared shape is that of one."""

    def __init__(self, shape, clips):
        super().__init__()
        self.shape_, self.clips_, self.at_ = shape, clips, 0

    def get_shape(self):
        return self.shape_

    def get_data_type(self):
        return mm.DataType.FLOAT32

    def get_sample(self):
        return self.clips_[self.at_ - 1 :]

    def next(self):
        if self.at_ == len(self.clips_):
            return mm.Status(mm.Code.OUT_OF_RANGE, "Data end reached")
        self.at_ += 1
        return mm.Status.OK()

    def reset(self):
        self.at_ = 0
        return mm.Status.OK()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pt_model")
    parser.add_argument("--clips")
    parser.add_argument("--precision")
    parser.add_argument("--mm_model")
    parser.add_argument("--results")
    args = parser.parse_args()
    clips = np.load(args.clips)
    network = mm.Network()
    reader = Parser(mm.ModelKind.kPytorch)
    reader.set_model_param("pytorch-input-dtypes", [mm.DataType.FLOAT32])
    assert reader.parse(network, args.pt_model).ok()
    shape = mm.Dims((1, *clips.shape[1:]))
    assert network.get_input(0).set_dimension(shape).ok()
    config = mm.BuilderConfig()
    assert config.parse_from_string('{"graph_shape_mutable": false}').ok()
    assert config.parse_from_string('{"precision_config": {"precision_mode": "%s"}}' % args.precision).ok()
    assert config.parse_from_string('{"precision_config": {"weight_quant_granularity": "per_axis"}}').ok()
    for end in ("input", "output"):
        text = '{"convert_%s_layout": {"0": {"src": "NCDHW", "dst": "NDHWC"}}}' % end
        assert config.parse_from_string(text).ok()
    if args.precision != "force_float16" and args.precision != "force_float32":
        calibrator = mm.Calibrator([Clips(shape, clips)])
        assert calibrator.set_quantization_algorithm(mm.QuantizationAlgorithm.EQNM_ALGORITHM).ok()
        assert calibrator.calibrate(network, config).ok()
    model = mm.Builder().build_model("clips", network, config)
    assert model is not None
    assert model.serialize_to_file(args.mm_model).ok()
    print([dims.GetDims() for dims in model.get_input_dimensions() + model.get_output_dimensions()])
    run = MMRunner(args.mm_model)
    np.save(args.results, np.concatenate([run([c[None].transpose(0, 2, 3, 4, 1)])[0] for c in clips]))


if __name__ == "__main__":
    main()
