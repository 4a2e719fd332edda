"""Batch normalisation, and norms."""

from __future__ import annotations

from magicmind.frontends.tensorflow.call import Call, importer
from magicmind.frontends.tensorflow.importers.convolution import from_first, to_first
from magicmind.frontends.tensorflow.layout import first, last, pointwise
from magicmind.ops.emitter import Value


@importer("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def fused_batch_norm(c: Call) -> list[Value]:
    """BatchNormalization by the learnt statistics, or by those of the batch where is_training says so."""
    net, x = c.net, to_first(c, c.x)
    scale, offset, mean, variance = (c.value(i) for i in range(1, 5))
    epsilon = float(c.attr("epsilon", 1e-4))
    if c.attr("is_training", True):
        axes = net.ints(*(i for i in range(net.rank(x)) if i != 1))
        kept = net.op("ReduceMean", x, axes, keepdims=1)
        change = net.op("Sub", x, kept)
        variance = net.op("ReduceMean", net.op("Mul", change, change), axes, keepdims=0)
        mean = net.op("ReduceMean", x, axes, keepdims=0)
    y = net.op("BatchNormalization", x, scale, offset, mean, variance, epsilon=epsilon)
    return [from_first(c, y), mean, variance, mean, variance, mean]


@importer("BatchNormWithGlobalNormalization")
def global_normalization(c: Call) -> Value:
    """BatchNormalization of the oldest graphs: x, mean, variance, beta, gamma."""
    net, x = c.net, first(c, c.x)
    mean, variance, beta, gamma = (c.value(i) for i in range(1, 5))
    if not c.attr("scale_after_normalization", False):
        gamma = net.op("Expand", net.scalar(1, gamma), net.dim(gamma, 0))
    epsilon = float(c.attr("variance_epsilon", 1e-4))
    return last(c, net.op("BatchNormalization", x, gamma, beta, mean, variance, epsilon=epsilon))


@importer("L2Loss")
def l2_loss(c: Call) -> Value:
    """Half the sum of squares."""
    total = c.net.op("ReduceSumSquare", c.x, keepdims=0)
    return c.net.op("Mul", total, c.net.scalar(0.5, total))


@importer("_FusedBatchNormEx")
def batch_norm_activation(c: Call) -> list[Value]:
    """FusedBatchNorm with an addition and Relu, as TensorFlow's own optimiser leaves it."""
    y, *rest = fused_batch_norm(c)
    if int(c.attr("num_side_inputs", 0)):
        y = pointwise(c, lambda a, b: c.net.op("Add", a, b), y, c.value(5))
    if c.attr("activation_mode", "Identity") == "Relu":
        y = pointwise(c, lambda a: c.net.op("Relu", a), y)
    return [y, *rest]
