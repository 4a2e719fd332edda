"""VOLO-D2 (Yuan et al. 2021, "VOLO: Vision Outlooker for Visual Recognition"), at 224 x 224.

Names of parameters are those of the public checkpoint (`d2_224_85.2.pth.tar`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 1000
_STEM, _FINE, _WIDTH = 64, 256, 512
_FINE_HEADS, _HEADS, _HEAD_DIM = 8, 16, 32
_SCALE = _HEAD_DIM**-0.5
_MLP_RATIO = 3
_KERNEL = 3  # of outlook attention; its stride is 2, its padding 1


class Mlp(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.act = nn.Linear(width, _MLP_RATIO * width), nn.GELU()
        self.fc2 = nn.Linear(_MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class OutlookAttention(nn.Module):
    """Each window of 3x3 positions is mixed with weights that its centre alone predicts; overlaps are summed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        cells = _KERNEL * _KERNEL
        self.v = nn.Linear(width, width, bias=False)
        self.attn = nn.Linear(width, cells * cells * _FINE_HEADS)
        self.proj = nn.Linear(width, width)
        self.pool = nn.AvgPool2d(2, 2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> the same shape."""
        batch, height, width, channels = x.shape
        rows, columns, cells = (height + 1) // 2, (width + 1) // 2, _KERNEL * _KERNEL
        v = F.unfold(self.v(x).permute(0, 3, 1, 2), _KERNEL, padding=1, stride=2)
        v = v.reshape(batch, _FINE_HEADS, _HEAD_DIM, cells, rows * columns).permute(0, 1, 4, 3, 2)
        pooled = self.pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        weights = self.attn(pooled).reshape(batch, rows * columns, _FINE_HEADS, cells, cells)
        weights = (weights.permute(0, 2, 1, 3, 4) * _SCALE).softmax(-1)
        mixed = (weights @ v).permute(0, 1, 4, 3, 2).reshape(batch, channels * cells, rows * columns)
        y = F.fold(mixed, (height, width), _KERNEL, padding=1, stride=2)
        return self.proj(y.permute(0, 2, 3, 1))


class SelfAttention(nn.Module):
    """Attention among all positions of [B, H, W, C]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, _HEADS, _HEAD_DIM).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = ((q @ k.transpose(-2, -1)) * _SCALE).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, height, width, channels))


class Block(nn.Module):
    """Attention and MLP, each normalised before and added to what comes in."""

    def __init__(self, width: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), attention
        self.norm2, self.mlp = nn.LayerNorm(width), Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ClassAttention(nn.Module):
    """The first token looks at all tokens of [B, T, C]: [B, 1, C]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kv, self.q = nn.Linear(width, 2 * width, bias=False), nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        kv = self.kv(x).reshape(batch, tokens, 2, _HEADS, _HEAD_DIM).permute(2, 0, 3, 1, 4)
        k, v = kv[0], kv[1]
        q = self.q(x[:, :1, :]).reshape(batch, _HEADS, 1, _HEAD_DIM)
        weights = ((q * _SCALE) @ k.transpose(-2, -1)).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, 1, channels))


class ClassBlock(nn.Module):
    """As `Block`, for the first token; the others pass unchanged."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), ClassAttention(width)
        self.norm2, self.mlp = nn.LayerNorm(width), Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        first = x[:, :1] + self.attn(self.norm1(x))
        first = first + self.mlp(self.norm2(first))
        return torch.cat([first, x[:, 1:]], 1)


class PatchEmbedding(nn.Module):
    """[B, 3, 224, 224] -> [B, 28, 28, 256]."""

    def __init__(self) -> None:
        super().__init__()

        def conv(i: int, kernel: int, stride: int) -> list[nn.Module]:
            layer = nn.Conv2d(i, _STEM, kernel, stride, kernel // 2, bias=False)
            return [layer, nn.BatchNorm2d(_STEM), nn.ReLU(inplace=True)]

        self.conv = nn.Sequential(*conv(3, 7, 2), *conv(_STEM, 3, 1), *conv(_STEM, 3, 1))
        self.proj = nn.Conv2d(_STEM, _FINE, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.conv(x)).permute(0, 2, 3, 1)


class Downsample(nn.Module):
    """[B, 28, 28, 256] -> [B, 14, 14, 512]."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(_FINE, _WIDTH, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Volo(nn.Module):
    """images [B, 3, 224, 224] -> logits [B, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding()

        def fine() -> nn.Module:
            return Block(_FINE, OutlookAttention(_FINE))

        def coarse() -> nn.Module:
            return Block(_WIDTH, SelfAttention(_WIDTH))

        stages = [nn.Sequential(*(coarse() for _ in range(depth))) for depth in (4, 10, 4)]
        self.network = nn.ModuleList([nn.Sequential(*(fine() for _ in range(6))), Downsample(), *stages])
        self.post_network = nn.ModuleList([ClassBlock(_WIDTH), ClassBlock(_WIDTH)])
        self.pos_embed = nn.Parameter(torch.zeros(1, 14, 14, _WIDTH))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, _WIDTH))
        self.norm = nn.LayerNorm(_WIDTH)
        self.head, self.aux_head = nn.Linear(_WIDTH, CLASSES), nn.Linear(_WIDTH, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        fine, downsample, *stages = self.network
        x = downsample(fine(self.patch_embed(images))) + self.pos_embed
        for stage in stages:
            x = stage(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x.flatten(1, 2)], 1)
        for block in self.post_network:
            x = block(x)
        x = self.norm(x)
        best, _ = self.aux_head(x[:, 1:]).max(1)
        return self.head(x[:, 0]) + 0.5 * best


def volo_d2() -> nn.Module:
    """The network with seeds of its two learned tables as large as its authors start from."""
    net = Volo()
    with torch.no_grad():
        net.pos_embed.normal_(std=0.02)
        net.cls_token.normal_(std=0.02)
    return net
