"""The error tree. Every message says what was asked, what was found, where in the user's file, and what to do."""

from __future__ import annotations


class Error(Exception):
    """Base of all errors this package raises on purpose.

    `hint` is one sentence on what to do next; it is appended to the text.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  hint: {hint}")
        self.hint = hint


class ModelFormatError(Error):
    """The source model is truncated, malformed, cyclic or refers outside its folder."""


class UnsupportedOperatorError(Error):
    """Operators without an implementation; the text lists all of them at once."""


class ShapeError(Error):
    """A shape, rank or dtype at an input, or inside the graph, does not fit."""


class PrecisionError(Error):
    """A precision mode or calibration that cannot be honoured."""


class TargetError(Error):
    """An unknown target, or code built for a CPU this is not."""


class ScheduleError(Error):
    """A kernel schedule that the target cannot run."""


class CompileError(Error):
    """LLVM or the linker refused generated code: a defect of ours, with the kernel's name."""


class OfflineModelError(Error):
    """An offline model that is damaged, foreign or from an incompatible version."""


class RemoteError(Error):
    """A remote server that cannot be reached, refuses, or stopped answering. `code`: the name of gRPC's status code."""

    def __init__(self, message: str, code: str = "UNAVAILABLE", *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class MissingExtraError(Error, ImportError):
    """An optional dependency is not installed; the text names the extra and the command."""
