"""torchvision's operators, by stand-ins with its schemas and results that are easy to state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import magicmind  # noqa: E402

_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align": "(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
    "deform_conv2d": "(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, int stride_h, "
    "int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w, int groups, int offset_groups, "
    "bool use_mask) -> Tensor",
}


def _nms(boxes: Any, scores: Any, threshold: float) -> Any:
    """Best boxes first, each without those that overlap a better one by more."""
    left = scores.argsort(descending=True).tolist()
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if _overlap(boxes[best], boxes[i]) <= threshold]
    return torch.tensor(kept)


def _overlap(a: Any, b: Any) -> float:
    low, high = torch.maximum(a[:2], b[:2]), torch.minimum(a[2:], b[2:])
    both = (high - low).clamp(min=0).prod()
    return float(both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both))


def _regions(x: Any, rois: Any, scale: float, height: int, width: int, *settings: Any) -> Any:
    """For regions of whole pixels, one sample to a bin: the means of four neighbours, or what they come to."""
    grids = []
    for _, x0, y0, x1, y1 in rois.tolist():
        columns = (torch.arange(width) + 0.5) * (x1 - x0) / width + x0
        rows = (torch.arange(height) + 0.5) * (y1 - y0) / height + y0
        unit = [(c / s * 2 - 1) for c, s in ((columns, x.shape[3]), (rows, x.shape[2]))]
        grids.append(torch.stack(torch.meshgrid(*unit, indexing="xy"), -1))
    return F.grid_sample(x[rois[:, 0].long()], torch.stack(grids), align_corners=False, padding_mode="border")


def _deform(x: Any, weight: Any, offset: Any, mask: Any, bias: Any, *settings: Any) -> Any:
    """Without offsets: a convolution."""
    return F.conv2d(x, weight, bias, list(settings[:2]), list(settings[2:4]), list(settings[4:6]), settings[6])


@pytest.fixture(scope="module", autouse=True)
def operators() -> Iterator[None]:
    """torchvision's operators, made up where it has not made them."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, function in (("nms", _nms), ("roi_align", _regions), ("deform_conv2d", _deform)):
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _SCHEMAS[name])
        if not torch._C._dispatch_has_kernel_for_dispatch_key(f"torchvision::{name}", "CPU"):
            library.impl(name, function, "CPU")
    yield


def check(module: Any, *inputs: Any) -> None:
    """Our engine against the operators here."""
    graph = magicmind.parse(module.eval(), example_inputs=inputs, input_shapes=[tuple(x.shape) for x in inputs])
    session = magicmind.build(graph).session(threads=1)
    found = session.run({i.name: x.numpy() for i, x in zip(graph.inputs, inputs, strict=True)})
    with torch.no_grad():
        np.testing.assert_allclose(found["output"], module(*inputs).numpy(), rtol=1e-4, atol=1e-5)


class Suppress(nn.Module):
    """The boxes kept."""

    def forward(self, boxes: Any, scores: Any) -> Any:
        return boxes[torch.ops.torchvision.nms(boxes, scores, 0.4)]


class Regions(nn.Module):
    """Bins of one sample."""

    def forward(self, x: Any, rois: Any) -> Any:
        return torch.ops.torchvision.roi_align(x, rois, 1.0, 3, 2, 1, True)


class Deformed(nn.Module):
    """Offsets of zero, masks of one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3).requires_grad_(False)

    def forward(self, x: Any) -> Any:
        offset, mask = torch.zeros(1, 18, 4, 5), torch.ones(1, 9, 4, 5)
        sizes = (1, 1, 1, 1, 1, 1, 1, 1, True)
        return torch.ops.torchvision.deform_conv2d(x, self.conv.weight, offset, mask, self.conv.bias, *sizes)


def test_suppression() -> None:
    torch.manual_seed(0)
    corner = torch.rand(12, 2) * 10
    check(Suppress(), torch.cat([corner, corner + 2 + torch.rand(12, 2) * 4], 1), torch.rand(12))


def test_regions() -> None:
    torch.manual_seed(0)
    check(Regions(), torch.randn(2, 3, 8, 9), torch.tensor([[0.0, 1, 1, 6, 7], [1.0, 2, 0, 8, 5]]))


def test_deformable_convolution() -> None:
    torch.manual_seed(0)
    check(Deformed(), torch.randn(1, 2, 4, 5))
