"""The command line: one file per command, `entry.py` puts them together."""

from magicmind.cli.entry import main

__all__ = ["main"]
