"""Networks of PyTorch for the tests: timm's, and small ones written here. Each is made with seeded weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the extra 'pytorch' is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


@dataclass(frozen=True)
class Architecture:
    """A network and the shape of its input; `dtype` int64 holds positions below 30."""

    name: str
    make: Callable[[], Any]
    shape: tuple[int, ...]
    dtype: str = "float32"
    mutable: bool = False  # try other batches too
    settled: bool = False  # statistics of an example: without, it amplifies rounding by thousands

    def module(self) -> Any:
        """The network, with weights and statistics that no layer can hide behind."""
        torch.manual_seed(0)
        made = self.make().eval().requires_grad_(False)
        for parameter in made.parameters():
            if parameter.ndim > 1 and not parameter.any():  # heads that start from zero
                nn.init.normal_(parameter, std=0.05)
        norms = [part for part in made.modules() if isinstance(part, nn.BatchNorm2d)]
        for part in norms:
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            part.momentum = None  # the plain average
            part.train(self.settled)
        if self.settled:
            made(self.example(16))
        return made.eval()

    def example(self, batch: int | None = None) -> Any:
        """An input."""
        shape = self.shape if batch is None else (batch, *self.shape[1:])
        torch.manual_seed(1)
        return torch.randint(0, 30, shape) if self.dtype == "int64" else torch.randn(shape)


def from_timm(name: str, **options: Any) -> Callable[[], Any]:
    """A network of timm without pretrained weights."""

    def make() -> Any:
        _need_torchvision()
        timm = pytest.importorskip("timm", reason="the extra 'pytorch-test' is not installed")
        return timm.create_model(name, pretrained=False, **options)

    return make


def _need_torchvision() -> None:
    """timm imports torchvision, whose wheel for another build of PyTorch lacks the operators that it names first."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARIES.append(library)


_LIBRARIES: list[Any] = []  # a library that is collected takes its operators along


# ------------------------------------------------------------------------------------------------- networks of our own


def _double(inputs: int, outputs: int) -> Any:
    def layers(channels: int) -> list[Any]:
        return [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(*layers(inputs), *layers(outputs))


class UNet(nn.Module):
    """Ronneberger et al. 2015, with half-sized channels, padding and transposed convolutions."""

    def __init__(self, widths: tuple[int, ...] = (8, 16, 32), classes: int = 2) -> None:
        super().__init__()
        self.down = nn.ModuleList(_double(i, o) for i, o in zip((3, *widths), widths, strict=False))
        pairs = list(zip(widths[1:], widths, strict=False))[::-1]
        self.grow = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in pairs)
        self.up = nn.ModuleList(_double(2 * o, o) for _, o in pairs)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Any) -> Any:
        kept = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            kept.append(x)
        for grow, block, skip in zip(self.grow, self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([skip, grow(x)], 1))
        return self.head(x)


class DeepLabV3(nn.Module):
    """Chen et al. 2017: a dilated backbone, spatial pyramid pooling with image features, bilinear upsampling."""

    def __init__(self, width: int = 16, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, padding=2, dilation=2), nn.BatchNorm2d(width), nn.ReLU())
        self.branches = nn.ModuleList([nn.Conv2d(width, width, 1)])
        self.branches.extend(nn.Conv2d(width, width, 3, padding=r, dilation=r) for r in (3, 6))
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1), nn.ReLU())
        self.head = nn.Conv2d(4 * width, classes, 1)

    def forward(self, x: Any) -> Any:
        features = self.body(self.stem(x))
        size = features.shape[-2:]
        image = F.interpolate(self.image(features), size=size, mode="bilinear", align_corners=False)
        y = self.head(torch.cat([*(F.relu(b(features)) for b in self.branches), image], 1))
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


class Recurrent(nn.Module):
    """A recurrent tagger: embedding, two layers both ways, a linear head."""

    def __init__(self, kind: Callable[..., Any]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        self.layers = kind(16, 12, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(24, 7)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.layers(self.embedding(tokens))[0])


class Bert(nn.Module):
    """A small encoder as Devlin et al. 2019: positions, post-norm layers with GELU, a pooled first token."""

    def __init__(self, width: int = 32, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.words = nn.Embedding(30, width)
        self.positions = nn.Embedding(64, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.pooler = nn.Linear(width, width)

    def forward(self, tokens: Any) -> dict[str, Any]:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.encoder(self.norm(self.words(tokens) + self.positions(places)))
        return {"hidden": x, "pooled": torch.tanh(self.pooler(x[:, 0]))}


class ShuffleUnit(nn.Module):
    """Ma et al. 2018: half of the channels pass, then all are shuffled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(
            nn.Conv2d(half, half, 1), nn.BatchNorm2d(half), nn.ReLU(),
            nn.Conv2d(half, half, 3, padding=1, groups=half), nn.BatchNorm2d(half), nn.Conv2d(half, half, 1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        kept, worked = x.chunk(2, dim=1)
        joined = torch.cat([kept, self.branch(worked)], dim=1)
        n, c, h, w = joined.shape
        return joined.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleNet(nn.Module):
    """ShuffleNetV2 in small."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.units = nn.Sequential(*(ShuffleUnit(width) for _ in range(3)))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Any) -> Any:
        return self.head(self.units(self.stem(x)).mean([2, 3]))


class Detr(nn.Module):
    """Carion et al. 2020 in small: a backbone, sine positions, an encoder and a decoder with learnt queries."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 7, 4, 3), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1))
        self.transformer = nn.Transformer(width, 4, 1, 1, 64, batch_first=True)
        self.queries = nn.Embedding(6, width)
        self.classes, self.boxes = nn.Linear(width, 4), nn.Linear(width, 4)
        self.register_buffer("rates", 10000 ** (-torch.arange(0, width // 2, 2) / (width // 2)))

    rates: Any

    def forward(self, x: Any) -> tuple[Any, Any]:
        features = self.backbone(x)
        n, _, h, w = features.shape
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        waves = [f(g.flatten()[:, None] * self.rates) for g in (rows, columns) for f in (torch.sin, torch.cos)]
        tokens = features.flatten(2).transpose(1, 2) + torch.cat(waves, 1)
        found = self.transformer(tokens, self.queries.weight.unsqueeze(0).expand(n, -1, -1))
        return self.classes(found), self.boxes(found).sigmoid()


class Crnn(nn.Module):
    """Shi et al. 2015 in small: convolutions, columns as a sequence, LSTM, log-probabilities of letters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d((2, 1)), nn.Conv2d(16, 16, (4, 1)),
        )  # fmt: skip
        self.rnn = nn.LSTM(16, 12, bidirectional=True)
        self.head = nn.Linear(24, 11)

    def forward(self, x: Any) -> Any:
        sequence = self.conv(x).squeeze(2).permute(2, 0, 1)
        return F.log_softmax(self.head(self.rnn(sequence)[0]), 2)


class Wav2Letter(nn.Module):
    """Collobert et al. 2016 in small: convolutions over spectra of the wave itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(17, 16, 7, stride=2, padding=3), nn.Hardtanh(0, 20), nn.Conv1d(16, 16, 7, padding=3),
            nn.GLU(1), nn.Conv1d(8, 12, 1),
        )  # fmt: skip
        self.register_buffer("window", torch.hann_window(32))

    window: Any

    def forward(self, wave: Any) -> Any:
        spectra = torch.stft(wave, 32, 16, window=self.window, return_complex=True)
        return self.layers(torch.log1p(spectra.abs())).log_softmax(1)


class YoloHead(nn.Module):
    """Boxes decoded on a grid at two strides, joined."""

    def __init__(self, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.SiLU(), nn.Conv2d(width, width, 3, 2, 1), nn.SiLU())
        self.deep = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.SiLU())
        self.heads = nn.ModuleList(nn.Conv2d(width, 2 * (5 + classes), 1) for _ in range(2))
        self.outputs = 5 + classes

    def forward(self, x: Any) -> Any:
        fine = self.stem(x)
        deep = self.deep(fine)
        found = []
        for features, head, stride in (
            (fine + F.interpolate(deep, scale_factor=2), self.heads[0], 4),
            (deep, self.heads[1], 8),
        ):
            n, _, h, w = features.shape
            y = head(features).view(n, 2, self.outputs, h, w).permute(0, 1, 3, 4, 2).sigmoid()
            rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid = torch.stack((columns, rows), 2).expand(1, 1, h, w, 2).float()
            xy = (y[..., :2] * 2 - 0.5 + grid) * stride
            wh = (y[..., 2:4] * 2) ** 2 * torch.tensor([[1.5, 2.0], [3.0, 2.5]]).view(1, 2, 1, 1, 2) * stride
            found.append(torch.cat((xy, wh, y[..., 4:]), 4).view(n, -1, self.outputs))
        return torch.cat(found, 1)


def _image(name: str, size: int = 64, mutable: bool = False, settled: bool = False, **options: Any) -> Architecture:
    return Architecture(name, from_timm(name, **options), (2, 3, size, size), mutable=mutable, settled=settled)


SMALL = [
    Architecture("U-Net", UNet, (2, 3, 32, 32), mutable=True),
    Architecture("DeepLabV3", DeepLabV3, (2, 3, 33, 41), mutable=True),
    Architecture("LSTM", lambda: Recurrent(nn.LSTM), (2, 9), "int64"),
    Architecture("GRU", lambda: Recurrent(nn.GRU), (2, 9), "int64"),
    Architecture("BERT", Bert, (2, 9), "int64", mutable=True),
    Architecture("ShuffleNetV2", ShuffleNet, (2, 3, 32, 32), mutable=True),
    Architecture("DETR", Detr, (2, 3, 32, 48)),
    Architecture("CRNN", Crnn, (2, 1, 16, 40)),
    Architecture("Wav2Letter", Wav2Letter, (2, 512), mutable=True),
    Architecture("YOLO head", YoloHead, (2, 3, 32, 64), mutable=True),
]

FROM_TIMM = [
    _image("resnet18", mutable=True),
    _image("resnet50"),
    _image("mobilenetv2_100", mutable=True),
    _image("mobilenetv3_small_100"),
    _image("mobilenetv3_large_100"),
    _image("efficientnet_b0", mutable=True),
    _image("tf_efficientnetv2_b0", settled=True),
    _image("densenet121"),
    _image("regnety_004"),
    _image("vgg11"),
    _image("inception_v3", 96),
    _image("convnext_atto", mutable=True),
    _image("vit_tiny_patch16_224", 224, mutable=True, depth=3),
    _image("deit_tiny_distilled_patch16_224", 224, depth=3),
    _image("swin_tiny_patch4_window7_224", 224, depths=(1, 1, 2, 1)),
    _image("volo_d1_224", 224),
    _image("volo_d2_224", 224),
    _image("mixer_s32_224", 224),
    _image("dla34"),
    _image("xcit_nano_12_p16_224", 224, depth=3),
    _image("hrnet_w18_small"),
    _image("ghostnet_050"),
    _image("mobilevit_xxs"),
]
