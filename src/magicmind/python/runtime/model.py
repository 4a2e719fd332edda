"""Models."""

from magicmind.facade.model import Model

__all__ = ["Model"]
