"""What the log says of calls that fail: many programs say no more than `assert status.ok()`."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import magicmind.python.runtime as mm
from magicmind.testing.magicmind_api import config
from magicmind.testing.magicmind_misuse import Data, network

QINT8 = '{"graph_shape_mutable": false, "precision_config": {"precision_mode": "qint8_mixed_float32"}}'


class _Broken(Data):
    def next(self) -> mm.Status:
        raise RuntimeError("picture 7")


def test_the_reason_of_a_status_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert not mm.BuilderConfig().parse_from_string("{nope}").ok()
    assert not mm.Tensor(shape=(2,), dtype=mm.DataType.FLOAT32).from_numpy(np.zeros(3)).ok()
    records = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "parse_from_string: INVALID_ARGUMENT: the configuration is no JSON" in records[0].message
    assert "the array [3]" in records[1].message and not any(r.exc_info for r in records)


def test_what_a_programs_own_method_raises_is_in_the_log_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    status = mm.Calibrator([_Broken()]).calibrate(network(), config(QINT8))
    assert status.code is mm.Code.INTERNAL and "picture 7" in str(status)
    assert "raise RuntimeError" in caplog.text


def test_what_goes_well_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert mm.BuilderConfig().parse_from_string("{}").ok() and not caplog.records


def test_half_characters_are_spelled_out(caplog: pytest.LogCaptureFixture) -> None:
    status = mm.BuilderConfig().parse_from_string('{"archs": "\ud800"}')
    assert not status.ok()
    for text in (str(status), caplog.text):
        text.encode("utf-8")


def test_half_characters_of_a_traceback_too(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(Data):
        def next(self) -> mm.Status:
            raise RuntimeError("\ud800")

    assert not mm.Calibrator([Odd()]).calibrate(network(), config(QINT8)).ok()
    assert "\\ud800" in caplog.text
    caplog.text.encode("utf-8")
