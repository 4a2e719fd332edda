"""Several inputs of different rank and type, one of them a scalar, with shapes that stay open."""

import argparse

import magicmind.python.runtime as mm
import numpy as np
from common import MMRunner
from magicmind.python.runtime.parser import Parser


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--onnx", required=True)
    parser.add_argument("--mm_model", required=True)
    parser.add_argument("--audio", required=True)
    parser.add_argument("--results", required=True)
    args = parser.parse_args()
    network = mm.Network()
    assert Parser(mm.ModelKind.kOnnx).parse(network, args.onnx).ok()
    config = mm.BuilderConfig()
    ranges = '{"dim_range": {"0": {"min": [1, 576], "max": [4, 576]}, "1": {"min": [2, 1, 128], "max": [2, 4, 128]}}}'
    assert config.parse_from_string(ranges).ok()
    assert network.get_input(0).set_dimension(mm.Dims((1, 576))).ok()
    assert network.get_input(1).set_dimension(mm.Dims((2, 1, 128))).ok()
    assert network.get_input(2).set_data_type(mm.DataType.INT32).ok()
    model = mm.Builder().build_model("vad", network, config)
    assert model is not None
    assert model.serialize_to_file(args.mm_model).ok()
    run = MMRunner(args.mm_model)
    samples = np.fromfile(args.audio, np.int16)[22:].astype(np.float64) / 32768.0
    state, found = np.zeros((2, 1, 128)), []
    before = np.zeros(64)
    for k in range(40):
        frame = samples[512 * k : 512 * (k + 1)]
        probability, state = run([np.concatenate([before, frame])[None], state, np.int64(16000)])
        before = frame[-64:]
        found.append(float(probability.reshape(-1)[0]))
    np.save(args.results, np.array(found))


if __name__ == "__main__":
    main()
