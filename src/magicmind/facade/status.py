"""How calls end: a Status, never an exception.

Methods that return a Status are `guarded`, those that return an object are `or_none`: whatever goes wrong inside them
becomes a Status, or None. The log has the reason too, for programs that say no more than `assert status.ok()`; where it
was not ours to foresee, what a program's own method raised say, with the traceback.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from enum import Enum
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from magicmind import errors

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

LOG = logging.getLogger("magicmind")


def printable(text: str) -> str:
    """The text with half characters, which no stream of UTF-8 takes, spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


class _Printable(logging.Filter):
    """Lets every record pass, its text printable: users' names and documents are quoted in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage()), None
        if record.exc_info and record.exc_info[0]:
            record.exc_text = printable("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return True


LOG.addFilter(_Printable())


class Code(Enum):
    """Why a call failed."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_CODES: tuple[tuple[type[BaseException], Code], ...] = (
    (errors.MissingExtraError, Code.UNAVAILABLE),
    (errors.UnsupportedOperatorError, Code.UNIMPLEMENTED),
    (errors.OfflineModelError, Code.DATA_LOSS),
    (errors.TargetError, Code.UNAVAILABLE),
    (errors.CompileError, Code.INTERNAL),
    (errors.Error, Code.INVALID_ARGUMENT),
    (FileNotFoundError, Code.NOT_FOUND),
    (PermissionError, Code.PERMISSION_DENIED),
    (MemoryError, Code.RESOURCE_EXHAUSTED),
    (TypeError, Code.INVALID_ARGUMENT),
    (ValueError, Code.INVALID_ARGUMENT),
)
"""The code of an exception: that of the first class in the list that it is."""


class Refused(errors.Error):
    """A call that cannot be honoured, with the code of its Status."""

    def __init__(self, message: str, code: Code = Code.INVALID_ARGUMENT, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class _Text(str):
    """A text that programs read as an attribute or call as a method."""

    __slots__ = ()

    def __call__(self) -> str:
        return str(self)


class Status:
    """`Status()` is OK; `Status(code, text)` says what went wrong."""

    __slots__ = ("_code", "_message")

    def __init__(self, code: Code = Code.OK, message: str = "") -> None:
        self._code, self._message = (code, message) if isinstance(code, Code) else (Code.UNKNOWN, str(code))

    @staticmethod
    def OK() -> Status:
        """A status that is OK."""
        return _OK

    @classmethod
    def of(cls, error: BaseException) -> Status:
        """What an exception means."""
        code = _code(error)
        known = code is not None and not (isinstance(error, (TypeError, ValueError)))
        text = "\n".join([str(error) if known else f"{type(error).__name__}: {error}", *_notes(error)])
        return cls(code or Code.INTERNAL, printable(text))

    def ok(self) -> bool:
        """Whether all went well."""
        return self._code is Code.OK

    @property
    def code(self) -> Code:
        """The code."""
        return self._code

    @property
    def error_message(self) -> str:
        """The text; it may be called too."""
        return _Text(self._message)

    def __str__(self) -> str:
        return "OK" if self.ok() else f"{self._code.name}: {self._message}"

    def __repr__(self) -> str:
        return f"Status({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Status) and self._code is other._code

    def __hash__(self) -> int:
        return hash(self._code)


_OK = Status()


def _code(error: BaseException) -> Code | None:
    if isinstance(error, Refused):
        return error.code
    if isinstance(error, errors.RemoteError):
        return Code[error.code]
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)


def _notes(error: BaseException) -> list[str]:
    return [str(note) for note in getattr(error, "__notes__", ())]


def guarded(method: Callable[Concatenate[S, P], Status | None]) -> Callable[Concatenate[S, P], Status]:
    """The method with a Status for everything it raises; OK where it returns nothing."""

    @wraps(method)
    def call(self: S, *args: P.args, **kwargs: P.kwargs) -> Status:
        try:
            return method(self, *args, **kwargs) or _OK
        except Exception as error:
            return _logged(method.__qualname__, error)

    return cast("Callable[Concatenate[S, P], Status]", call)


def or_none(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R | None]:
    """The method with None, and the reason in the log, for everything it raises."""

    @wraps(method)
    def call(self: S, *args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            _logged(method.__qualname__, error)
            return None

    return cast("Callable[Concatenate[S, P], R | None]", call)


def _logged(where: str, error: Exception) -> Status:
    """What an exception means, with a line of the log."""
    status = Status.of(error)
    unforeseen = status.code is Code.INTERNAL or LOG.isEnabledFor(logging.DEBUG)
    LOG.error("%s: %s", where, status, exc_info=error if unforeseen else None)
    return status


_said: set[str] = set()


def say_once(key: str, text: str, *args: Any) -> None:
    """Warns in the log, once for every key."""
    if key not in _said:
        _said.add(key)
        LOG.warning(text, *args)
