"""Graphs built node by node, chained through tensors that the program made, parts of one large buffer among them."""

import argparse

import magicmind.python.runtime as mm
import numpy as np


def check(status):
    assert status.ok(), str(status)


def masks():
    """True where a position is past the length, for each of several lengths; zeros of as many rows as are asked."""
    network = mm.Network()
    zero = network.add_i_const_node(mm.DataType.FLOAT32, mm.Dims([]), [0])
    first = network.add_i_const_node(mm.DataType.INT32, mm.Dims([1]), [0])
    one = network.add_i_const_node(dtype=mm.DataType.INT32, dimensions=mm.Dims([1]), value=[1])
    rows = network.add_input(mm.DataType.INT32, mm.Dims([1]))
    lengths = network.add_input(mm.DataType.INT32)
    longest = network.add_input(mm.DataType.INT32, mm.Dims([1]))
    check(lengths.set_dimension(mm.Dims([-1])))
    places = network.add_i_range_node(first.get_output(0), longest, one.get_output(0))
    columns = network.add_i_unsqueeze_node(lengths, one.get_output(0))
    past = network.add_i_logic_node(columns.get_output(0), places.get_output(0), mm.enums.ILogic.LE)
    filled = network.add_i_fill_node(rows, zero.get_output(0))
    check(network.mark_output(past.get_output(0)))
    check(network.mark_output(filled.get_output(0)))
    return mm.Builder().build_model("masks", network, mm.BuilderConfig())


def crop():
    """The first `size` columns, `size` being the largest of some numbers."""
    network = mm.Network()
    mel = network.add_input(mm.DataType.FLOAT32, mm.Dims([1, 4, -1]))
    counts = network.add_input(mm.DataType.INT32, mm.Dims([-1]))
    begin = network.add_i_const_node(mm.DataType.INT32, mm.Dims([1]), [0])
    axis = network.add_i_const_node(mm.DataType.INT32, mm.Dims([1]), [2])
    size = network.add_i_reduce_node(counts, begin.get_output(0), mm.IReduce.MAX, False)
    part = network.add_i_slice_node(mel, begin.get_output(0), size.get_output(0), axis.get_output(0))
    check(network.mark_output(network.add_i_cast_node(part.get_output(0), mm.DataType.FLOAT32).get_output(0)))
    return mm.Builder().build_model("crop", network, mm.BuilderConfig())


class Net:
    def __init__(self, device, model):
        assert model is not None
        config = mm.Model.EngineConfig()
        config.device_type = "MLU"
        engine = model.create_i_engine(config)
        assert engine is not None
        self.context, self.queue = engine.create_i_context(), device.create_queue()

    def __call__(self, tensors):
        outputs = []
        check(self.context.enqueue(tensors, outputs, self.queue, input_by_tensor_order=True))
        check(self.queue.sync())
        return outputs


def tensor(array, dtype):
    made = mm.Tensor(shape=array.shape, dtype=dtype, location=mm.TensorLocation.kMLU)
    check(made.from_numpy(array))
    return made


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--results")
    args = parser.parse_args()
    system = mm.System()
    check(system.initialize())
    device = mm.Device()
    device.id = 0
    check(device.active())
    lengths = np.array([3, 6, 5], np.int32)
    mask, zeros = Net(device, masks())(
        [tensor(a, mm.DataType.INT32) for a in (np.array([4]), lengths, np.array([lengths.max()]))]
    )
    buffer = mm.Tensor(shape=(2 * 4 * 8,), dtype=mm.DataType.FLOAT32, location=mm.TensorLocation.kMLU)
    frames = np.arange(32, dtype=np.float32).reshape(4, 8)
    for half in range(2):
        part = mm.Tensor(shape=(4, 8), dtype=mm.DataType.FLOAT32, location=mm.TensorLocation.kMLU)
        check(part.set_data_address(buffer.data_address() + 4 * 32 * half, [4, 8]))
        check(part.memcpy_from_host(frames + 100 * half))
    mel = mm.Tensor(shape=(4, 8), dtype=mm.DataType.FLOAT32, location=mm.TensorLocation.kMLU)
    check(mel.set_data_address(buffer.data_address() + 4 * 32, [4, 8]))
    mel.reshape((1, *mel.shape))
    counts = tensor(lengths.astype(np.float32), mm.DataType.FLOAT32).to(mm.DataType.INT32)
    (cropped,) = Net(device, crop())([mel, counts])
    np.savez(args.results, mask=mask.asnumpy(), zeros=zeros.asnumpy(), cropped=cropped.asnumpy())
    check(system.destory())


if __name__ == "__main__":
    main()
