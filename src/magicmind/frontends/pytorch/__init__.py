"""TorchScript files, exported programs and modules of PyTorch; needs the extra `pytorch`."""

from magicmind.frontends.pytorch.reader import read_pytorch

__all__ = ["read_pytorch"]
