"""CenterNet with the DLA-34 backbone without deformable convolution (Zhou et al. 2019; Yu et al. 2018), four outputs.

Names of parameters are those of the public checkpoints (`ctdet_coco_dlav0_1x.pth`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 80
STRIDE = 4
"""Pixels of the input to a cell of the outputs."""


def conv_bn(i: int, o: int, kernel: int, stride: int = 1, *, relu: bool = True) -> nn.Sequential:
    """Convolution without bias that keeps the size (but for the stride), batch normalisation, perhaps ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut that the caller gives."""

    def __init__(self, i: int, o: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += shortcut
        return F.relu(y, inplace=True)


class Root(nn.Module):
    """What joins the leaves of a tree: concatenation, 1x1 convolution, normalisation, ReLU."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, 1, bias=False)
        self.bn = nn.BatchNorm2d(o)

    def forward(self, leaves: Sequence[Tensor]) -> Tensor:
        return F.relu(self.bn(self.conv(torch.cat(list(leaves), 1))), inplace=True)


class Tree(nn.Module):
    """Two blocks and their root. `extra` channels come to the root from outside: earlier leaves, and with
    `level_root` the tree's own input after downsampling."""

    def __init__(self, i: int, o: int, stride: int, *, level_root: bool = False, extra: int = 0) -> None:
        super().__init__()
        self.level_root = level_root
        self.tree1, self.tree2 = BasicBlock(i, o, stride), BasicBlock(o, o)
        self.root = Root(2 * o + extra + (i if level_root else 0), o)
        self.downsample = nn.MaxPool2d(stride, stride) if stride > 1 else nn.Identity()
        self.project = conv_bn(i, o, 1, relu=False) if i != o else nn.Identity()

    def forward(self, x: Tensor, leaves: Sequence[Tensor] = ()) -> Tensor:
        bottom = self.downsample(x)
        first = self.tree1(x, self.project(bottom))
        second = self.tree2(first, first)
        return self.root([second, first, *leaves, *([bottom] if self.level_root else [])])


class DeepTree(nn.Module):
    """A tree of two trees; the second one's root also sees the downsampled input and the first tree."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.tree1, self.tree2 = Tree(i, o, stride), Tree(o, o, 1, extra=i + o)
        self.downsample = nn.MaxPool2d(stride, stride)
        # The published network computes this projection and drops it; its weights are in the checkpoints.
        self.project = conv_bn(i, o, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        first = self.tree1(x)
        return self.tree2(first, [self.downsample(x), first])


class Backbone(nn.Module):
    """DLA-34: six levels, of which the last four are returned, with strides 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.base_layer = conv_bn(3, 16, 7)
        self.level0, self.level1 = conv_bn(16, 16, 3), conv_bn(16, 32, 3, 2)
        self.level2 = Tree(32, 64, 2)
        self.level3, self.level4 = DeepTree(64, 128, 2), DeepTree(128, 256, 2)
        self.level5 = Tree(256, 512, 2, level_root=True)
        self.fc = nn.Conv2d(512, 1000, 1)  # the classifier it was trained with first; unused, but in the checkpoints

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.level1(self.level0(self.base_layer(x)))
        levels = []
        for level in (self.level2, self.level3, self.level4, self.level5):
            x = level(x)
            levels.append(x)
        return levels


class Aggregation(nn.Module):
    """Iterative aggregation: every map but the first is projected and doubled in size, then merged with the one before.

    `channels` are those of the maps; the first has `o` channels already.
    """

    def __init__(self, o: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.merges = range(1, len(channels))
        for i in self.merges:
            self.add_module(f"proj_{i}", conv_bn(channels[i], o, 1))
            self.add_module(f"up_{i}", nn.ConvTranspose2d(o, o, 4, 2, 1, groups=o, bias=False))
            self.add_module(f"node_{i}", conv_bn(2 * o, o, 3))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        merged = [maps[0]]
        for i in self.merges:
            raised = getattr(self, f"up_{i}")(getattr(self, f"proj_{i}")(maps[i]))
            merged.append(getattr(self, f"node_{i}")(torch.cat([merged[-1], raised], 1)))
        return merged[1:]


class Upsampling(nn.Module):
    """From four levels to one map of stride 4 and 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.ida_0 = Aggregation(256, (256, 512))
        self.ida_1 = Aggregation(128, (128, 256, 256))
        self.ida_2 = Aggregation(64, (64, 128, 128, 128))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        l2, l3, l4, l5 = levels
        merged = self.ida_0([l4, l5])
        merged = self.ida_1([l3, l4, *merged])
        return self.ida_2([l2, l3, *merged])[-1]


class CenterNet(nn.Module):
    """images [N, 3, 512, 512] -> hm_max, heatmap [N, 80, 128, 128], wh, reg [N, 2, 128, 128].

    hm_max is the maximum of the heatmap over 3x3 cells: equal to it exactly where a cell is a peak.
    """

    def __init__(self) -> None:
        super().__init__()
        self.base, self.dla_up = Backbone(), Upsampling()

        def head(channels: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(64, 256, 3, 1, 1), nn.ReLU(inplace=True), nn.Conv2d(256, channels, 1))

        self.hm, self.wh, self.reg = head(CLASSES), head(2), head(2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        features = self.dla_up(self.base(images))
        heatmap = self.hm(features).sigmoid_()
        hm_max = F.max_pool2d(heatmap, 3, 1, 1)
        return hm_max, heatmap, self.wh(features), self.reg(features)


def centernet() -> nn.Module:
    """The network with the values its authors start from where these matter: bilinear upsampling, rare objects."""
    net = CenterNet()
    with torch.no_grad():
        line = torch.tensor([0.25, 0.75, 0.75, 0.25])
        for part in net.modules():
            if isinstance(part, nn.ConvTranspose2d):
                part.weight.copy_((line[:, None] * line).expand_as(part.weight))
        bias = net.hm[2].bias
        assert isinstance(bias, nn.Parameter)
        bias.fill_(-2.19)  # sigmoid: one cell in ten
    return net
