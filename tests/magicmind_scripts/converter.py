"""A converter that edits what it parsed: it finds the convolutions before the outputs, exchanges red and blue in the
first one, and ends the network in a detection output."""

import argparse
import json

import magicmind.python.runtime as mm
import magicmind.python.runtime.parser as mm_parser
import numpy as np

FEATURES = 3 * (5 + 2)


def last_convolutions(network):
    """Those whose results reach an output without another convolution in between."""
    after = {}
    for node in network.get_all_nodes_in_network():
        readers = [node.get_output(i).get_consumers() for i in range(node.get_output_count())]
        after[node.get_node_name()] = [reader.get_node_name() for part in readers for reader in part]
    ends = [network.get_output(i).get_producer().get_node_name() for i in range(network.get_output_count())]

    def reaches(name):
        return name in ends or any(
            network.find_node_by_name(n).get_node_type() != "IConvNode" and reaches(n) for n in after[name]
        )

    names = [n.get_node_name() for n in network.get_all_nodes_in_network() if n.get_node_type() == "IConvNode"]
    return [network.find_node_by_name(name).get_output(0) for name in names if reaches(name)]


def swap_red_and_blue(network):
    wanted = network.get_input(0).get_tensor_name()
    for node in network.get_all_nodes_in_network():
        for i in range(node.get_input_count()):
            if node.get_input(i).get_tensor_name() == wanted:
                assert node.get_node_type() == "IConvNode"
                axis = network.add_i_const_node(mm.DataType.INT32, mm.Dims([1]), 1)
                parts = network.add_i_split_node(node.get_input(1), axis.get_output(0), 3)
                turned = [parts.get_output(k) for k in (2, 1, 0)]
                joined = network.add_i_concat_node(axis.get_output(0), turned)
                assert node.update_input(1, joined.get_output(0)).ok()


def detect(network, anchors):
    maps = sorted(last_convolutions(network), key=lambda t: np.prod(t.get_dimension().GetDims()), reverse=True)
    order = network.add_i_const_node(mm.DataType.INT32, mm.Dims([4]), np.array([0, 2, 3, 1], np.int32))
    ends = []
    for tensor in maps:
        assert tensor.get_dimension().GetDims()[1] == FEATURES
        tensor = network.add_i_activation_node(tensor, activation_type=mm.IActivation.SIGMOID).get_output(0)
        ends.append(network.add_i_permute_node(tensor, order.get_output(0)).get_output(0))
    for _ in range(network.get_output_count()):
        network.unmark_output(network.get_output(0))
    bias = network.add_i_const_node(mm.DataType.FLOAT32, mm.Dims([len(anchors)]), np.array(anchors, np.float32))
    node = network.add_i_detection_output_node(ends, bias.get_output(0))
    node.set_algo(mm.IDetectionOutputAlgo.YOLOV5)
    node.set_batch_size(1)
    node.set_confidence_thresh(0.001)
    node.set_nms_thresh(0.65)
    node.set_scale(1)
    node.set_num_coord(4)
    node.set_num_class(2)
    node.set_num_entry(5)
    node.set_num_anchor(3)
    node.set_num_box_limit(50)
    _, _, height, width = network.get_input(0).get_dimension().GetDims()
    node.set_image_shape(height, width)
    node.set_layout(mm.Layout.NONE, mm.Layout.NONE)
    for i in range(node.get_output_count()):
        network.mark_output(node.get_output(i))


def convert(args, shape, swap):
    network = mm.Network()
    reader = mm_parser.Parser(mm.enums.ModelKind.kPytorch)
    reader.set_model_param("pytorch-input-dtypes", [mm.DataType.FLOAT32])
    assert reader.parse(network, args.model).ok()
    network.get_input(0).set_dimension(mm.Dims(list(shape)))
    if swap:
        swap_red_and_blue(network)
    detect(network, [4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26])
    config = mm.BuilderConfig()
    document = {"archs": ["mtp_372"], "graph_shape_mutable": False, "opt_config": {"conv_scale_fold": True}}
    document["precision_config"] = {"precision_mode": "force_float32"}
    assert config.parse_from_string(json.dumps(document)).ok()
    model = mm.Builder().build_model("mm_model", network, config)
    assert model != None  # noqa: E711
    model.serialize_to_file(args.output_model)
    return model


def infer(args, model, image):
    device = mm.Device()
    assert device.active().ok()
    context = model.create_i_engine().create_i_context()
    queue = device.create_queue()
    profiler = mm.Profiler(mm.ProfilerOptions(mm.HostTracerLevel.kCritical, mm.DeviceTracerLevel.kOn), args.logdir)
    assert profiler.start(), "profiler start failed!"
    inputs = context.create_inputs()
    if image.shape != inputs[0].shape:
        raise BaseException("shapes do not match")
    inputs[0].from_numpy(image)
    if isinstance(device, mm.resources.Device):
        inputs[0].to(device)
    outputs = context.create_outputs(inputs)
    for step in range(3):
        assert profiler.step_begin(step), "profiler step_begin failed!"
        assert context.enqueue(inputs, outputs, queue).ok()
        assert queue.sync().ok()
        assert profiler.step_end(), "profiler step_end failed!"
    assert profiler.stop(), "profiler stop failed"
    return outputs[0].asnumpy(), np.array(outputs[1].asnumpy())


def main():
    parser = argparse.ArgumentParser()
    for flag in ("model", "output_model", "image", "results", "logdir"):
        parser.add_argument(f"--{flag}")
    args = parser.parse_args()
    image = np.load(args.image)
    found = {}
    for swap in (0, 1):
        model = convert(args, image.shape, swap)
        rows, counts = infer(args, model, np.ascontiguousarray(image[:, ::-1]) if swap else image)
        found[f"rows{swap}"], found[f"counts{swap}"] = rows, counts
    np.savez(args.results, **found)


if __name__ == "__main__":
    main()
