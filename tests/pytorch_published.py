"""The networks whose weights lie in `shared/data` as `.pth` files, with the names that those files give their parts."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def conv_bn(i: int, o: int, k: int, s: int = 1, groups: int = 1, relu: bool = True) -> list[Any]:
    """Convolution that keeps the size, normalisation, perhaps ReLU."""
    layers = [nn.Conv2d(i, o, k, s, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
    return [*layers, nn.ReLU()] if relu else layers


# --------------------------------------------------------------------------- ultra-light face detector, RFB and slim


class BasicConv(nn.Module):
    """Convolution and normalisation, perhaps ReLU."""

    def __init__(self, i: int, o: int, k: int, dilation: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, padding=dilation * (k // 2), dilation=dilation, bias=False)
        self.bn = nn.BatchNorm2d(o)
        self.relu = relu

    def forward(self, x: Any) -> Any:
        y = self.bn(self.conv(x))
        return F.relu(y) if self.relu else y


class ReceptiveFieldBlock(nn.Module):
    """Liu et al. 2018: three branches of growing dilation beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()

        def branch(widths: list[int], dilation: int) -> Any:
            inner = [BasicConv(i, o, 3) for i, o in pairwise(widths)]
            last = BasicConv(widths[-1], 16, 3, dilation, relu=False)
            return nn.Sequential(BasicConv(64, widths[0], 1, relu=False), *inner, last)

        self.branch0, self.branch1, self.branch2 = branch([8, 16], 2), branch([8, 16], 3), branch([8, 12, 16], 5)
        self.ConvLinear = BasicConv(48, 64, 1, relu=False)
        self.shortcut = BasicConv(64, 64, 1, relu=False)

    def forward(self, x: Any) -> Any:
        joined = torch.cat([self.branch0(x), self.branch1(x), self.branch2(x)], 1)
        return F.relu(self.ConvLinear(joined) + self.shortcut(x))


def _separable(i: int, o: int, stride: int = 1) -> Any:
    return nn.Sequential(nn.Conv2d(i, i, 3, stride, 1, groups=i), nn.ReLU(), nn.Conv2d(i, o, 1))


class FaceDetector(nn.Module):
    """Scores and decoded corners for 4420 priors of a picture of 320 x 240."""

    priors: Any

    def __init__(self, with_rfb: bool) -> None:
        super().__init__()

        def block(i: int, o: int, stride: int) -> Any:
            return nn.Sequential(*conv_bn(i, i, 3, stride, groups=i), *conv_bn(i, o, 1))

        plan = [(16, 32, 1), (32, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1), (64, 64, 1),
                (64, 128, 2), (128, 128, 1), (128, 128, 1), (128, 256, 2), (256, 256, 1)]  # fmt: skip
        self.base_net = nn.Sequential(nn.Sequential(*conv_bn(3, 16, 3, 2)), *(block(*p) for p in plan))
        if with_rfb:
            self.base_net[7] = ReceptiveFieldBlock()
        self.extras = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(256, 64, 1), nn.ReLU(), _separable(64, 256, 2), nn.ReLU())]
        )

        def heads(per_prior: int) -> Any:
            counts = ((64, 3), (128, 2), (256, 2))
            found = [_separable(width, count * per_prior) for width, count in counts]
            return nn.ModuleList([*found, nn.Conv2d(256, 3 * per_prior, 3, padding=1)])

        self.classification_headers, self.regression_headers = heads(2), heads(4)
        self.register_buffer("priors", _priors(), persistent=False)

    def forward(self, x: Any) -> tuple[Any, Any]:
        maps = []
        for part in (self.base_net[:8], self.base_net[8:11], self.base_net[11:], self.extras[0]):
            x = part(x)
            maps.append(x)
        scores, offsets = (
            torch.cat([head(m).permute(0, 2, 3, 1).flatten(1) for head, m in zip(kind, maps, strict=True)], 1)
            for kind in (self.classification_headers, self.regression_headers)
        )
        offsets = offsets.unflatten(1, (-1, 4))
        centre = offsets[..., :2] * 0.1 * self.priors[:, 2:] + self.priors[:, :2]
        half = torch.exp(offsets[..., 2:] * 0.2) * self.priors[:, 2:] / 2
        return F.softmax(scores.unflatten(1, (-1, 2)), 2), torch.cat([centre - half, centre + half], -1)


def _priors() -> Any:
    """[4420, 4]: centre and size of the priors, map by map, cell by cell."""
    found = []
    for (w, h), sizes in zip(
        ((40, 30), (20, 15), (10, 8), (5, 4)), ([10, 16, 24], [32, 48], [64, 96], [128, 192, 256]), strict=True
    ):
        found += [[(x + 0.5) / w, (y + 0.5) / h, m / 320, m / 240] for y in range(h) for x in range(w) for m in sizes]
    return torch.tensor(found).clamp(0, 1)


# ---------------------------------------------------------------------------------------------------------- FastestDet


class ShuffleBlock(nn.Module):
    """ShuffleNetV2's unit: of stride 1 with every other channel passing, of stride 2 with a projection beside."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        passing = i if stride == 2 else i // 2
        work = i if stride == 2 else i // 2
        self.branch_main = nn.Sequential(
            *conv_bn(work, o // 2, 1), *conv_bn(o // 2, o // 2, 3, stride, o // 2, relu=False),
            *conv_bn(o // 2, o - passing, 1),
        )  # fmt: skip
        self.branch_proj = (
            nn.Sequential(*conv_bn(i, i, 3, 2, i, relu=False), *conv_bn(i, i, 1)) if stride == 2 else None
        )

    def forward(self, x: Any) -> Any:
        if self.branch_proj is not None:
            return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)
        n, c, h, w = x.shape
        kept, worked = x.reshape(n * c // 2, 2, h * w).permute(1, 0, 2).reshape(2, -1, c // 2, h, w)
        return torch.cat((kept, self.branch_main(worked)), 1)


class _Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(*conv_bn(3, 24, 3, 2))

        def stage(i: int, o: int, repeats: int) -> Any:
            return nn.Sequential(ShuffleBlock(i, o, 2), *(ShuffleBlock(o, o, 1) for _ in range(repeats - 1)))

        self.stage2, self.stage3, self.stage4 = stage(24, 48, 4), stage(48, 96, 8), stage(96, 192, 4)

    def forward(self, x: Any) -> tuple[Any, Any, Any]:
        a = self.stage2(F.max_pool2d(self.first_conv(x), 3, 2, 1))
        b = self.stage3(a)
        return a, b, self.stage4(b)


class _Pointwise(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Sequential(*conv_bn(i, o, 1))

    def forward(self, x: Any) -> Any:
        return self.conv1x1(x)


class _Head(nn.Module):
    def __init__(self, width: int, o: int) -> None:
        super().__init__()
        self.conv5x5 = nn.Sequential(*conv_bn(width, width, 5, 1, width), *conv_bn(width, o, 1, relu=False))

    def forward(self, x: Any) -> Any:
        return self.conv5x5(x)


class _Pyramid(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()

        def chain(n: int) -> Any:
            return nn.Sequential(*(layer for _ in range(n) for layer in conv_bn(o, o, 5, 1, o)))

        self.Conv1x1 = _Pointwise(i, o)
        self.S1, self.S2, self.S3 = chain(1), chain(2), chain(3)
        self.output = nn.Sequential(*conv_bn(3 * o, o, 1, relu=False))

    def forward(self, x: Any) -> Any:
        x = self.Conv1x1(x)
        return F.relu(x + self.output(torch.cat((self.S1(x), self.S2(x), self.S3(x)), 1)))


class _Detect(nn.Module):
    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.conv1x1 = _Pointwise(width, width)
        self.obj_layers, self.reg_layers, self.cls_layers = _Head(width, 1), _Head(width, 4), _Head(width, classes)

    def forward(self, x: Any) -> Any:
        x = self.conv1x1(x)
        return torch.cat((self.obj_layers(x).sigmoid(), self.reg_layers(x), self.cls_layers(x).softmax(1)), 1)


class FastestDet(nn.Module):
    """A detector without anchors: objectness, box and classes for each of 22 x 22 cells."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _Backbone()
        self.SPP = _Pyramid(336, 96)
        self.detect_head = _Detect(96, 80)

    def forward(self, x: Any) -> Any:
        a, b, c = self.backbone(x)
        joined = torch.cat((F.avg_pool2d(a, 3, 2, 1), b, F.interpolate(c, scale_factor=2)), 1)
        return self.detect_head(self.SPP(joined))


# --------------------------------------------------------------------------------------------------------------- SINet


class ConvNormAct(nn.Module):
    """Convolution, normalisation, PReLU."""

    def __init__(self, i: int, o: int, k: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, stride, k // 2, bias=False)
        self.bn, self.act = nn.BatchNorm2d(o, eps=1e-3), nn.PReLU(o)

    def forward(self, x: Any) -> Any:
        return self.act(self.bn(self.conv(x)))


class NormAct(nn.Module):
    """Normalisation and PReLU."""

    def __init__(self, o: int) -> None:
        super().__init__()
        self.bn, self.act = nn.BatchNorm2d(o, eps=1e-3), nn.PReLU(o)

    def forward(self, x: Any) -> Any:
        return self.act(self.bn(x))


class Squeeze(nn.Module):
    """Channels weighed by their means."""

    def __init__(self, width: int, reduced: int | None) -> None:
        super().__init__()
        inner = [width, reduced, width] if reduced else [width, width]
        layers = [(nn.Linear(i, o), nn.PReLU(o)) for i, o in pairwise(inner)]
        self.dense = nn.Sequential(*(layer for pair in layers for layer in pair))

    def forward(self, x: Any) -> Any:
        return self.dense(x.mean((2, 3)))[:, :, None, None] * x


class SqueezedDown(nn.Module):
    """A depthwise step down, squeezed, and a pointwise convolution."""

    def __init__(self, i: int, o: int, reduced: int | None) -> None:
        super().__init__()
        down = nn.Conv2d(i, i, 3, 2, 1, groups=i, bias=False)
        self.conv = nn.Sequential(down, Squeeze(i, reduced), nn.Conv2d(i, o, 1, bias=False))
        self.bn, self.act = nn.BatchNorm2d(o, eps=1e-3), nn.PReLU(o)

    def forward(self, x: Any) -> Any:
        return self.act(self.bn(self.conv(x)))


class SpatialSqueeze(nn.Module):
    """A depthwise convolution at a lower resolution."""

    def __init__(self, width: int, kernel: int, pool: int) -> None:
        super().__init__()
        self.pool = pool
        depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        self.conv = nn.Sequential(depthwise, nn.BatchNorm2d(width, eps=1e-3))
        self.act_conv1x1 = nn.Sequential(nn.PReLU(width), nn.Conv2d(width, width, 1, bias=False))
        self.bn = nn.BatchNorm2d(width, eps=1e-3)

    def forward(self, x: Any) -> Any:
        y = F.avg_pool2d(x, self.pool) if self.pool > 1 else x
        y = self.act_conv1x1(self.conv(y))
        if self.pool > 1:
            y = F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=True)
        return self.bn(y)


class _Grouped(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, 1, groups=2, bias=False)

    def forward(self, x: Any) -> Any:
        return self.conv(x)


class SqueezeModule(nn.Module):
    """Two spatial squeezes of shuffled halves, joined."""

    def __init__(self, i: int, o: int, plan: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.c1 = _Grouped(i, o // 2)
        self.d1, self.d2 = (SpatialSqueeze(o // 2, kernel, pool) for kernel, pool in plan)
        self.BR = NormAct(o)

    def forward(self, x: Any) -> Any:
        y = self.c1(x)
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = torch.cat([self.d1(y), self.d2(y)], 1)
        return self.BR(x + y if x.shape[1] == y.shape[1] else y)


_LEVEL2 = (((3, 1), (5, 1)), ((3, 1), (3, 1)))
_LEVEL3 = (((3, 1), (5, 1)), ((3, 1), (3, 1)), ((5, 1), (3, 2)), ((5, 2), (3, 4)), ((3, 1), (3, 1)),
           ((5, 1), (5, 1)), ((3, 2), (3, 4)), ((3, 1), (5, 2)))  # fmt: skip


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.level1 = ConvNormAct(3, 12, 3, 2)
        self.level2_0 = SqueezedDown(12, 16, None)
        self.level2 = nn.Sequential(*(SqueezeModule(48 if i else 16, 48, plan) for i, plan in enumerate(_LEVEL2)))
        self.BR2 = NormAct(64)
        self.level3_0 = SqueezedDown(64, 48, 32)
        self.level3 = nn.Sequential(*(SqueezeModule(96 if i else 48, 96, plan) for i, plan in enumerate(_LEVEL3)))
        self.BR3 = NormAct(144)
        self.classifier = nn.ModuleDict({"conv": nn.Conv2d(144, 2, 1, bias=False)})

    def forward(self, x: Any) -> tuple[Any, Any]:
        a = self.level2_0(self.level1(x))
        b = self.level2(a)
        c = self.level3_0(self.BR2(torch.cat([a, b], 1)))
        return b, self.classifier["conv"](self.BR3(torch.cat([c, self.level3(c)], 1)))


class SINet(nn.Module):
    """Park et al. 2020: details come in where the coarse answer is unsure."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _Encoder()
        self.bn_3, self.bn_2 = nn.BatchNorm2d(2, eps=1e-3), nn.BatchNorm2d(2, eps=1e-3)
        self.level2_C = ConvNormAct(48, 2, 1)
        self.classifier = nn.Sequential(_Up(), nn.Conv2d(2, 2, 3, padding=1, bias=False))

    def forward(self, x: Any) -> Any:
        details, coarse = self.encoder(x)
        sure = self.bn_3(_Up()(coarse))
        unsure = 1 - sure.softmax(1).max(1, keepdim=True)[0]
        return self.classifier(self.bn_2(_Up()(self.level2_C(details) * unsure + sure)))


class _Up(nn.Module):
    def forward(self, x: Any) -> Any:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


# ------------------------------------------------------------------------------------------------------------ GPT-nano


class _Attention(nn.Module):
    bias: Any

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.register_buffer("bias", torch.ones(length, length).tril()[None, None])

    def forward(self, x: Any) -> Any:
        n, length, width = x.shape
        q, k, v = (p.unflatten(2, (self.heads, -1)).transpose(1, 2) for p in self.c_attn(x).split(width, 2))
        scores = q @ k.transpose(-2, -1) / math.sqrt(width // self.heads)
        scores = scores.masked_fill(self.bias[:, :, :length, :length] == 0, float("-inf"))
        return self.c_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, length, width))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = _Attention(width, heads, length)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Any) -> Any:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh"))


class GptNano(nn.Module):
    """Three pre-norm blocks over learnt positions."""

    def __init__(self, width: int = 48, heads: int = 3, length: int = 11, tokens: int = 3) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(tokens, width), "wpe": nn.Embedding(length, width),
            "h": nn.ModuleList(_Block(width, heads, length) for _ in range(3)), "ln_f": nn.LayerNorm(width),
        })  # fmt: skip
        self.lm_head = nn.Linear(width, tokens, bias=False)

    def forward(self, idx: Any) -> Any:
        x = self.transformer["wte"](idx) + self.transformer["wpe"](torch.arange(idx.shape[1]))
        for block in self.transformer["h"]:
            x = block(x)
        return self.lm_head(self.transformer["ln_f"](x))
