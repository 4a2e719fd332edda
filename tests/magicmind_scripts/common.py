"""What common-style programs share: flags, a builder of configurations, and a runner."""

import argparse
import json

import magicmind.python.runtime as mm
from magicmind.python.cc._pywrap_runtime import ITensor
from magicmind.python.cc._pywrap_runtime.enums import DataType
from magicmind.python.runtime import Builder, BuilderConfig, Dims, ModelKind, Network
from magicmind.python.runtime.model import Model
from magicmind.python.runtime.parser import Parser

TYPE_NAMES = {
    DataType.INT8: "INT8",
    DataType.INT16: "INT16",
    DataType.INT32: "INT32",
    DataType.INT64: "INT64",
    DataType.UINT8: "UINT8",
    DataType.UINT16: "UINT16",
    DataType.UINT32: "UINT32",
    DataType.FLOAT16: "HALF",
    DataType.FLOAT32: "FLOAT",
    DataType.BOOL: "BOOL",
    DataType.QINT8: "QINT8",
    DataType.QINT16: "QINT16",
}


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--onnx", type=str)
    parser.add_argument("--input_dims", type=int, nargs="+", action="append")
    parser.add_argument("--batch_size", type=int, nargs="+")
    parser.add_argument("--mlu_arch", type=str, nargs="+", default=["mtp_372"])
    parser.add_argument("--precision", type=str, default="force_float32")
    parser.add_argument("--means", type=float, nargs="+", action="append")
    parser.add_argument("--vars", type=float, nargs="+", action="append")
    parser.add_argument("--input_layout", type=str, nargs="+")
    parser.add_argument("--dim_range_min", type=int, nargs="+", action="append")
    parser.add_argument("--dim_range_max", type=int, nargs="+", action="append")
    parser.add_argument("--dynamic_shape", type=str, default="true")
    parser.add_argument("--computation_preference", type=str, default="auto")
    parser.add_argument("--type64to32_conversion", type=str, default="false")
    parser.add_argument("--conv_scale_fold", type=str, default="false")
    parser.add_argument("--weight_quant_granularity", type=str, default="per_tensor")
    parser.add_argument("--activation_quant_algo", type=str, default="symmetric")
    parser.add_argument("--input_dtypes", type=str, nargs="+")
    parser.add_argument("--magicmind_model", type=str, default="./model")
    return parser


def parse_onnx(args):
    network, parser = Network(), Parser(ModelKind.kOnnx)
    parser.parse(network, args.onnx)
    return network


def config_network(network, args):
    for i in range(network.get_input_count()):
        tensor: ITensor = network.get_input(i)
        if args.input_dims:
            assert tensor.set_dimension(Dims(args.input_dims[i])).ok()
        dims = tensor.get_dimension().GetDims()
        if args.batch_size and len(dims) != 0:
            dims[0] = args.batch_size[i]
            assert tensor.set_dimension(Dims(dims)).ok()


def get_builder_config(args):
    config = BuilderConfig()
    config.mlu_archs = args.mlu_arch

    def say(**document):
        assert config.parse_from_string(json.dumps(document)).ok()

    say(precision_config={"precision_mode": args.precision})
    if "int" in args.precision:
        say(precision_config={"weight_quant_granularity": args.weight_quant_granularity})
        say(precision_config={"activation_quant_algo": args.activation_quant_algo})
    say(archs=[{arch: [2, 6, 8]} for arch in args.mlu_arch])
    if args.means:
        pairs = zip(args.means, args.vars)
        say(insert_bn_before_firstnode={str(i): {"mean": m, "var": v} for i, (m, v) in enumerate(pairs)})
    if args.input_layout:
        opposite = {"NHWC": "NCHW", "NCHW": "NHWC", "NTC": "NCT", "NDHWC": "NCDHW"}
        say(convert_input_layout={str(i): {"src": opposite[x], "dst": x} for i, x in enumerate(args.input_layout)})
    say(graph_shape_mutable=args.dynamic_shape == "true")
    if args.dynamic_shape == "true" and args.dim_range_min:
        ranges = zip(args.dim_range_min, args.dim_range_max)
        say(dim_range={str(i): {"min": a, "max": b} for i, (a, b) in enumerate(ranges)})
    say(computation_preference=args.computation_preference)
    say(opt_config={"type64to32_conversion": args.type64to32_conversion == "true"})
    say(opt_config={"conv_scale_fold": args.conv_scale_fold == "true"})
    return config


def build_and_serialize(network, config, args):
    if args.input_dtypes:
        names = {name: dtype for dtype, name in TYPE_NAMES.items()}
        for i, name in enumerate(args.input_dtypes):
            assert network.get_input(i).set_data_type(names[name]).ok()
    model = Builder().build_model("magicmind model", network, config)
    assert isinstance(model, Model)
    assert model.serialize_to_file(args.magicmind_model).ok()
    for kind in ("input", "output"):
        names = getattr(model, f"get_{kind}_names")()
        dims = getattr(model, f"get_{kind}_dimensions")()
        types = getattr(model, f"get_{kind}_data_types")()
        for i, name in enumerate(names):
            print(f"model {kind}[{i}]: {name} {dims[i].GetDims()} {TYPE_NAMES[types[i]]}")


class MMRunner:
    def __init__(self, mm_file, device_id=0):
        self.model = mm.Model()
        self.model.deserialize_from_file(mm_file)
        with mm.System() as system:
            assert device_id < system.device_count()
            self.device = mm.Device()
            self.device.id = device_id
            assert self.device.active().ok()
            config = mm.Model.EngineConfig()
            config.device_type = "MLU"
            self.engine = self.model.create_i_engine(config)
            assert self.engine is not None
            self.context = self.engine.create_i_context()
            self.queue = self.device.create_queue()
            self.inputs = self.context.create_inputs()
        assert len(self.inputs) == self.model.get_input_num()

    def __call__(self, arrays):
        assert isinstance(arrays, list)
        for tensor, array in zip(self.inputs, arrays):
            assert tensor.from_numpy(array).ok()
            tensor.to(self.device)
        outputs = []
        assert self.context.enqueue(self.inputs, outputs, self.queue).ok()
        assert self.queue.sync().ok()
        return [output.asnumpy() for output in outputs]
