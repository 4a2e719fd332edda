"""Detection output appended through the API: the raw maps of a YOLO network are permuted, decoded and suppressed."""

import argparse

import magicmind.python.runtime as mm
import numpy as np
from magicmind.python.runtime.parser import Parser

ANCHORS = [189, 126, 137, 236, 265, 259, 26, 48, 67, 84, 72, 175]


def append_detection_output(network, args):
    count = network.get_output_count()
    maps = [network.get_output(i) for i in range(count)]
    permuted = []
    for tensor in maps:
        order = network.add_i_const_node(mm.DataType.INT32, mm.Dims([4]), np.array([0, 2, 3, 1], np.int32))
        permuted.append(network.add_i_permute_node(tensor, order.get_output(0)).get_output(0))
    for _ in range(count):
        network.unmark_output(network.get_output(0))
    bias = network.add_i_const_node(
        mm.DataType.FLOAT32, mm.Dims([len(ANCHORS)]), np.array(ANCHORS, dtype=np.float32)
    ).get_output(0)
    node = network.add_i_detection_output_node(permuted, bias)
    node.set_layout(mm.Layout.NONE, mm.Layout.NONE)
    node.set_algo(mm.IDetectionOutputAlgo.YOLOV4)
    node.set_confidence_thresh(args.confidence_thresholds)
    node.set_nms_thresh(args.nms_thresholds)
    node.set_scale(1.0)
    node.set_num_coord(4)
    node.set_num_class(20)
    node.set_num_entry(5)
    node.set_num_anchor(3)
    node.set_num_box_limit(args.max_detections)
    node.set_image_shape(320, 320)
    node.set_aspect_ratios([1.1, 1.05])
    for i in range(node.get_output_count()):
        network.mark_output(node.get_output(i))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--caffe_model", required=True)
    parser.add_argument("--prototxt", required=True)
    parser.add_argument("--output_model", required=True)
    parser.add_argument("--confidence_thresholds", type=float, default=0.3)
    parser.add_argument("--nms_thresholds", type=float, default=0.45)
    parser.add_argument("--max_detections", type=int, default=256)
    args = parser.parse_args()
    network = mm.Network()
    assert Parser(mm.ModelKind.kCaffe).parse(network, args.caffe_model, args.prototxt).ok()
    append_detection_output(network, args)
    config = mm.BuilderConfig()
    assert config.parse_from_string('{"graph_shape_mutable": false}').ok()
    assert config.parse_from_string('{"convert_input_layout": {"0": {"src": "NCHW", "dst": "NHWC"}}}').ok()
    bn = '{"insert_bn_before_firstnode": {"0": {"mean": [0, 0, 0], "var": [65025, 65025, 65025]}}}'
    assert config.parse_from_string(bn).ok()
    model = mm.Builder().build_model("yolo", network, config)
    assert model is not None
    assert model.serialize_to_file(args.output_model).ok()


if __name__ == "__main__":
    main()
