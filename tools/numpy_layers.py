"""The few trainable layers that the demo network needs, in numpy: forward, backward, and nothing else.

Tensors are float32 [N, C, H, W]. A layer keeps what its backward pass needs from the last forward pass; `parameters`
and `gradients` are dicts with equal keys. Made for small images: convolution is im2col and one matrix product.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Layer:
    """Base of all layers; one without parameters overrides `forward` and `backward` only."""

    def __init__(self) -> None:
        self.parameters: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}

    def forward(self, x: Array, training: bool) -> Array:
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        raise NotImplementedError


def windows(x: Array, kernel: int) -> Array:
    """All kernel x kernel windows of a zero-padded x, same size: [N, C, H, W] -> [N, C, H, W, kernel, kernel]."""
    pad = kernel // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    return np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))


class Conv(Layer):
    """Convolution without bias, stride 1, output as large as the input; depthwise when `depthwise`."""

    def __init__(
        self, rng: np.random.Generator, inputs: int, outputs: int, kernel: int, depthwise: bool = False
    ) -> None:
        super().__init__()
        per_group = 1 if depthwise else inputs
        scale = np.sqrt(2.0 / (per_group * kernel * kernel))
        self.kernel, self.depthwise = kernel, depthwise
        self.parameters["weight"] = rng.normal(0.0, scale, (outputs, per_group, kernel, kernel)).astype(np.float32)

    def forward(self, x: Array, training: bool) -> Array:
        self.columns = windows(x, self.kernel)
        weight = self.parameters["weight"]
        if self.depthwise:
            return np.einsum("nchwij,cij->nchw", self.columns, weight[:, 0], optimize=True)
        return np.einsum("nchwij,ocij->nohw", self.columns, weight, optimize=True)

    def backward(self, dy: Array) -> Array:
        weight = self.parameters["weight"]
        flipped = weight[:, :, ::-1, ::-1]
        spread = windows(dy, self.kernel)
        if self.depthwise:
            self.gradients["weight"] = np.einsum("nchwij,nchw->cij", self.columns, dy, optimize=True)[:, None]
            return np.einsum("nchwij,cij->nchw", spread, flipped[:, 0], optimize=True)
        self.gradients["weight"] = np.einsum("nchwij,nohw->ocij", self.columns, dy, optimize=True)
        return np.einsum("nohwij,ocij->nchw", spread, flipped, optimize=True)


class BatchNorm(Layer):
    """Normalises per channel with the batch's statistics while training, with running ones otherwise."""

    EPSILON = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.parameters = {"gamma": np.ones(channels, np.float32), "beta": np.zeros(channels, np.float32)}
        self.mean, self.var = np.zeros(channels, np.float32), np.ones(channels, np.float32)

    def forward(self, x: Array, training: bool) -> Array:
        mean, var = self.mean, self.var
        if training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
            self.mean += 0.1 * (mean - self.mean)
            self.var += 0.1 * (var - self.var)
        self.inverse = 1.0 / np.sqrt(var + self.EPSILON)[:, None, None]
        self.normal = (x - mean[:, None, None]) * self.inverse
        return self.normal * self.parameters["gamma"][:, None, None] + self.parameters["beta"][:, None, None]

    def backward(self, dy: Array) -> Array:
        self.gradients = {"gamma": (dy * self.normal).sum((0, 2, 3)), "beta": dy.sum((0, 2, 3))}
        d = dy * self.parameters["gamma"][:, None, None]
        centred = d - d.mean((0, 2, 3), keepdims=True)
        return self.inverse * (centred - self.normal * (d * self.normal).mean((0, 2, 3), keepdims=True))


class Relu(Layer):
    def forward(self, x: Array, training: bool) -> Array:
        self.positive = x > 0
        return x * self.positive

    def backward(self, dy: Array) -> Array:
        return dy * self.positive


class MaxPool2(Layer):
    """2 x 2 maximum with stride 2; of equal maxima each gets its share of the gradient."""

    def forward(self, x: Array, training: bool) -> Array:
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
        y = blocks.max((3, 5), keepdims=True)
        hit = blocks == y
        self.share = hit / hit.sum((3, 5), keepdims=True).astype(np.float32)
        return y.reshape(n, c, h // 2, w // 2)

    def backward(self, dy: Array) -> Array:
        n, c, h, w = dy.shape
        return (self.share * dy[:, :, :, None, :, None]).reshape(n, c, 2 * h, 2 * w)


class GlobalAverage(Layer):
    """Mean over the pixels: [N, C, H, W] -> [N, C]."""

    def forward(self, x: Array, training: bool) -> Array:
        self.shape = x.shape
        return x.mean((2, 3))

    def backward(self, dy: Array) -> Array:
        pixels = self.shape[2] * self.shape[3]
        return np.broadcast_to(dy[:, :, None, None] / pixels, self.shape).astype(np.float32)


class Linear(Layer):
    """x @ weight.T + bias."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int) -> None:
        super().__init__()
        weight = rng.normal(0.0, 1.0 / np.sqrt(inputs), (outputs, inputs)).astype(np.float32)
        self.parameters = {"weight": weight, "bias": np.zeros(outputs, np.float32)}

    def forward(self, x: Array, training: bool) -> Array:
        self.x = x
        return x @ self.parameters["weight"].T + self.parameters["bias"]

    def backward(self, dy: Array) -> Array:
        self.gradients = {"weight": dy.T @ self.x, "bias": dy.sum(0)}
        return dy @ self.parameters["weight"]


class Residual(Layer):
    """x + the layers applied to x."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Array, training: bool) -> Array:
        y = x
        for layer in self.layers:
            y = layer.forward(y, training)
        return x + y

    def backward(self, dy: Array) -> Array:
        d = dy
        for layer in reversed(self.layers):
            d = layer.backward(d)
        return dy + d


class Adam:
    """Adam (Kingma and Ba, 2015) with decoupled weight decay on matrices and kernels."""

    def __init__(self, layers: list[Layer], decay: float) -> None:
        self.layers, self.decay, self.step_count = layers, decay, 0
        self.state = [
            {k: (np.zeros_like(p), np.zeros_like(p)) for k, p in layer.parameters.items()} for layer in layers
        ]

    def step(self, rate: float) -> None:
        self.step_count += 1
        first, second = 1 - 0.9**self.step_count, 1 - 0.999**self.step_count
        for layer, state in zip(self.layers, self.state, strict=True):
            for key, parameter in layer.parameters.items():
                gradient, (m, v) = layer.gradients[key], state[key]
                m += 0.1 * (gradient - m)
                v += 0.001 * (gradient * gradient - v)
                update = (m / first) / (np.sqrt(v / second) + 1e-8)
                if parameter.ndim > 1:
                    update = update + self.decay * parameter
                parameter -= (rate * update).astype(np.float32)
