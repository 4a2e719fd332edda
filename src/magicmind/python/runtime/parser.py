"""The parser."""

from magicmind.facade.parser import Parser

__all__ = ["Parser"]
