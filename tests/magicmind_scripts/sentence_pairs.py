"""A transformer of sentences: three inputs of integers, shapes set after the configuration, arrays of another type."""

import argparse

import magicmind.python.runtime as mm
import numpy as np
from magicmind.python.runtime.parser import Parser


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pt_model")
    parser.add_argument("--mm_model")
    parser.add_argument("--precision")
    parser.add_argument("--tokens")
    parser.add_argument("--results")
    parser.add_argument("--max_length", type=int, default=16)
    args = parser.parse_args()
    network, config = mm.Network(), mm.BuilderConfig()
    reader = Parser(mm.ModelKind.kPytorch)
    reader.set_model_param("pytorch-input-dtypes", [mm.DataType.INT32] * 3)
    assert reader.parse(network, args.pt_model).ok()
    assert config.parse_from_string('{"precision_config":{"precision_mode":"%s"}}' % args.precision).ok()
    assert config.parse_from_string(
        '{"opt_config":{"type64to32_conversion":true, \
                                                    "conv_scale_fold":true}}'
    ).ok()
    ranges = ", ".join('"%d": {"min": [1, 1], "max": [8, %d]}' % (i, args.max_length) for i in range(3))
    assert config.parse_from_string(
        '{      \
        "graph_shape_mutable": true,        \
        "dim_range": {'
        + ranges
        + "}}"
    ).ok()
    for i in range(network.get_input_count()):
        assert network.get_input(i).set_dimension(mm.Dims([1, args.max_length])).ok()
    model = mm.Builder().build_model("sentences", network, config)
    assert model is not None
    assert model.serialize_to_file(args.mm_model).ok()

    model = mm.Model()
    assert model.deserialize_from_file(args.mm_model).ok()
    assert [str(d) for d in model.get_input_data_types()] == [str(mm.DataType.INT32)] * 3
    device = mm.Device()
    assert device.active().ok()
    engine = model.create_i_engine()
    context, queue = engine.create_i_context(), device.create_queue()
    inputs, outputs = context.create_inputs(), []
    found = {}
    for number, tokens in enumerate(np.load(args.tokens).values()):
        ids = tokens.astype(np.int64)
        for tensor, array in zip(inputs, (ids, np.ones_like(ids), np.zeros_like(ids))):
            assert tensor.from_numpy(array).ok()
        assert context.enqueue(inputs, outputs, queue).ok()
        assert queue.sync().ok()
        found[str(number)] = outputs[0].asnumpy()
    np.savez(args.results, **found)


if __name__ == "__main__":
    main()
