"""Old style, an ONNX classifier: floats in NHWC without normalisation inside, calibrated with single images whatever
the batch is, and run in the same program with one list of outputs."""

import argparse

import magicmind.python.runtime as mm
import numpy as np
from magicmind.python.common.types import get_datatype_by_numpy
from magicmind.python.runtime.parser import Parser


class CalibData(mm.CalibDataInterface):
    """What it says of a sample exists only after `next`."""

    def __init__(self, data_list):
        super(CalibData, self).__init__()  # noqa: UP008
        self._data_list = data_list
        status = self.reset()
        assert status.ok(), str(status)

    def next(self):
        if self._at >= len(self._data_list):
            return mm.Status(mm.Code.OUT_OF_RANGE, "No more data.")
        self._data = np.ascontiguousarray(self._data_list[self._at])
        self._shape = mm.Dims(self._data.shape)
        self._type = get_datatype_by_numpy(self._data.dtype)
        self._at += 1
        return mm.Status()

    def get_shape(self):
        return self._shape

    def get_data_type(self):
        return self._type

    def get_sample(self):
        return self._data

    def reset(self):
        self._at = 0
        return mm.Status()


def build(args, images):
    parser = Parser(mm.ModelKind.kOnnx)
    network = mm.Network()
    assert parser.parse(network, args.onnx_model).ok()
    size = images.shape[-1]
    assert network.get_input(0).set_dimension(mm.Dims((args.batch_size, 3, size, size))).ok()
    config = mm.BuilderConfig()
    assert config.parse_from_string('{"archs":[{"mtp_372": [6,8]}]}').ok()
    assert config.parse_from_string('{"opt_config":{"type64to32_conversion":true}}').ok()
    assert config.parse_from_string('{"opt_config":{"conv_scale_fold":true}}').ok()
    assert config.parse_from_string("""{"cross_compile_toolchain_path": "/nowhere/gcc-linaro/"}""").ok()
    assert config.parse_from_string('{"convert_input_layout": {"0": {"src": "NCHW", "dst": "NHWC"}}}').ok()
    assert config.parse_from_string('{"graph_shape_mutable":true}').ok()
    low, high = str([1, 3, size, size]), str([64, 3, size, size])
    assert config.parse_from_string('{"dim_range": {"0": {"min": %s, "max": %s}}}' % (low, high)).ok()
    assert config.parse_from_string('{"precision_config":{"precision_mode":"%s"}}' % args.quant_mode).ok()
    assert config.parse_from_string('{"precision_config": {"activation_quant_algo": "symmetric"}}').ok()
    assert config.parse_from_string('{"precision_config": {"weight_quant_granularity": "per_tensor"}}').ok()
    if args.quant_mode.find("qint") != -1:
        calibrator = mm.Calibrator([CalibData([np.expand_dims(image, 0) for image in images])])
        assert calibrator is not None
        assert calibrator.set_quantization_algorithm(mm.QuantizationAlgorithm.LINEAR_ALGORITHM).ok()
        with mm.System() as mm_sys:
            assert mm_sys.device_count() > 0
        assert calibrator.calibrate(network, config).ok()
    model = mm.Builder().build_model("classifier", network, config)
    assert model is not None
    assert model.serialize_to_file(args.output_model).ok()


def infer(args, images):
    model = mm.Model()
    model.deserialize_from_file(args.output_model)
    found = []
    with mm.System():
        dev = mm.Device()
        dev.id = 0
        econfig = mm.Model.EngineConfig()
        econfig.device_type = "MLU"
        engine = model.create_i_engine(econfig)
        assert engine != None, "Failed to create engine"  # noqa: E711
        context = engine.create_i_context()
        queue = dev.create_queue()
        inputs = context.create_inputs()
        outputs = []
        for image in images:
            inputs[0].from_numpy(np.expand_dims(image.transpose(1, 2, 0), 0))
            inputs[0].to(dev)
            assert context.enqueue(inputs, outputs, queue).ok()
            assert queue.sync().ok()
            found.append(outputs[0].asnumpy()[0])
    np.save(args.results, np.array(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--onnx_model", "--onnx_model", type=str)
    parser.add_argument("--output_model", "--output_model", type=str)
    parser.add_argument("--images", type=str)
    parser.add_argument("--results", type=str)
    parser.add_argument("--quant_mode", type=str, default="qint8_mixed_float16")
    parser.add_argument("--batch_size", dest="batch_size", default=1, type=int)
    arguments = parser.parse_args()
    pictures = np.load(arguments.images)
    build(arguments, pictures)
    infer(arguments, pictures)
